"""Preparing in one call, for tests: an order, and the output with its card."""

from pathlib import Path

import msgspec
import polars as pl

from model.data.card import Card
from model.data.finish import Wishes, finish
from model.data.labels import read_labels
from model.data.mapping import Mapping, parsed, shipped
from model.data.prepare import Order, collect, fingerprint
from model.data.stage import Stage

EXTRACT = Path(__file__).parent / "extract"
NOW_MS = 1_800_000_000_000
KEY = b"a key of the tests"


def prepared(out: Path, *paths: Path, mapping: Mapping | str | None, resume: bool = True, **wishes: object) -> Card:
    """Prepare files; a mapping by name, as itself, or none for JSON lines."""
    layout = shipped(mapping) if isinstance(mapping, str) else mapping
    order = Order(layout.name if layout else "segment", paths, layout, NOW_MS, key=KEY)
    labels = layout.label if layout and layout.label else read_labels(None)
    stage = Stage(out, fingerprint(order), resume=resume)
    try:
        chosen = msgspec.structs.replace(Wishes(order.name, labels), **wishes)
        return finish(collect(order, stage, _silent), chosen, stage, _silent)
    finally:
        stage.close()


def _silent(what: str, done: int, total: int) -> None:
    assert done <= total, what


def quarantine(out: Path) -> pl.DataFrame:
    """The quarantine's rows."""
    return pl.read_ndjson(out / "quarantine.jsonl")


def mapping(text: str) -> Mapping:
    """A mapping from TOML."""
    return parsed(text, "test.toml")


def balanced(card: Card) -> bool:
    """Whether the counts of every table add up."""
    return all(t.rows_in == t.rows_out + sum(t.dropped.values()) for t in card.tables.values())


REES46 = """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde-8bb3-4e00-8c23-a032dfed738c
2019-10-01 00:00:05 UTC,cart,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde-8bb3-4e00-8c23-a032dfed738c
2019-10-01 00:00:09 UTC,purchase,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde-8bb3-4e00-8c23-a032dfed738c
2019-10-01 00:00:10 UTC,hover,3900821,2053013552326770905,appliances.environment.water_heater,aqua,33.20,554748717,9333dfbd
"""
"""A log of REES46's shape: three deeds on one product, and one of an unknown kind."""

MINIMAL = """
name = "minimal"
[[table]]
table = "behaviours"
files = "*"
columns = { customer_id = "user_id", at = "event_time", action = "event_type" }
"""
"""The smallest mapping."""
