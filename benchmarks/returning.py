"""Simulated customers who come back, by columns: thousands of trials in minutes. Magnitudes are the product's own.

Most strategies earn nothing, clicks cents, rare orders dollars; some refunds and customers who leave for good. How often a
customer comes, how readily they click and how much they buy differ between customers with heavy tails, so that the rewards of
one customer are alike. `benchmarks/worlds` has the same magnitudes from whole requests, a thousand times slower.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from streaming.reward import Weights

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Habits(Struct, frozen=True):
    """What customers are like.

    Args:
        tail: Pareto exponent of how often a customer comes within the window; `most`: at most so often.
        click, order: probability of a click per strategy, of an order per click, for the average customer.
        margin: of an average order, units of reward; `margin_spread`: of its log.
        ease_spread: of the log of a customer's readiness to click; `units_spread`: of the log of a customer's basket.
        refund: share of orders; `leave`: probability per strategy of unsubscribing.
    """

    tail: float = 1.3
    most: int = 30
    click: float = 0.2
    order: float = 0.35
    margin: float = 2.0
    margin_spread: float = 0.6
    ease_spread: float = 0.5
    units_spread: float = 0.6
    refund: float = 0.05
    leave: float = 0.002


class Lives(NamedTuple):
    """Some customers' windows.

    Args:
        totals: (customers,) sums of their rewards.
        of: (strategies,) whose reward each is; `rewards`: what each earned; `order`: a permutation, by time.
    """

    totals: Floats
    of: Ints
    rewards: Floats
    order: Ints


def lives(rng: np.random.Generator, quality: Floats, habits: Habits, *, timed: bool = False) -> Lives:
    """Draw the windows of customers, one after the other enrolled.

    Args:
        quality: (customers,) factor on the probability of a click of what each is served.
        timed: whether `order` is wanted; without, it is empty.
    """
    customers = len(quality)
    visits = np.minimum(1 + rng.pareto(habits.tail, customers), habits.most).astype(np.int64)
    ease = rng.lognormal(-(habits.ease_spread**2) / 2, habits.ease_spread, customers)
    units = rng.lognormal(-(habits.units_spread**2) / 2, habits.units_spread, customers)
    of = np.repeat(np.arange(customers), visits)
    clicked = rng.random(len(of)) < np.minimum(habits.click * ease * quality, 0.9)[of]
    ordered = np.zeros(len(of), bool)
    ordered[clicked] = rng.random(int(clicked.sum())) < habits.order * (1.0 - habits.refund)
    left = rng.random(len(of)) < habits.leave
    weights = Weights()
    rewards = weights.click_major * clicked + weights.unsubscribe_major * left - weights.email_major
    size = rng.lognormal(-(habits.margin_spread**2) / 2, habits.margin_spread, int(ordered.sum()))
    rewards[ordered] += habits.margin * units[of[ordered]] * size
    order = np.zeros(0, np.int64)
    if timed:  # a window is as long as it takes a tenth of the customers to enrol
        order = np.argsort(of + rng.random(len(of)) * customers / 10.0, kind="stable")
    totals: Floats = np.bincount(of, rewards, customers).astype(np.float64)
    return Lives(totals, of, rewards, order)


def quality_of(loss: float, habits: Habits) -> float:
    """The factor on clicks by which the mean reward is smaller by this share (up to rare certain clicks)."""
    weights = Weights()
    gain = habits.click * (weights.click_major + habits.order * (1.0 - habits.refund) * habits.margin)
    mean = gain + habits.leave * weights.unsubscribe_major - weights.email_major
    return 1.0 - loss * mean / gain
