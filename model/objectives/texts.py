"""Texts from a prepared folder: what a product says of itself, and what a customer did in a session. Pure but for reading the files.

The folder's own split holds: nothing later than the training's end, no held-out product's name and no held-out customer is in a training text.
"""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl

from model.data.errors import Refused
from model.data.prepared import table

Part = Literal["train", "valid", "test"]
PARTS: dict[str, Part] = {"train": "train", "valid": "valid", "test": "test", "new_customers": "test"}
"""What a row's split is used for; `history`, the past of customers who are held out, is used for nothing."""
PAUSE_MINUTES = 30
"""A longer pause ends a session where the shop gives no session ids, as in Google Analytics."""
MOST_DEEDS = 64
"""Deeds of a session that are told, the first ones."""
READ = {
    "products": ("product_id", "name", "description", "category", "type", "brand", "size", "alike", "split"),
    "behaviours": ("customer_id", "at", "action", "product_id", "query", "session_id", "split"),
}
"""The columns that texts are made of."""
PRODUCT_FIELDS = ("name", "description", "category", "type", "brand", "size")


class Text(msgspec.Struct, frozen=True):
    """A product or a session in words. `group` (its look-alikes, its customer) is drawn as a whole where intervals are made."""

    said: str
    group: str
    part: Part


class Texts(msgspec.Struct, frozen=True):
    """All texts; `follows` has (session, the same customer's next one in the same part) by place in `sessions`."""

    products: list[Text]
    sessions: list[Text]
    follows: list[tuple[int, int]]

    def of(self, part: Part) -> list[Text]:
        """Products and sessions of a part."""
        return [text for text in (*self.products, *self.sessions) if text.part == part]


def read(folder: Path) -> Texts:
    """The texts of a prepared folder.

    Raises:
        Refused: it holds neither products nor behaviours, a file is broken or without its split, or nothing is said in it.
    """
    products, behaviours = (_table(folder, name) for name in ("products", "behaviours"))
    if products is None and behaviours is None:
        raise Refused(
            f"{folder} has neither products.parquet nor behaviours.parquet: it should be what `stratagem data prepare --out` made"
        )
    sessions = [] if behaviours is None else _sessions(behaviours, products)
    found = Texts([] if products is None else _products(products), sessions, follows(sessions))
    for part in ("train", "valid", "test"):
        if not found.of(part):
            raise Refused(f"{folder} has no texts in its part {part!r}: nothing to learn from or to judge by")
    return found


def follows(sessions: list[Text]) -> list[tuple[int, int]]:
    """Pairs of neighbours of one customer and one part; sessions are in the order of customers, then time."""
    pairs = pairwise(sessions)
    return [(at, at + 1) for at, (a, b) in enumerate(pairs) if (a.group, a.part) == (b.group, b.part)]


def _table(folder: Path, name: str) -> pl.DataFrame | None:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        return None
    return table(folder, name, READ[name])


def _products(products: pl.DataFrame) -> list[Text]:
    said = products.select(*PRODUCT_FIELDS, "alike", "product_id", "split").unique(maintain_order=True)
    found: dict[tuple[str, Part], Text] = {}
    for *fields, alike, product, split in said.iter_rows():
        text = " . ".join(dict.fromkeys(str(field) for field in fields if field))
        if text and split in PARTS:
            found.setdefault((text, PARTS[split]), Text(text, f"product {alike or product}", PARTS[split]))
    return list(found.values())


def _sessions(behaviours: pl.DataFrame, products: pl.DataFrame | None) -> list[Text]:
    deeds = behaviours.filter((pl.col("action") != "exposure") & pl.col("split").is_in(list(PARTS)))
    deeds = deeds.select("customer_id", "at", "action", "product_id", "query", "session_id", "split")
    deeds = _said(deeds, products).sort("customer_id", "at", "said")
    before = deeds.with_columns(pl.col("at", "session_id", "split").shift(1).over("customer_id").name.prefix("last_"))
    paused = (pl.col("at") - pl.col("last_at")) > pl.duration(minutes=PAUSE_MINUTES)
    named = pl.col("session_id").is_not_null() & pl.col("last_session_id").is_not_null()
    other = pl.col("session_id").ne_missing(pl.col("last_session_id"))
    begins = (
        pl.col("last_at").is_null()
        | (pl.col("split") != pl.col("last_split"))
        | pl.when(named).then(other).otherwise(paused)
    )
    found = before.with_columns(begins.cum_sum().alias("session")).group_by("session", maintain_order=True).agg(
        pl.col("customer_id").first(), pl.col("split").first(), pl.col("said").head(MOST_DEEDS).str.join(" , ")
    )  # fmt: skip
    return [
        Text(said, f"customer {customer}", PARTS[split])
        for customer, split, said in found.select("customer_id", "split", "said").iter_rows()
    ]


def _said(deeds: pl.DataFrame, products: pl.DataFrame | None) -> pl.DataFrame:
    """A deed in words. A product is told by its type, else by its name where the product is not held out."""
    if products is None:
        deeds = deeds.with_columns(pl.lit(None, pl.String).alias("what"))
    else:
        open_name = pl.when(pl.col("split") == "train").then("name")
        what = products.select("product_id", pl.coalesce("type", open_name).alias("what"))
        deeds = deeds.join(what, on="product_id", how="left", maintain_order="left")
    told = pl.concat_str(["action", pl.coalesce("query", "what")], separator=" ", ignore_nulls=True)
    return deeds.with_columns(told.alias("said"))
