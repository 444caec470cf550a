"""From files to an output: real faults, foreign layouts, near-duplicates, personal data, interruption."""

import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from model.data import blocks
from model.data.errors import Refused
from tests.model.data.samples import EXTRACT, MINIMAL, REES46, balanced, mapping, prepared, quarantine

ROOT = Path(__file__).parents[3]
FOREIGN = """
name = "foreign"
currency = "EUR"
timezone = "Europe/Berlin"
separator = ";"

[[table]]
table = "products"
files = "items*"
columns = { product_id = "sku", name = "titel", description = "text", price_minor = "preis", category = ["gruppe", "art"] }

[[table]]
table = "behaviours"
files = "log*"
columns = { customer_id = "kunde", at = "zeit", action = "was", product_id = "sku" }
values.action = { gesehen = "view", gekauft = "purchase" }
"""
LONG = "a sturdy kettle of brushed steel with a wooden handle and a lid that whistles when the water boils"


def test_the_real_files_real_faults(tmp_path: Path) -> None:
    """Each kind of fault of Complete Journey is found, with its row, and the counts add up."""
    card = prepared(tmp_path / "out", EXTRACT, mapping="completejourney")
    assert balanced(card)
    found = quarantine(tmp_path / "out")
    told = {
        (table, field, reason, value)
        for table, field, reason, value in found.select("table", "field", "reason", "value").iter_rows()
    }
    assert ("transactions", "quantity", "zero", "0.0") in told
    assert ("transactions", "quantity", "out_of_range", "32623.0") in told
    assert ("transactions", "amount_minor", "not_an_amount", "4.440892e-16") in told
    assert any(reason == "unknown_product" for table, _, reason, _ in told if table == "transactions")
    assert card.tables["offers"].dropped["duplicate"] == 17
    assert card.tables["products"].mended == {"product_id id_written_as_a_number": 1}
    assert "900000" in pl.read_parquet(tmp_path / "out" / "products.parquet")["product_id"]
    assert card.tables["transactions"].mended["order_id id_written_as_a_number"] == 1
    first = found.filter("first").group_by("table").len()
    assert dict(first.iter_rows()) == {name: sum(t.dropped.values()) for name, t in card.tables.items() if t.dropped}


def test_a_quarantined_row_is_where_it_says(tmp_path: Path) -> None:
    """File and row of a refused value are those of the source."""
    prepared(tmp_path / "out", EXTRACT, mapping="completejourney")
    (fuel,) = (
        quarantine(tmp_path / "out").filter(pl.col("value") == "32623.0", pl.col("table") == "transactions").to_dicts()
    )
    lines = pl.read_csv(EXTRACT / fuel["file"], infer_schema=False)
    assert lines["quantity"][fuel["row"] - 2] == "32623.0"  # the header is line 1


def test_campaigns_become_exposures_with_answers(tmp_path: Path) -> None:
    """A household's campaign is an exposure, a redeemed coupon of it the answer."""
    prepared(tmp_path / "out", EXTRACT, mapping="completejourney")
    exposed = pl.read_parquet(tmp_path / "out" / "exposures.parquet")
    sent = pl.read_csv(EXTRACT / "campaigns.csv.gz", infer_schema=False)
    redeemed = pl.read_csv(EXTRACT / "coupon_redemptions.csv.gz", infer_schema=False)
    pairs = redeemed.select("household_id", "campaign_id").unique()
    assert exposed.height == sent.height
    assert exposed["purchase_so_far"].sum() == pairs.join(sent, on=["household_id", "campaign_id"], how="semi").height
    assert set(exposed["split"]) >= {"train", "test", "gap"}


def test_a_foreign_layout_by_a_mapping(tmp_path: Path) -> None:
    """Columns, values, zone, currency and separator are the mapping's; what refers to nothing is refused."""
    (tmp_path / "items.csv").write_text(
        "sku;titel;text;preis;gruppe;art\n1;Tasse;weiß;4.50;Haus;Küche\n2;Kanne;;-1;Haus;\n3;Topf;rund;1.005;Haus;Küche\n"
    )
    (tmp_path / "log.csv").write_text(
        "kunde;zeit;was;sku\na;2026-07-01 12:00:00;gesehen;1\na;2026-07-01 12:00:05;gekauft;1\nb;2026-07-02T12:00:00Z;gesehen;9\n"
        "b;2026-07-02 12:00:00;gedreht;1\nc;;gesehen;1;1\n"
    )
    card = prepared(tmp_path / "out", tmp_path / "items.csv", tmp_path / "log.csv", mapping=mapping(FOREIGN))
    assert balanced(card)
    assert card.tables["products"].dropped == {"negative_amount": 1, "amount_too_fine": 1}
    assert card.tables["behaviours"].dropped == {"ragged_row": 1, "unknown_value": 1, "unknown_product": 1}
    (product,) = pl.read_parquet(tmp_path / "out" / "products.parquet").to_dicts()
    assert (product["category"], product["price_minor"], product["currency"]) == ("Haus > Küche", 450, "EUR")
    seen = (
        pl.read_parquet(tmp_path / "out" / "behaviours.parquet").select(pl.col("at").cast(pl.String), "action").rows()
    )
    assert seen == [("2026-07-01 10:00:00.000+00:00", "view"), ("2026-07-01 10:00:05.000+00:00", "purchase")]


