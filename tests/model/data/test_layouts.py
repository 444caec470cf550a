"""Known layouts and our own format, and what is said of a mapping that is wrong."""

import json
from pathlib import Path

import polars as pl
import pytest

from model.data.errors import Refused
from model.data.labels import read_labels
from model.data.mapping import SHIPPED, shipped
from tests.model.data.samples import MINIMAL, REES46, balanced, mapping, prepared, quarantine

ROOT = Path(__file__).parents[3]


def test_the_layout_of_rees46(tmp_path: Path) -> None:
    """One log gives behaviours, products and orders."""
    (tmp_path / "2019-Oct.csv").write_text(REES46)
    card = prepared(tmp_path / "out", tmp_path / "2019-Oct.csv", mapping="rees46")
    assert {name: (t.rows_in, t.rows_out) for name, t in card.tables.items()} == {
        "behaviours": (4, 3), "products": (2, 2), "transactions": (1, 1)
    }  # fmt: skip
    assert pl.read_parquet(tmp_path / "out" / "transactions.parquet")["amount_minor"].to_list() == [3579]


def test_the_layout_of_yoochoose(tmp_path: Path) -> None:
    """Two files without header lines."""
    (tmp_path / "yoochoose-clicks.dat").write_text(
        "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n"
    )
    (tmp_path / "yoochoose-buys.dat").write_text(
        "420374,2014-04-06T18:44:58.314Z,214537888,12462,1\n1,2014-04-07T11:00:00.000Z,214536500,0,0\n"
    )
    card = prepared(tmp_path / "out", tmp_path, mapping="yoochoose")
    assert card.tables["behaviours"].rows_out == 4
    assert card.tables["transactions"].dropped == {"zero": 1}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_mappings_are_whole(name: str) -> None:
    """Every mapping that ships can be read, and the label functions that ship as well."""
    assert shipped(name).name == name
    assert read_labels(None)


def test_our_own_format(tmp_path: Path) -> None:
    """Lines of our topics are judged by the contract; an order becomes purchases and a transaction a line."""
    lines = (ROOT / "docs/examples/shop.jsonl").read_text().splitlines()
    order = {"messageId": "o1", "type": "track", "event": "Order Completed", "userId": "u", "timestamp": "2026-01-31T12:00:00Z",
             "properties": {"order_id": "1", "currency": "EUR", "products": [{"product_id": "coffee-1", "quantity": 3, "price": "7.99"}]}}  # fmt: skip
    refund = order | {
        "messageId": "r1",
        "event": "Order Refunded",
        "timestamp": "2026-02-01T12:00:00Z",
        "properties": {"order_id": "1", "currency": "EUR"},
    }
    bad = order | {
        "messageId": "b1",
        "properties": {"order_id": "2", "currency": "EUR", "products": [{"product_id": "coffee-1", "price": "dear"}]},
    }
    told = [
        json.dumps(order),
        json.dumps(order),
        json.dumps(refund),
        json.dumps(bad),
        "{",
        json.dumps(order | {"type": "page"}),
    ]
    (tmp_path / "events.jsonl").write_text("\n".join([*lines, *told]) + "\n")
    card = prepared(tmp_path / "out", tmp_path / "events.jsonl", mapping=None)
    assert balanced(card)
    orders = pl.read_parquet(tmp_path / "out" / "transactions.parquet").filter(pl.col("order_id") == "1")
    assert orders.select("state", "amount_minor").rows() == [("order", 2397), ("return", None)]
    assert card.tables["transactions"].dropped["against_the_contract"] >= 1
    assert card.tables["transactions"].dropped["duplicate"] == 1
    labels = pl.read_parquet(tmp_path / "out" / "labels" / "orders.parquet").filter(pl.col("order_id") == "1")
    assert labels["state"].to_list() == ["returned"]
    (dear,) = quarantine(tmp_path / "out").filter(pl.col("field").str.contains("price")).to_dicts()
    assert dear["value"] == "dear"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x"', "table"),
        (MINIMAL.replace("behaviours", "visits"), "no table 'visits'; there are"),
        (MINIMAL.replace("customer_id =", "customer ="), "no field 'customer'"),
        (MINIMAL.replace('customer_id = "user_id", ', ""), "behaviours needs customer_id"),
        (MINIMAL + 'values.action = { x = "hover" }', "action cannot be 'hover'"),
        (MINIMAL + "colour = 1", "colour"),
        ('timezone = "Mars"\n' + MINIMAL, "no time zone 'Mars'"),
        ('encoding = "klingon"\n' + MINIMAL, "no encoding 'klingon'"),
        ("name = ", "test.toml"),
    ],
)
def test_a_wrong_mapping_is_explained(text: str, said: str) -> None:
    """What is wrong with a mapping is named, with what would be right."""
    with pytest.raises(Refused, match=said):
        mapping(text)
