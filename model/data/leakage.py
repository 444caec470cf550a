"""Whether a feature knows the future, whether a label is a look-up, whether a split lets answers through. Pure."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
import polars as pl

LOOK_UP = 0.9
"""Share of rows whose label a single column's majority decides, from which the label counts as a look-up."""
HINT = 0.05
"""What the column must add to the most frequent label's own share."""
MIN_GROUPS = 5
"""A column of fewer values is a class, not a look-up table."""
MAX_ROWS_PER_GROUP_SHARE = 0.5
"""A column whose values are mostly single rows is an id: every id decides everything on its own row."""


class Finding(msgspec.Struct, frozen=True):
    """What a check found. `failed`: the data must not be trained on; else a warning."""

    check: str
    about: str
    message: str
    failed: bool


def future_features(
    build: Callable[[datetime | None], pl.DataFrame], cuts: Sequence[datetime], key: str, at: str
) -> list[Finding]:
    """Features that change when the future is taken away.

    Args:
        build: features from all data before a time (None: from all data): `key`, `at` and the features.
        cuts: the times at which the data are cut.
        key: names a row in either.

    Returns:
        One failed finding per feature of which a row before a cut is not what it was without the rows after it.
    """
    whole = build(None)
    found: dict[str, tuple[int, datetime]] = {}
    for cut in cuts:
        before = build(cut)
        both = whole.filter(pl.col(at) < cut).join(before, on=key, how="left", suffix=" then", maintain_order="left")
        for name in whole.columns:
            if name in (key, at) or name in found:
                continue
            then = f"{name} then" if f"{name} then" in both.columns else None
            differs = both.height if then is None else int((~_same(both[name], both[then])).sum())
            if differs:
                found[name] = (differs, cut)
    return [
        Finding(
            "future",
            name,
            f"{rows:,} values of rows before {cut:%Y-%m-%d} change when later rows are removed",
            failed=True,
        )
        for name, (rows, cut) in found.items()
    ]


def _same(left: pl.Series, right: pl.Series) -> pl.Series:
    if left.dtype.is_float() and right.dtype.is_float():
        close = (left - right).abs() <= 1e-9 * left.abs().clip(1.0)
        return close.fill_null(value=False) | (left.is_null() & right.is_null())
    return left.eq_missing(right)


def late_features(frame: pl.DataFrame, names: Sequence[str]) -> list[Finding]:
    """Features that were known only after the moment they are for: `known_at` after `at`."""
    late = frame.filter(pl.col("known_at") > pl.col("at"))
    if late.is_empty():
        return []
    said = f"{late.height:,} rows were known only after the moment they are for (known_at after at)"
    return [Finding("future", ", ".join(names), said, failed=True)]


def look_ups(frame: pl.DataFrame, label: str, columns: Sequence[str]) -> tuple[list[Finding], list[str]]:
    """Columns that decide a label by themselves.

    Returns:
        A warning for each, and the columns: by them a split keeps what it measures honest.
    """
    found, deciding = [], []
    for column in columns:
        rows = frame.select(pl.col(label).alias("label"), pl.col(column).alias("by")).drop_nulls()
        groups = rows["by"].n_unique()
        if groups < MIN_GROUPS or rows["label"].n_unique() < 2 or groups > MAX_ROWS_PER_GROUP_SHARE * rows.height:  # noqa: PLR2004
            continue
        share = majority_share(rows)
        if share >= LOOK_UP and share > majority_share(rows.with_columns(pl.lit("all").alias("by"))) + HINT:
            deciding.append(column)
            said = f"{column} alone decides {label} for {share:.1%} of the rows: split by {column}"
            found.append(Finding("look-up", label, said, failed=False))
    return found, deciding


def majority_share(rows: pl.DataFrame) -> float:
    """Share of rows (`by`, `label`) that have the most frequent label of their `by`."""
    most = rows.group_by("by", "label").len().group_by("by").agg(pl.col("len").max())
    return float(most["len"].sum() or 0) / max(rows.height, 1)


def torn(exposed: pl.DataFrame, until: Sequence[str]) -> list[Finding]:
    """Whether answers of one split lie in the next, or a held-out customer is taught."""
    found = []
    bounds = exposed.group_by("split").agg(
        pl.col("at").min().alias("begin"), *[pl.col(u).max().alias(u) for u in until]
    )
    begin = dict(bounds.select("split", "begin").iter_rows())
    for early, late in (("train", "valid"), ("valid", "test")):
        mine = bounds.filter(pl.col("split") == early)
        for column in until:
            last = mine[column].max()
            if mine.height and late in begin and last is not None and last > begin[late]:
                found.append(Finding("split", early, f"its windows ({column}) end after {late} begins", failed=True))
    taught = set(exposed.filter(pl.col("split").is_in(["train", "valid", "test"]))["customer_id"])
    both = taught & set(exposed.filter(pl.col("split").is_in(["new_customers", "history"]))["customer_id"])
    if both:
        found.append(
            Finding("split", "new_customers", f"{len(both):,} held-out customers are taught as well", failed=True)
        )
    return found
