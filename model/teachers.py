"""A population of random teachers: who is to be taught by any critic has learned to tell all features apart first.

Pure NumPy. Each teacher is sparse: a few attributes of candidates, each liked or not by one group of customers, and a
few groups of customers per closed value. Half judge additively; half by outcome (probability of a click times what a
success is worth), so that no slot can be judged alone. They know nothing of any shop.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from model.corpus import CUSTOMER, FAMILIES, Example
from streaming.contracts.features import RELATIONS
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES
from streaming.contracts.strategies import Slot, StrategyRequest

Floats = npt.NDArray[np.float64]

CUSTOMER_SIZES = tuple(CUSTOMER.values())
FAMILY_NAMES = tuple(FAMILIES)
TASTES = 8
"""Attributes of candidates that a teacher cares about."""
CLOSED_VALUES = tuple(
    dict.fromkeys(
        (kind, slot, value) for kind in KIND_NAMES for slot, values in GRAMMARS[kind].closed.items() for value in values
    )
)
SPREAD = 2.5
"""Standard deviations of the utility that one unit of the softmax spans: targets are decided, not certain."""


class Group(msgspec.Struct, frozen=True):
    """Customers whose attribute `family` has one of the values marked."""

    family: int
    values: tuple[bool, ...]

    def holds(self, customer: Sequence[int]) -> bool:
        """Whether a customer belongs to it."""
        return self.values[customer[self.family]]


class Taste(msgspec.Struct, frozen=True):
    """What an attribute of a candidate is worth, to customers inside and outside of a group."""

    family: int
    worth: tuple[float, ...]
    group: Group
    outside: float


class Leaning(msgspec.Struct, frozen=True):
    """What a closed value is worth: always, and more to one group of customers."""

    always: float
    group: Group
    inside: float


class Cross(msgspec.Struct, frozen=True):
    """A closed value that suits candidates with some values of an attribute: nothing additive can say it."""

    family: int
    values: tuple[bool, ...]
    weight: float


class Teacher(msgspec.Struct, frozen=True):
    """One random taste. `by_outcome`: click times worth instead of a sum."""

    tastes: tuple[Taste, ...]
    leanings: Mapping[tuple[str, str, str], Leaning]
    crosses: Mapping[tuple[str, str, str], Cross]
    by_outcome: bool


def _group(rng: np.random.Generator) -> Group:
    family = int(rng.integers(len(CUSTOMER_SIZES)))
    size = CUSTOMER_SIZES[family]
    cut = int(rng.integers(1, size)) if size > 1 else 1
    marked = np.arange(size) >= cut
    return Group(family, tuple(bool(mark) for mark in (marked if rng.random() < HALF else ~marked)))


HALF = 0.5
FEW_GROUPS = 4
Draw = Callable[[np.random.Generator], Group]


def _few(rng: np.random.Generator, count: int) -> Draw:
    """Draws from `count` groups."""
    groups = [_group(rng) for _ in range(count)]
    return lambda draws: groups[int(draws.integers(count))]


def _taste(rng: np.random.Generator, group: Draw) -> Taste:
    family = int(rng.integers(len(FAMILIES)))
    size = FAMILIES[FAMILY_NAMES[family]]
    if family < TEXTUAL:
        worth = rng.normal(size=size) * (rng.random(size) < SPARSE_WORDS)
    else:
        worth = rng.normal() * np.linspace(-1.2, 1.2, size) + 0.3 * rng.normal(size=size)
    return Taste(family, tuple(float(w) for w in worth), group(rng), float(rng.choice((-1.0, 0.0, 0.5))))


TEXTUAL = 3
"""The first families are words: their values have no order."""
SPARSE_WORDS = 0.4
CROSSED = 0.3


def draw_teacher(seed: int, index: int, groups: int | None = FEW_GROUPS) -> Teacher:
    """The teacher `index` of a population.

    Args:
        seed: of the population.
        index: odd ones judge by outcome.
        groups: how many groups of customers it tells apart, and attributes it cares about; None: as many as it has
            opinions, which makes a base carry every feature but leaves each too little to be learned well.
    """
    rng = np.random.default_rng((seed, index))
    group = _group if groups is None else _few(rng, groups)
    leanings: dict[tuple[str, str, str], Leaning] = {}
    crosses: dict[tuple[str, str, str], Cross] = {}
    for key in CLOSED_VALUES:
        leanings[key] = Leaning(float(rng.normal()) * 0.6, group(rng), float(rng.normal()) * 1.2)
        if rng.random() < CROSSED:
            family = int(rng.integers(TEXTUAL, len(FAMILIES)))
            marked = np.arange(FAMILIES[FAMILY_NAMES[family]]) >= int(rng.integers(1, FAMILIES[FAMILY_NAMES[family]]))
            crosses[key] = Cross(family, tuple(bool(mark) for mark in marked), float(rng.normal()))
    return Teacher(
        tuple(_taste(rng, group) for _ in range(groups or TASTES)), leanings, crosses, by_outcome=index % 2 == 1
    )


def candidate_worth(teacher: Teacher, example: Example) -> Floats:
    """(N,) what each candidate is worth to this customer."""
    attributes = np.asarray(example.attributes)
    worth = np.zeros(len(attributes))
    for taste in teacher.tastes:
        strength = 1.0 if taste.group.holds(example.customer) else taste.outside
        worth += strength * np.asarray(taste.worth)[attributes[:, taste.family]]
    return worth


def utility(teacher: Teacher, example: Example) -> Floats:
    """The worth of every action, one axis per slot: what the teacher would have chosen is the largest."""
    request, worth = example.request, candidate_worth(teacher, example)
    total = np.zeros([len(slot.values) for slot in request.slots])
    for axis, slot in enumerate(request.slots):
        total += _slot_worth(teacher, example, slot, worth, axis, len(request.slots))
    if not teacher.by_outcome:
        return total
    click = 1.0 / (1.0 + np.exp(1.0 - total / max(float(total.std()), 0.3)))
    return click * _value(example)


def _slot_worth(teacher: Teacher, example: Example, slot: Slot, worth: Floats, axis: int, axes: int) -> Floats:
    request = example.request
    shape = [1] * axes
    shape[axis] = len(slot.values)
    if slot.name in GRAMMARS[request.kind].candidate_slots:
        return worth[_places(request, slot)].reshape(shape)
    keys = [(request.kind, slot.name, value) for value in slot.values]
    leanings = [teacher.leanings[key] for key in keys]
    own = np.array([lean.always + lean.inside * lean.group.holds(example.customer) for lean in leanings])
    crossed = np.zeros((len(request.slots[0].values), len(slot.values)))
    attributes = np.asarray(example.attributes)[_places(request, request.slots[0])]
    for column, key in enumerate(keys):
        cross = teacher.crosses.get(key)
        if cross is not None:
            crossed[:, column] = cross.weight * np.asarray(cross.values)[attributes[:, cross.family]]
    shape[0] = len(request.slots[0].values)
    return (own[None] + crossed).reshape(shape)


def _value(example: Example) -> Floats:
    """What a success is worth: the margin, less the discount."""
    request = example.request
    place = _places(request, request.slots[-1 if request.kind == "ranking" else 0])
    margin = np.array([request.candidates[p].margin_minor / max(request.candidates[p].price_minor, 1) for p in place])
    axes = len(request.slots)
    shape = [1] * axes
    shape[-1 if request.kind == "ranking" else 0] = len(place)
    value = (0.3 + margin).reshape(shape)
    for axis, slot in enumerate(request.slots):
        if slot.name == "discount":
            off = [1] * axes
            off[axis] = len(slot.values)
            value = np.maximum(value - np.array([int(v) / 100 for v in slot.values]).reshape(off), 0.02)
    return value


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
