"""What every allowed action of a request would have brought on average: the oracle and the random baseline, exactly.

A measuring module, used by the demo's report alone. It is the one module here that knows both sides: the simulated
customers (`answers.py`) and the product's own reward formula (`streaming.reward`) over the product's own grid of
allowed actions (`model.grid`). The shop's process never imports it.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from model.grid import ActionGrid
from services.shop.answers import (
    CHANNEL_LEAVES,
    COMPLAINT_SHARE,
    MEAN_REFUND,
    Effect,
    base_effect,
    effects_of,
    refund_probability,
)
from services.shop.world import World
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula

Grid = npt.NDArray[np.float64]


class Baseline(msgspec.Struct, frozen=True):
    """Expected rewards of one request, major units.

    Args:
        oracle: of the best allowed action.
        random: mean over all allowed actions.
    """

    oracle: float
    random: float


def summed_logits(request: StrategyRequest, effects: dict[str, dict[str, Effect]], base: Effect, part: str) -> Grid:
    """Logits of one part (`seen`, `click` or `order`) over the grid: an axis per slot in order."""
    total: Grid = np.full([len(slot.values) for slot in request.slots], float(getattr(base, part)))
    for axis, slot in enumerate(request.slots):
        shape = [1] * len(request.slots)
        shape[axis] = len(slot.values)
        values = [float(getattr(effects[slot.name][value], part)) for value in slot.values]
        total = total + np.reshape(np.asarray(values), shape)
    return total


def along(request: StrategyRequest, name: str, value_of: dict[str, float]) -> Grid:
    """A number per value of one slot, spread over the grid; zeros when the kind has no such slot."""
    grid: Grid = np.zeros([len(slot.values) for slot in request.slots])
    for axis, slot in enumerate(request.slots):
        if slot.name == name:
            shape = [1] * len(request.slots)
            shape[axis] = len(slot.values)
            grid = grid + np.reshape(np.asarray([value_of.get(value, 0.0) for value in slot.values]), shape)
    return grid


def expit(x: Grid) -> Grid:
    """Logistic function."""
    result: Grid = 1.0 / (1.0 + np.exp(-x))
    return result


def expected_rewards(world: World, request: StrategyRequest, formula: Formula) -> Grid:
    """Expected reward of every action of a request, major units; axes are its slots in order.

    Orders are counted with the mean number of units.

    Raises:
        KeyError: the customer is none of this world's.
    """
    customer = world.customers[request.user_id]
    effects, base = effects_of(customer, world.shelf, request), base_effect(customer, request.kind)
    seen = expit(summed_logits(request, effects, base, "seen"))
    clicked = seen * expit(summed_logits(request, effects, base, "click"))
    ordered = clicked * expit(summed_logits(request, effects, base, "order"))
    sold = ordered * max(customer.taste.units_per_line, 1.0)
    margin, discount = sold * formula.margin_grid(request), sold * formula.discount_grid(request)
    back = {c.id: refund_probability(c.id) if c.what == "product" else MEAN_REFUND for c in request.candidates}
    pointed = "pinned_product" if request.kind == "ranking" else "product"
    refunded = margin * (MEAN_REFUND if request.kind == "ad" else along(request, pointed, back))
    left = seen * along(request, "channel", CHANNEL_LEAVES)
    cost = formula.expected_cost_grid(request, seen)
    total = formula.total(
        clicked, ordered, margin, refunded, left, left * COMPLAINT_SHARE, cost, formula.offer_grid(request), discount
    )
    return np.asarray(total, dtype=np.float64)


def baseline_of(world: World, request: StrategyRequest, formula: Formula) -> Baseline:
    """Oracle and random baseline of one request."""
    rewards = expected_rewards(world, request, formula)[ActionGrid.of(request).allowed]
    return Baseline(oracle=float(rewards.max()), random=float(rewards.mean()))


def baselines(world: World, requests: list[StrategyRequest], formula: Formula, most: int = 1_500) -> Baseline | None:
    """Mean baselines over requests of known customers; an even sample where there are more than `most`.

    Returns:
        None when no request is of a known customer.
    """
    known = [request for request in requests if request.user_id in world.customers]
    step = max(1, len(known) // most)
    each = [baseline_of(world, request, formula) for request in known[::step]]
    if not each:
        return None
    return Baseline(
        oracle=float(np.mean([one.oracle for one in each])), random=float(np.mean([one.random for one in each]))
    )


def lift(reward: float, baseline: Baseline) -> float | None:
    """(reward - random) / (oracle - random); None where there is nothing to gain."""
    span = baseline.oracle - baseline.random
    return (reward - baseline.random) / span if span > 0 else None
