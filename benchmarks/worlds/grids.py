"""From a request to the logits of everything that may be answered, by the tables of a world. Pure."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.worlds.effects import ACTS_ON, SIZES, Effects
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import CATEGORIES
from benchmarks.worlds.people import Person
from benchmarks.worlds.shop import Good
from streaming.contracts.features import CATEGORIES as SHOWN_CATEGORIES
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import StrategyRequest

Floats = npt.NDArray[np.float64]

BASE = {
    "recommendation": {"seen": 0.3, "click": -2.6, "order": -0.8},
    "promotion": {"seen": 0.2, "click": -2.7, "order": -0.7},
    "ad": {"seen": -0.2, "click": -2.3, "order": -0.8},
    "ranking": {"seen": 1.2, "click": -2.4, "order": -1.0},
}
"""Kind → outcome → logit before anything else."""
DISCOUNT_PER_TEN = 0.35
MATCH = 0.7
"""What a pinned product of the category that is ranked adds to a click."""
LEAVES = {"onsite": 0.0005, "email": 0.004, "push": 0.008, "sms": 0.02}
"""Probability that a seen message makes the customer unsubscribe."""
BID_SEEN = {"low": -0.7, "medium": 0.1, "high": 0.8}
IN_SESSION = 0.4
BOUGHT = 0.6
RESIDUAL = 0.35
_LABELS = {label: place for place, (label, _) in enumerate(CATEGORIES)}
_SOLD = ("product", "pinned_product", "campaign")


class Layer(NamedTuple):
    """One way to look at the values of a slot: their positions in a table, along an axis of the grid."""

    name: str
    axis: int
    positions: npt.NDArray[np.int64]


class Setting(NamedTuple):
    """Who is asked, about what, when.

    Args:
        goods: candidate id → what it is; categories as candidates are not among them.
        tastes: (categories,) of the person now, logits.
        number: the interaction's.
        hour: of the customer's day.
    """

    person: Person
    request: StrategyRequest
    goods: Mapping[str, Good]
    tastes: Floats
    number: int
    hour: int


class Chances(NamedTuple):
    """Probabilities over the grid: each of the first three given the one before; `left` given seen, `refunded` an order."""

    seen: Floats
    click: Floats
    order: Floats
    left: Floats
    refunded: Floats


def tastes_of(person: Person, effects: Effects, knobs: WorldKnobs, number: int) -> Floats:
    """(categories,) what a customer thinks of each category, logits."""
    table = effects.main("category", number, SIZES["category"])
    return knobs.taste * (table @ who(person)) + person.own


def who(person: Person) -> Floats:
    """(1 + traits,): what tables of effects are multiplied with."""
    return np.concatenate([np.ones(1), person.traits])


def chances(setting: Setting, effects: Effects, knobs: WorldKnobs) -> Chances:
    """The truth about every action of a request, forbidden ones included."""
    shape = [len(slot.values) for slot in setting.request.slots]
    layers = layers_of(setting)
    logits = {
        outcome: np.full(shape, BASE[setting.request.kind][outcome]) + _summed(outcome, setting, layers, effects, knobs)
        for outcome in ("seen", "click", "order")
    }
    left, refunded = np.zeros(shape), np.zeros(shape)
    for axis, slot in enumerate(setting.request.slots):
        if slot.name == "channel":
            left = left + along([LEAVES[value] for value in slot.values], axis, shape)
        if slot.name in _SOLD:
            refunded = refunded + along([setting.goods[value].refund for value in slot.values], axis, shape)
    seen, click, order = (1.0 / (1.0 + np.exp(-logits[name])) for name in ("seen", "click", "order"))
    return Chances(seen, click, order, left, refunded)


def layers_of(setting: Setting) -> list[Layer]:
    """How the values of a request look to the tables."""
    found = []
    for axis, slot in enumerate(setting.request.slots):
        if slot.name in _SOLD:
            goods = [setting.goods[value] for value in slot.values]
            found.append(Layer("category", axis, np.array([good.category for good in goods])))
            found.append(Layer("tier", axis, np.array([good.tier for good in goods])))
        elif slot.name == "category":
            found.append(Layer("category", axis, np.array([_category_of(value) for value in slot.values])))
        else:
            values = GRAMMARS[setting.request.kind].closed[slot.name]
            found.append(Layer(slot.name, axis, np.array([values.index(value) for value in slot.values])))
        if slot.name == "send_time":
            found.append(Layer("daypart", axis, np.array([_daypart(value, setting.hour) for value in slot.values])))
    return found


def along(values: Sequence[float] | Floats, axis: int, shape: Sequence[int]) -> Floats:
    """A number per value of one axis, shaped to be added to the grid."""
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    return np.asarray(values, np.float64).reshape(sizes)


def _summed(outcome: str, setting: Setting, layers: list[Layer], effects: Effects, knobs: WorldKnobs) -> Floats:
    shape = [len(slot.values) for slot in setting.request.slots]
    number, x = setting.number, who(setting.person)
    total = np.zeros(shape)
    acting = [layer for layer in layers if layer.name in ACTS_ON[outcome]]
    for layer in acting:
        if layer.name not in ("category", "tier"):
            table = effects.main(f"{outcome}:{layer.name}", number, SIZES[layer.name])
            total = total + along(knobs.habit * (table @ x)[layer.positions], layer.axis, shape)
    for one, other in combinations(acting, 2):
        if one.axis == other.axis or one.name == other.name:
            continue
        table = effects.pair(outcome, one.name, other.name, number) @ x
        both = table[one.positions][:, other.positions]
        sizes = [1] * len(shape)
        sizes[one.axis], sizes[other.axis] = shape[one.axis], shape[other.axis]
        total = total + knobs.interaction * both.reshape(sizes)
    return total + _known(outcome, setting, effects, knobs)


def _known(outcome: str, setting: Setting, effects: Effects, knobs: WorldKnobs) -> Floats:
    """What has a meaning of its own: goods and their prices, discounts, bids, presence, a customer's own channels."""
    shape = [len(slot.values) for slot in setting.request.slots]
    total = np.zeros(shape)
    for axis, slot in enumerate(setting.request.slots):
        if slot.name in _SOLD:
            utility = [_utility(outcome, setting, setting.goods[value], effects, knobs) for value in slot.values]
            total = total + along(utility, axis, shape)
        elif slot.name == "category" and outcome == "click":
            total = total + along([0.7 * setting.tastes[_category_of(value)] for value in slot.values], axis, shape)
        elif slot.name == "discount" and outcome != "seen":
            pull = DISCOUNT_PER_TEN * (1.0 + 0.5 * float(setting.person.traits[0]))
            total = total + along([pull * int(value) / 10 for value in slot.values], axis, shape)
        elif slot.name == "channel" and outcome == "seen":
            names = GRAMMARS[setting.request.kind].closed["channel"]
            total = total + along([setting.person.channels[names.index(value)] for value in slot.values], axis, shape)
        elif slot.name == "bid_tier" and outcome == "seen":
            total = total + along([BID_SEEN[value] for value in slot.values], axis, shape)
        elif slot.name == "send_time" and outcome == "seen" and setting.request.trigger != "dormant_customer":
            total = total + along([IN_SESSION * (value == "now") for value in slot.values], axis, shape)
    return total + _matches(setting, shape) if outcome == "click" else total


