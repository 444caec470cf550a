"""Lift: an arm against chance and against no contact, per strategy, by customers, corrected for how often one looked. Pure.

Only what was fixed before the decision may slice a comparison: kind, segment, language, period. Channel and age of the product are
chosen by the arm itself, and comparing arms within them would compare customers who were chosen differently.

References:
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65-70.
    Fieller (1954), Some problems in interval estimation, JRSS B 16, 175-185: the interval of a quotient.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from msgspec import Struct, structs
from scipy import stats

from model.evaluation.estimates import LEVEL, Estimate, ratio
from model.evaluation.table import NET, Mask, Table

POWER = 0.8
"""With which the minimum detectable effect is found."""
LEAST_CUSTOMERS = 10
"""In each arm: with fewer no comparison is made."""
SLICED = ("kind", "segment", "language", "period")

Against = Literal["random", "no contact"]


class Contrast(Struct, frozen=True):
    """One comparison of means per strategy.

    Args:
        family: comparisons that are corrected together.
        dimension, value: the slice, `overall` with an empty value for all.
        measure: `reward`, or `net margin` against no contact; both in units of reward.
        mean, base: of the arm and of what it is held against.
        difference, low, high: with its own 95 % interval, not corrected.
        relative: difference over base with Fieller's interval; None where the base is not clearly above 0.
        p, p_adjusted: two-sided; after Holm's correction within the family. `found`: p_adjusted < 0.05.
        detectable: the smallest true difference that data of this size find four times out of five.
    """

    family: str
    dimension: str
    value: str
    arm: str
    against: Against
    measure: str
    customers: int
    base_customers: int
    mean: float
    base: float
    difference: float
    low: float
    high: float
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    p: float
    detectable: float
    p_adjusted: float = 1.0
    found: bool = False


def contrasts(table: Table) -> list[Contrast]:
    """All comparisons that the data allow, families corrected. Customers of two arms are evidence for none."""
    everyone = ~table.mixed
    arms = table.values("arm", everyone)
    overall = [each for arm in arms for each in _compared(table, everyone, arm, ("arms", "overall", ""))]
    found = corrected(overall)
    served = _served(table, arms)
    for dimension in SLICED if served else ():
        values = table.values(dimension, everyone)
        parts = [(value, everyone & (table.text[dimension] == value)) for value in values]
        if len(parts) > 1:
            slices = [_compared(table, rows, served, (dimension, dimension, value)) for value, rows in parts]
            found += corrected([each for part in slices for each in part])
    return found


def corrected(family: Sequence[Contrast]) -> list[Contrast]:
    """The same, with Holm's adjusted p-values."""
    adjusted = holm([each.p for each in family])
    return [structs.replace(each, p_adjusted=p, found=p < 1 - LEVEL) for each, p in zip(family, adjusted, strict=True)]


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p-values: of the i-th smallest of m, the largest (m - j + 1) p_j up to it, at most 1."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    adjusted, highest = [1.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = highest
    return adjusted


def _served(table: Table, arms: Sequence[str]) -> str:
    """The arm that most strategies are of, besides chance and no contact; empty when there is none."""
    sizes = {arm: int((table.text["arm"] == arm).sum()) for arm in arms if arm not in ("random", "holdout")}
    return max(sizes, key=lambda arm: (sizes[arm], arm), default="")


def _compared(table: Table, rows: Mask, arm: str, what: tuple[str, str, str]) -> Iterator[Contrast]:
    """An arm's comparisons within some rows: by reward with chance, by net margin with no contact."""
    if arm == "holdout":
        return
    bases: tuple[tuple[Against, str, str], ...] = (("random", "random", "reward"), ("no contact", "holdout", NET))
    for against, base, measure in bases:
        own, others = (rows & (table.text["arm"] == name) for name in (arm, base))
        numbers = _numbers(_mean(table, own, measure), _mean(table, others, measure))
        if arm != base and numbers is not None:
            family, dimension, value = what
            yield Contrast(
                family=family, dimension=dimension, value=value, arm=arm, against=against, measure=measure, **numbers
            )


def _mean(table: Table, rows: Mask, measure: str) -> Estimate | None:
    columns = table.number
    worth = columns["horizon_margin"] - columns["cost"] if measure == NET else columns["reward"]
    return ratio(worth[rows], np.ones(int(rows.sum())), table.customers[rows]) if rows.any() else None


def _numbers(own: Estimate | None, base: Estimate | None) -> dict[str, Any] | None:
    """The numbers of a comparison; None of too few customers."""
    if own is None or base is None or min(own.customers, base.customers) < LEAST_CUSTOMERS:
        return None
    error, freedom = _welch(own, base)
    difference = own.value - base.value
    t = float(stats.t.ppf((1 + LEVEL) / 2, freedom))
    relative, relative_low, relative_high = _fieller(own, base, t)
    return {
        "customers": own.customers,
        "base_customers": base.customers,
        "mean": own.value,
        "base": base.value,
        "difference": difference,
        "low": difference - t * error,
        "high": difference + t * error,
        "relative": relative,
        "relative_low": relative_low,
        "relative_high": relative_high,
        "p": 2 * float(stats.t.sf(abs(difference) / error, freedom)) if error > 0 else float(difference == 0.0),
        "detectable": (t + float(stats.t.ppf(POWER, freedom))) * error,
    }


def _welch(own: Estimate, base: Estimate) -> tuple[float, float]:
    """Standard error of the difference and its degrees of freedom."""
    first, second = (own.standard_error or 0.0) ** 2, (base.standard_error or 0.0) ** 2
    if first + second == 0.0:
        return 0.0, float(own.customers + base.customers - 2)
    below = first**2 / (own.customers - 1) + second**2 / (base.customers - 1)
    return math.sqrt(first + second), (first + second) ** 2 / below


def _fieller(own: Estimate, base: Estimate, t: float) -> tuple[float | None, float | None, float | None]:
    """The quotient less 1, with the interval of all quotients that the difference own - quotient * base does not refute."""
    a, b = own.value, base.value
    va, vb = (own.standard_error or 0.0) ** 2, (base.standard_error or 0.0) ** 2
    above = b * b - t * t * vb
    if b <= 0.0 or above <= 0.0:
        return None, None, None
    root = math.sqrt(max((a * b) ** 2 - above * (a * a - t * t * va), 0.0))
    return a / b - 1, (a * b - root) / above - 1, (a * b + root) / above - 1
