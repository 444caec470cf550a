"""What a trial bets on, and what each customer does to the capital: the arithmetic below `model/sequential.py`. Pure."""

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

STAKES = 2.0 ** -np.arange(8.0)
"""(bets,) Times the inverse of the widest range of Z: the constant bets. Kelly's is (difference - m) / variance of Z."""
MOST_LOST = 0.5
"""A bet is cut so that no customer can cost more of its capital."""
KEPT_FROM_START = 0.5
"""Of the capital, where there are restarts: what bets from the first customer."""
FIRST_RESTART = 2_000
"""Customers."""


class Design(Struct, frozen=True):
    """What a trial fixes before its first customer.

    Args:
        share: probability with which a customer is treated.
        low, high: sums of rewards per customer are clipped to these, units of reward.
        candidates: differences that are tested, ascending, strictly within ± (high - low), units of reward per customer.
        restarts: numbers of customers after which a part of the capital begins to bet, ascending.
    """

    share: Annotated[float, Meta(gt=0.0, lt=1.0)]
    low: float
    high: float
    candidates: tuple[float, ...]
    restarts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be tested."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low < high wanted, finite, not {self.low} and {self.high}")
        if not self.candidates or list(self.candidates) != sorted(set(self.candidates)):
            raise ValueError("candidates: at least one wanted, ascending, each once")
        if not all(abs(candidate) < self.high - self.low for candidate in self.candidates):
            raise ValueError("candidates: each strictly within ± (high - low)")
        if list(self.restarts) != sorted({restart for restart in self.restarts if restart > 0}):
            raise ValueError("restarts: positive, ascending, each once")

    @property
    def spread(self) -> float:
        """The largest difference there can be, units of reward."""
        return self.high - self.low


def candidates(high: float, low: float, delta: float, steps: int = 15) -> tuple[float, ...]:
    """Differences to test: 0, ± delta and on both sides a geometric sequence from delta / 4 to nearly the largest."""
    most = 0.99 * (high - low)
    if not 0.0 < delta < most:
        raise ValueError(f"delta: above 0 and below {most} wanted, not {delta}")
    positive = sorted({delta, *(float(step) for step in np.geomspace(delta / 4.0, most, steps))})
    return (*(-step for step in reversed(positive)), 0.0, *positive)


def restarts(most: int) -> tuple[int, ...]:
    """Doubling from `FIRST_RESTART`, below so many customers: the last lies in the last half of the trial, however long; a shorter one than the first has none."""
    found = [FIRST_RESTART]
    while found[-1] < most:
        found.append(2 * found[-1])
    return tuple(found[:-1])


def log_growth(design: Design, treated: Flags, clipped: Floats, centre: Floats) -> Floats:
    """(n, 2 sides, candidates, bets) What each customer does to the log of each bet's capital."""
    grid, p = np.array(design.candidates), design.share
    gap = clipped - centre
    z = np.where(treated, gap / p, -gap / (1.0 - p))[:, None] - grid
    up, down = design.high - centre, centre - design.low
    most = np.maximum(up / p, down / (1.0 - p))[:, None] - grid
    least = np.maximum(down / p, up / (1.0 - p))[:, None] + grid
    stakes = STAKES * min(p, 1.0 - p) / design.spread
    above = np.minimum(stakes, MOST_LOST / least[..., None]) * z[..., None]
    below = np.minimum(stakes, MOST_LOST / most[..., None]) * -z[..., None]
    growth: Floats = np.log1p(np.stack((above, below), axis=1))
    return growth


def log_mixed(design: Design, capital: Floats, at_restarts: Floats) -> Floats:
    """Log of the whole capital: what bets from the start, what from each restart, and what is kept until its own.

    Args:
        capital: (n, 2 sides, candidates, bets) log capital of what bets from the start.
        at_restarts: (restarts so far, 2 sides, candidates, bets) the same as it was at each.

    Returns:
        (n, 2 sides, candidates).
    """
    first, count = _log_mean_exp(capital), len(design.restarts)
    if not count:
        return first
    part = (1.0 - KEPT_FROM_START) / count
    begun = [math.log(part) + _log_mean_exp(capital - at) for at in at_restarts]
    waiting = [np.full_like(first, math.log(part * (count - len(begun))))] if len(begun) < count else []
    mixed: Floats = np.logaddexp.reduce([math.log(KEPT_FROM_START) + first, *begun, *waiting])
    return mixed


def _log_mean_exp(logs: Floats) -> Floats:
    """Over the last axis."""
    top = logs.max(axis=-1)
    result: Floats = top + np.log(np.mean(np.exp(logs - top[..., None]), axis=-1))
    return result
