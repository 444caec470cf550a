"""Splits by time and by customer, never at random. Pure.

A share of customers is held out whole: what they do after the test begins is `new_customers`, what they did before is `history` and
teaches nothing. Products are split by groups that must not be torn apart (a type, near-duplicates), by a stable hash of the group.
"""

import zlib
from collections.abc import Sequence
from datetime import datetime

import msgspec
import polars as pl

from model.data.errors import Refused

HELD_OUT = 0.1
"""Share of customers."""
VALID_AT, TEST_AT = 0.70, 0.85
"""Shares of the exposures (of the behaviours, where there are none) that lie before validation and before the test."""
SPLITS = ("train", "valid", "test", "new_customers", "history", "gap")
"""`gap`: an exposure whose window had not closed when its split ended: its answer belongs to the next."""


class Cuts(msgspec.Struct, frozen=True):
    """When validation and test begin, UTC."""

    valid_from: datetime
    test_from: datetime


def cuts_of(times: pl.Series, valid_from: datetime | None, test_from: datetime | None) -> Cuts:
    """Where to cut: as asked, else by shares of the times.

    Raises:
        Refused: the test would begin before validation.
    """
    ordered = times.drop_nulls().sort()
    test = test_from or ordered[int(TEST_AT * (len(ordered) - 1))]
    valid = valid_from or ordered[int(VALID_AT * (len(ordered) - 1))]
    if valid >= test and valid_from is None:  # a campaign's exposures share one moment: the one before it
        earlier = ordered.filter(ordered < test)
        valid = earlier[-1] if len(earlier) else test
    if valid > test:
        raise Refused(f"the test would begin ({test:%Y-%m-%d}) before validation ({valid:%Y-%m-%d})")
    return Cuts(valid, test)


def held_out(customers: pl.Series) -> pl.Series:
    """The customers that are held out: always the same, whatever else is in the data."""
    unique = customers.drop_nulls().unique(maintain_order=True)
    return unique.filter(pl.Series([_unit("held out", name) < HELD_OUT for name in unique], dtype=pl.Boolean))


def _unit(what: str, name: str) -> float:
    """A number in [0, 1) that is always the same for a name; a checksum mixes well enough to split by, at 0.2 µs a name."""
    return zlib.crc32(f"{what}/{name}".encode()) / 2**32


def split_of(cuts: Cuts, held: pl.Series, until: str | None = None) -> pl.Expr:
    """The split of rows with `customer_id` and `at`.

    Args:
        until: column of the time at which a row's answer is complete; without it rows have no gap.
    """
    at, test = pl.col("at"), pl.lit(cuts.test_from).cast(pl.Datetime("ms", "UTC"))
    valid = pl.lit(cuts.valid_from).cast(pl.Datetime("ms", "UTC"))
    known = pl.col(until) if until else at
    inside = pl.when(at < valid).then(known <= valid).when(at < test).then(known <= test).otherwise(statement=True)
    held_row = pl.col("customer_id").is_in(held.implode())
    return (
        pl.when(held_row & (at >= test)).then(pl.lit("new_customers")).when(held_row).then(pl.lit("history"))
        .when(~inside).then(pl.lit("gap"))
        .when(at < valid).then(pl.lit("train")).when(at < test).then(pl.lit("valid")).otherwise(pl.lit("test"))
        .alias("split")
    )  # fmt: skip


def group_split(groups: Sequence[str]) -> pl.Series:
    """The split of products or ads by their group."""
    names = {group: _unit("group split", group) for group in set(groups)}
    found = ["train" if names[g] < VALID_AT else "valid" if names[g] < TEST_AT else "test" for g in groups]
    return pl.Series("split", found, pl.String)
