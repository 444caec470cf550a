"""A log's exposures as decisions of a kind: the value of each slot, and how much of the log could be read so. Pure."""

import msgspec
import polars as pl

from model.data.errors import Refused
from model.prior.mapping import ASKABLE, FromLog, OfKind
from model.response.features import with_ads
from model.response.tables import SHOWN_ALONE, Tables
from streaming.contracts.kinds import GRAMMARS

MOST_WORDS = 5
"""Words of the log that no value stands for, told in the coverage: the commonest."""


class Coverage(msgspec.Struct, frozen=True):
    """How much of the log is exposures of a kind.

    Args:
        exposures: of the log; mapped: those of this kind.
        by_slot: slot → share of the mapped ones whose value is known.
        unread: slot → the commonest words that no value stands for.
    """

    kind: str
    exposures: int
    mapped: int
    by_slot: dict[str, float]
    unread: dict[str, tuple[str, ...]]


def decisions(tables: Tables, said: OfKind) -> tuple[pl.DataFrame, Coverage]:
    """The exposures of a kind: `exposure, customer_id, at`, what was shown (`ad_id, product_id, channel, placement`), and per slot
    `slot NAME`, null where the log does not say.

    Raises:
        Refused: no exposure of the log is one of this kind.
    """  # noqa: D205 -- the columns are the sentence
    frame = _described(tables)
    for column, words in said.where.items():
        frame = frame.filter(_lower(pl.col(column)).is_in([word.lower() for word in words]))
    pointed = [slot for slot in said.slots if slot in GRAMMARS[said.kind].candidate_slots]
    frame = frame.with_columns([_value(of).alias(f"slot {slot}") for slot, of in said.slots.items()])
    mapped = frame.filter([pl.col(f"slot {slot}").is_not_null() for slot in pointed])
    if mapped.is_empty():
        wanted = ", ".join(f"{slot} in {said.slots[slot].column}" for slot in pointed)
        raise Refused(f"none of {tables.exposures.height:,} exposures is a {said.kind}: wanted {wanted}")
    known = {slot: 1 - mapped[f"slot {slot}"].null_count() / mapped.height for slot in said.slots}
    unread = {slot: words for slot, of in said.slots.items() if (words := _unread(mapped, slot, of))}
    kept = ["exposure", "customer_id", "at", *ASKABLE, *(f"slot {slot}" for slot in said.slots)]
    return mapped.select(kept), Coverage(said.kind, tables.exposures.height, mapped.height, known, unread)


def words_for(tables: Tables, of: FromLog) -> dict[str, str]:
    """Value of a closed slot → the log's commonest word for it; of values that the log never has, nothing."""
    frame = _described(tables).select(_word(of).alias("word"), _value(of).alias("value")).drop_nulls()
    counted = frame.group_by("value", "word").len().sort("value", "len", "word", descending=[False, True, False])
    first = counted.unique("value", keep="first", maintain_order=True)
    return dict(first.select("value", "word").iter_rows())


def _described(tables: Tables) -> pl.DataFrame:
    frame = with_ads(tables, tables.exposures).drop("kind", "starts_at", "ends_at")
    said = {"kind": "ad_kind", "title": "title", "body": "body", "channel": "ad_channel", "placement": "ad_placement"}
    if tables.ads is None:
        return frame.with_columns([pl.lit(None, pl.String).alias(name) for name in (*said.values(), "offered")])
    there = [pl.col(name).alias(said[name]) for name in said if name in tables.ads.columns]
    ads = tables.ads.unique("ad_id", keep="first").select("ad_id", *there)
    ads = ads.with_columns([pl.lit(None, pl.String).alias(name) for name in said.values() if name not in ads.columns])
    return frame.join(ads.join(_single(tables), "ad_id", how="left"), "ad_id", how="left", maintain_order="left")


def _single(tables: Tables) -> pl.DataFrame:
    """The one product that an ad offers; an ad for several offers none in particular."""
    if tables.offers is None:
        return pl.DataFrame({"ad_id": [], "offered": []}, schema={"ad_id": pl.String, "offered": pl.String})
    own = tables.offers.filter(~pl.col("ad_id").str.starts_with(SHOWN_ALONE))
    found = own.group_by("ad_id").agg(pl.col("product_id").unique())
    found = found.filter(pl.col("product_id").list.len() == 1)
    return found.select("ad_id", pl.col("product_id").list.first().alias("offered"))


def _lower(word: pl.Expr) -> pl.Expr:
    return word.str.strip_chars().str.to_lowercase()


def _word(of: FromLog) -> pl.Expr:
    column = pl.col(of.column)
    if of.column == "ad_id":  # a product that was shown alone is no ad
        column = pl.when(~column.str.starts_with(SHOWN_ALONE)).then(column)
    return column.str.extract(of.pattern, 1) if of.pattern else column


def _value(of: FromLog) -> pl.Expr:
    if not of.values:
        return _word(of)
    by_word = {word.lower(): value for value, words in of.values.items() for word in words}
    return _lower(_word(of)).replace_strict(by_word, default=None, return_dtype=pl.String)


def _unread(mapped: pl.DataFrame, slot: str, of: FromLog) -> tuple[str, ...]:
    if of.column not in mapped.columns:
        return ()
    words = mapped.filter(pl.col(f"slot {slot}").is_null()).select(_word(of).alias("word"))["word"].drop_nulls()
    counted = words.value_counts(sort=True).sort("count", "word", descending=[True, False])
    return tuple(counted["word"].head(MOST_WORDS).to_list())
