"""Ratios and rates with intervals by clusters: the unit of evidence is the customer, who has several strategies. Pure.

A ratio of sums R = sum y / sum x over strategies has the linearised variance G / (G - 1) * sum of e_g^2 / (sum x)^2 with
e_g = y_g - R x_g summed over the G customers, and a t interval with G - 1 degrees of freedom [1]. A proportion has Korn and
Graubard's interval [2]: Clopper and Pearson's at the effective sample size, which stays in [0, 1] and is not empty where nothing, or
everything, happened.

References:
    [1] Cochran (1977), Sampling techniques, 3rd edition, sections 6.3 and 9A.3.
    [2] Korn, Graubard (1998), Confidence intervals for proportions with small expected number of positive counts estimated
        from survey data, Survey Methodology 24(2), 193-201.
"""

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from scipy import stats

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

LEVEL = 0.95
"""Of every interval here."""


class Estimate(Struct, frozen=True):
    """A ratio with its 95 % interval; `low` and `high` are None where nothing is known of the spread.

    Args:
        of: sum of the denominator: exposures, clicks, strategies.
        customers: with anything in the denominator.
    """

    value: float
    low: float | None
    high: float | None
    standard_error: float | None
    of: float
    customers: int


def ratio(numerator: Floats, denominator: Floats, customers: Codes) -> Estimate | None:
    """Sum over sum, by customers; None where the denominator is zero.

    Args:
        numerator, denominator: (n,), denominators >= 0.
        customers: (n,) codes >= 0, equal for one customer.
    """
    linear = _linearised(numerator, denominator, customers)
    if linear is None:
        return None
    value, error, count = linear
    total = float(denominator.sum())
    if error is None:
        return Estimate(value, None, None, None, total, count)
    half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return Estimate(value, value - half, value + half, error, total, count)


def proportion(numerator: Floats, denominator: Floats, customers: Codes) -> Estimate | None:
    """A share of zeros and ones among zeros and ones, by customers; None where there is nothing to have a share of."""
    linear = _linearised(numerator, denominator, customers)
    if linear is None:
        return None
    value, error, count = linear
    total = float(denominator.sum())
    effective = _effective(value, error, total, count)
    low, high = clopper_pearson(value * effective, effective)
    return Estimate(value, low, high, error, total, count)


def clopper_pearson(hits: float, of: float) -> tuple[float, float]:
    """The exact binomial interval, also for numbers that are not whole."""
    tail = (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, hits, of - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, of - hits)) if hits < of else 1.0
    return low, high


def _effective(value: float, error: float | None, total: float, count: int) -> float:
    """How many independent observations say as much; never more than there are observations."""
    if not error:  # nobody, or everybody, or one customer: each customer counts as one observation
        return float(count)
    spread = float(stats.norm.ppf((1 + LEVEL) / 2) / stats.t.ppf((1 + LEVEL) / 2, count - 1)) ** 2
    return min(value * (1 - value) / error**2 * spread, total)


def _linearised(numerator: Floats, denominator: Floats, customers: Codes) -> tuple[float, float | None, int] | None:
    """Value, standard error (None of one customer) and number of customers."""
    total = float(denominator.sum())
    if total <= 0.0:
        return None
    value = float(numerator.sum()) / total
    taken = np.zeros(int(customers.max()) + 1, bool)
    taken[customers[(denominator != 0) | (numerator != 0)]] = True
    count = int(taken.sum())
    if count < 2:  # noqa: PLR2004 -- a spread wants two
        return value, None, count
    residuals = np.bincount(customers, numerator - value * denominator)
    variance = count / (count - 1) * float(residuals @ residuals) / total**2
    return value, float(np.sqrt(variance)), count
