"""What was known strictly before a moment: sums and times of earlier facts, per customer or any other key. Pure.

Every function takes `asked` (a frame with the key's columns and `at`) and answers one number per row of it, in its order. A fact of the very
same moment is not known yet.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
DAY_S = 86_400


def before(asked: pl.DataFrame, facts: pl.DataFrame, by: Sequence[str], value: str) -> Floats:
    """The sum of the facts' `value` before each row; 0 where there is none."""
    keys = list(by)
    if facts.is_empty():
        return np.zeros(asked.height)
    summed = facts.select(*keys, "at", pl.col(value).cast(pl.Float64).fill_null(0.0)).sort("at")
    summed = summed.select(*keys, "at", pl.col(value).cum_sum().over(keys).alias("sum"))
    return _joined(asked, summed, keys, "sum").fill_null(0.0).to_numpy()


def within(asked: pl.DataFrame, facts: pl.DataFrame, by: Sequence[str], value: str, weeks: int) -> Floats:
    """The sum over the last `weeks` before each row."""
    earlier = asked.with_columns(pl.col("at") - pl.duration(weeks=weeks))
    return before(asked, facts, by, value) - before(earlier, facts, by, value)


def days_since(asked: pl.DataFrame, facts: pl.DataFrame, by: Sequence[str]) -> Floats:
    """Days since the newest fact before each row; NaN where there is none."""
    keys = list(by)
    newest = facts.select(*keys, "at", pl.col("at").alias("then")).sort("at")
    if facts.is_empty():
        return np.full(asked.height, np.nan)
    gone = asked["at"] - _joined(asked, newest, keys, "then")
    return (gone.dt.total_seconds().cast(pl.Float64) / DAY_S).fill_null(np.nan).to_numpy()


def _joined(asked: pl.DataFrame, facts: pl.DataFrame, keys: list[str], name: str) -> pl.Series:
    facts = facts.unique([*keys, "at"], keep="last", maintain_order=True)
    left = asked.select(*keys, "at").with_row_index("place").sort("at")
    joined = left.join_asof(
        facts, on="at", by=keys, strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    return joined.sort("place")[name]