def _utility(outcome: str, setting: Setting, good: Good, effects: Effects, knobs: WorldKnobs) -> float:
    if outcome == "seen":
        return 0.0
    words = effects.styles(setting.number)[list(good.styles)] @ who(setting.person)
    likes = float(setting.tastes[good.category]) + knobs.taste * 0.8 * float(words.mean()) + RESIDUAL * good.residual
    likes += BOUGHT * (good.what == "product" and good.wave == 0 and int(good.id[1:]) in setting.person.bought)
    sensitivity = 0.4 + 0.4 * float(setting.person.traits[0])
    return likes - sensitivity * good.level if outcome == "click" else 0.4 * likes - 1.2 * sensitivity * good.level


def _matches(setting: Setting, shape: list[int]) -> Floats:
    slots = {slot.name: slot.values for slot in setting.request.slots}
    if "pinned_product" not in slots:
        return np.zeros(shape)
    ranked = np.array([_category_of(value) for value in slots["category"]])
    pinned = np.array([setting.goods[value].category for value in slots["pinned_product"]])
    matching: Floats = MATCH * (ranked[:, None, None] == pinned[None, None, :]).astype(np.float64)
    return matching


def _category_of(identity: str) -> int:
    """A category's id as a candidate is its label."""
    return _LABELS[identity]


def _daypart(send_time: str, hour: int) -> int:
    parts = SHOWN_CATEGORIES["daypart"]
    return hour // 6 if send_time == "now" else parts.index(send_time)