def test_the_same_from_parquet(tmp_path: Path) -> None:
    """A Parquet file gives what the CSV file of the same rows gives."""
    text = "sku;titel;text;preis;gruppe;art\n1;Tasse;weiß;4.50;Haus;Küche\n2;Kanne;;12.99;Haus;\n"
    (tmp_path / "items.csv").write_text(text)
    pl.read_csv(tmp_path / "items.csv", separator=";").write_parquet(tmp_path / "items.parquet")
    products = FOREIGN[: FOREIGN.rindex("[[table]]")]
    for name in ("items.csv", "items.parquet"):
        prepared(tmp_path / name.replace(".", "-"), tmp_path / name, mapping=mapping(products))
    frames = [
        pl.read_parquet(tmp_path / f"items-{kind}" / "products.parquet").drop("row") for kind in ("csv", "parquet")
    ]
    assert frames[0].equals(frames[1])


def test_near_duplicates_leave_one_and_take_their_references_along(tmp_path: Path) -> None:
    """Of two products of nearly the same text the first stays, and what was done with the second counts for it."""
    (tmp_path / "items.csv").write_text(
        f"sku;titel;text;preis;gruppe;art\n1;Kettle;{LONG};20;Home;Kitchen\n2;Kettle;{LONG} !;21;Home;Kitchen\n"
        f"3;Kettle 2 l;{LONG};20;Home;Kitchen\n1;Kettle again;other words;20;Home;Kitchen\n"
    )
    (tmp_path / "log.csv").write_text(
        "kunde;zeit;was;sku\na;2026-07-01 12:00:00;gesehen;2\na;2026-07-01 12:00:00;gesehen;2\na;2026-07-01 12:00:01;gesehen;2\n"
    )
    card = prepared(tmp_path / "out", tmp_path, mapping=mapping(FOREIGN))
    assert card.tables["products"].dropped == {"duplicate": 1, "near_duplicate": 1}
    assert pl.read_parquet(tmp_path / "out" / "products.parquet")["product_id"].to_list() == ["1", "3"]
    assert card.tables["behaviours"].dropped == {"duplicate": 1, "near_duplicate": 1}
    assert pl.read_parquet(tmp_path / "out" / "behaviours.parquet")["product_id"].to_list() == ["1"]
    (twice,) = quarantine(tmp_path / "out").filter(reason="duplicate", table="behaviours").to_dicts()
    assert twice["wanted"] == "a row of its own; the first is log.csv row 2"


def test_personal_data_are_masked_everywhere(tmp_path: Path) -> None:
    """Addresses in texts, ids and refused values do not reach the output; the same person keeps one name."""
    (tmp_path / "items.csv").write_text(
        "sku;titel;text;preis;gruppe;art\n1;Tasse;call +49 30 1234567 or mail ann@example.com;4.50;Haus;\n"
    )
    (tmp_path / "log.csv").write_text(
        "kunde;zeit;was;sku\nann@example.com;2026-07-01 12:00:00;gesehen;1\nAnn@Example.com;2026-07-03 12:00:00;gesehen;1\n"
        "bob;bob@example.com;gesehen;1\n"
    )
    card = prepared(tmp_path / "out", tmp_path, mapping=mapping(FOREIGN))
    assert card.tables["behaviours"].masked == {"customer_id: email": 2}
    assert card.tables["products"].masked == {"description: email": 1, "description: phone": 1}
    assert pl.read_parquet(tmp_path / "out" / "behaviours.parquet")["customer_id"].n_unique() == 1
    assert pl.read_parquet(tmp_path / "out" / "products.parquet")["description"].to_list() == [
        "call [phone] or mail [email]"
    ]
    assert not [
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"example.com" in path.read_bytes()
    ]


def digest(out: Path) -> str:
    """All bytes of an output but the card's page."""
    return sha256(b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())).hexdigest()


CHILD = """
import sys, time
from pathlib import Path
from model.data import blocks, stage
from tests.model.data.samples import prepared
blocks.BLOCK_CHARS = 2_000
save = stage.Stage.save
def slowly(self, *arguments):
    save(self, *arguments)
    time.sleep(0.2)
stage.Stage.save = slowly
prepared(Path(sys.argv[1]), Path(sys.argv[2]), mapping="rees46")
"""


def test_killed_and_resumed_is_undisturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After kill -9 nothing of the output shows; the same order goes on, and gives the bytes of an undisturbed run."""
    monkeypatch.setattr(blocks, "BLOCK_CHARS", 2_000)
    log = tmp_path / "log.csv"
    head, *rows = REES46.splitlines()
    log.write_text(
        "\n".join([head, *(row.replace("00:00:", f"{i // 60:02d}:{i % 60:02d}:") for i in range(120) for row in rows)])
        + "\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", CHILD, str(out), str(log)], cwd=ROOT) as child:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob(".out.partial/0000-*.json"))) < 3:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(child.pid, signal.SIGKILL)
    assert not out.exists()
    staged = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".out.partial/0000-*.json")}
    assert len(staged) >= 3
    card = prepared(out, log, mapping="rees46")
    assert not (tmp_path / ".out.partial").exists()
    prepared(tmp_path / "undisturbed", log, mapping="rees46")
    assert digest(out) == digest(tmp_path / "undisturbed")
    assert balanced(card)


def test_nothing_shows_of_what_cannot_be_done(tmp_path: Path) -> None:
    """A file that is cut short in its midst leaves no output."""
    packed = (EXTRACT / "transactions_sample.csv.gz").read_bytes()
    for path in EXTRACT.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "transactions_sample.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(Refused, match=r"transactions_sample.csv.gz is damaged or cut short"):
        prepared(tmp_path / "out", tmp_path, mapping="completejourney")
    assert not (tmp_path / "out").exists()


def test_only_refused_rows_is_an_error_that_says_why(tmp_path: Path) -> None:
    """When no row can be used the reasons are told."""
    (tmp_path / "log.csv").write_text(
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\nx,view,1,1,,,1,1,1\n"
    )
    with pytest.raises(Refused, match="no row could be used"):
        prepared(tmp_path / "out", tmp_path / "log.csv", mapping=mapping(MINIMAL))
