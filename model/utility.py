"""What a teacher's choice is: the utility of every action of a request, and the targets that come of it. Pure NumPy."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from model.corpus import Example
from model.teachers import HALF, Floats, Pair, Teacher
from streaming.contracts.features import RELATIONS
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import Slot, StrategyRequest

SPREAD = 2.5
"""Standard deviations of the utility that one unit of the softmax spans: targets are decided, not certain."""


def candidate_worth(teacher: Teacher, example: Example) -> Floats:
    """(N,) what each candidate is worth to this customer."""
    attributes = np.asarray(example.attributes)
    worth = np.zeros(len(attributes))
    for taste in teacher.tastes:
        strength = taste.outside + (1.0 - taste.outside) * taste.group.share(example.customer)
        worth += strength * np.asarray(taste.worth)[attributes[:, taste.family]]
    return worth


def utility(teacher: Teacher, example: Example) -> Floats:
    """The worth of every action, one axis per slot: what the teacher would have chosen is the largest."""
    request, worth = example.request, candidate_worth(teacher, example)
    total = np.zeros([len(slot.values) for slot in request.slots])
    for axis, slot in enumerate(request.slots):
        total += _slot_worth(teacher, example, slot, worth, axis, len(request.slots))
    for (one, first), (other, second) in combinations(enumerate(request.slots), 2):
        pair = teacher.pairs.get((request.kind, first.name, second.name))
        if pair is not None:
            total += _along(_pair_worth(pair, example, first, second), (one, other), len(request.slots))
    if not teacher.by_outcome:
        return total
    click = 1.0 / (1.0 + np.exp(1.0 - total / max(float(total.std()), 0.3)))
    return click * _value(example) ** teacher.money


def _pair_worth(pair: Pair, example: Example, first: Slot, second: Slot) -> Floats:
    closed = GRAMMARS[example.request.kind].closed
    rows, columns = ([closed[slot.name].index(value) for value in slot.values] for slot in (first, second))
    both: Floats = (pair.always + pair.group.share(example.customer) * pair.inside)[np.ix_(rows, columns)]
    return both


def _along(values: Floats, axes: tuple[int, ...], count: int) -> Floats:
    """An array over some of `count` axes, ready to be added to one over all."""
    shape = [1] * count
    for axis, size in zip(axes, values.shape, strict=True):
        shape[axis] = size
    return values.reshape(shape)


def _slot_worth(teacher: Teacher, example: Example, slot: Slot, worth: Floats, axis: int, axes: int) -> Floats:
    request = example.request
    if slot.name in GRAMMARS[request.kind].candidate_slots:
        return _along(worth[_places(request, slot)], (axis,), axes)
    keys = [(request.kind, slot.name, value) for value in slot.values]
    leanings = [teacher.leanings[key] for key in keys]
    own = np.array([lean.always + lean.inside * lean.group.share(example.customer) for lean in leanings])
    crossed = np.zeros((len(request.slots[0].values), len(slot.values)))
    attributes = np.asarray(example.attributes)[_places(request, request.slots[0])]
    for column, key in enumerate(keys):
        cross = teacher.crosses.get(key)
        if cross is not None:
            strength = HALF + cross.group.share(example.customer)
            crossed[:, column] = strength * np.asarray(cross.worth)[attributes[:, cross.family]]
    return _along(own[None] + crossed, (0, axis), axes)


def _value(example: Example) -> Floats:
    """What a success is worth: the margin less the discount, over the mean margin of what is offered; never nothing."""
    request = example.request
    pointed = [slot.name in GRAMMARS[request.kind].candidate_slots for slot in request.slots]
    axes, share = len(request.slots), 1.0 / sum(pointed)
    margin, price = np.zeros([1] * axes), np.zeros([1] * axes)
    for axis, slot in enumerate(request.slots):
        if pointed[axis]:
            chosen = [request.candidates[place] for place in _places(request, slot)]
            margin = margin + share * _along(np.array([float(c.margin_minor) for c in chosen]), (axis,), axes)
            price = price + share * _along(np.array([float(c.price_minor) for c in chosen]), (axis,), axes)
    scale, value = max(float(margin.mean()), 1.0), margin
    for axis, slot in enumerate(request.slots):
        if slot.name == "discount":
            value = value - price * _along(np.array([int(v) / 100 for v in slot.values]), (axis,), axes)
    return np.maximum(value / scale, LEAST_VALUE)


LEAST_VALUE = 0.02


def _places(request: StrategyRequest, slot: Slot) -> list[int]:
    place = {candidate.id: index for index, candidate in enumerate(request.candidates)}
    return [place[value] for value in slot.values]


def prior_utility(example: Example) -> Floats:
    """The taste of nobody in particular, which the base has before it is taught.

    What relates to the customer comes first, channels where they answer, and no discount without need.
    """
    request = example.request
    weights = {name: PRIOR.get(name, 0.0) for name in RELATIONS}
    fit = np.array([sum(w * c.relation.get(name, 0.0) for name, w in weights.items()) for c in request.candidates])
    total = np.zeros([len(slot.values) for slot in request.slots])
    for axis, slot in enumerate(request.slots):
        shape = [1] * total.ndim
        shape[axis] = len(slot.values)
        if slot.name in GRAMMARS[request.kind].candidate_slots:
            own = fit[_places(request, slot)]
        elif slot.name == "channel":
            own = np.array([3.0 * request.features.channel_response.get(value, 0.0) for value in slot.values])
        elif slot.name == "discount":
            own = np.array([-0.02 * int(value) for value in slot.values])
        else:
            own = np.zeros(len(slot.values))
        total += own.reshape(shape)
    return total


PRIOR = {
    "category_affinity": 1.5,
    "brand_affinity": 0.7,
    "bought": 0.7,
    "viewed": 0.7,
    "wished": 1.2,
    "in_cart": 1.0,
    "searched": 1.2,
    "price_fit": 0.8,
    "popularity": 0.7,
}
"""Mild weights: the base begins near this, and is taught away from it in a hundred steps."""


def sharpen(worth: Floats) -> Floats:
    """Utilities as logits of a decided but not certain choice."""
    return np.asarray(SPREAD * (worth - worth.max()) / max(float(worth.std()), 1e-3), dtype=np.float64)


def conditionals(logits: Floats, chosen: Sequence[int]) -> list[Floats]:
    """Per slot p(value | chosen prefix) under softmax(logits) over all actions: sums over completions, exact."""
    weights = np.exp(logits - logits.max())
    out = []
    for index in chosen:
        marginal = weights.reshape(weights.shape[0], -1).sum(1)
        out.append(marginal / marginal.sum())
        weights = weights[index]
        weights = weights / max(float(weights.max()), 1e-300) if weights.ndim else weights
    return out
