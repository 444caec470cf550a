"""A population of random teachers: who is to be taught by any critic has learned to tell all features apart first.

Pure NumPy. Each teacher is sparse: a few attributes of candidates, each liked or not by one group of customers, a few
groups of customers per closed value, closed values that suit some candidates, and pairs of closed values that go together.
Half judge additively; half by outcome (probability of a click times a power of the money that a success brings), so that
no slot can be judged alone. They know nothing of any shop.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import msgspec
import numpy as np
import numpy.typing as npt

from model.corpus import CUSTOMER, FAMILIES
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES

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


class Group(msgspec.Struct, frozen=True):
    """Customers, by one attribute alone (inside or outside) or by several together (more or less inside).

    Args:
        families: places of the attributes. tables: a logit for every value of each; membership is the logistic of their sum.
    """

    families: tuple[int, ...]
    tables: tuple[tuple[float, ...], ...]

    def share(self, customer: Sequence[int]) -> float:
        """How far a customer belongs to it, in [0, 1]."""
        total = sum(table[customer[family]] for family, table in zip(self.families, self.tables, strict=True))
        return 1.0 / (1.0 + math.exp(-total))


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
    """A closed value that suits candidates by an attribute, a group of customers most: nothing additive can say it."""

    family: int
    worth: tuple[float, ...]
    group: Group


class Pair(msgspec.Struct, frozen=True, eq=False):
    """What the values of two closed slots are worth together, always and to a group, (values of one, values of other)."""

    always: Floats
    inside: Floats
    group: Group


class Teacher(msgspec.Struct, frozen=True):
    """One random taste.

    Args:
        tastes: of candidates. leanings, crosses: by (kind, slot, value). pairs: by (kind, slot, later slot).
        by_outcome: click times worth instead of a sum. money: power of the money in that worth.
    """

    tastes: tuple[Taste, ...]
    leanings: Mapping[tuple[str, str, str], Leaning]
    crosses: Mapping[tuple[str, str, str], Cross]
    pairs: Mapping[tuple[str, str, str], Pair]
    by_outcome: bool
    money: float


HALF = 0.5
FEW_GROUPS = 4
SURE = 20.0
"""A logit that leaves no doubt."""
TOGETHER = (3, 7)
"""Attributes that make a group together: least, and one more than most."""
STEEP = 2.5
"""Standard deviations of their sum, as a logit."""
Draw = Callable[[np.random.Generator], Group]


def _group(rng: np.random.Generator) -> Group:
    return _sharp(rng) if rng.random() < HALF else _blurred(rng)


def _sharp(rng: np.random.Generator) -> Group:
    family = int(rng.integers(len(CUSTOMER_SIZES)))
    size = CUSTOMER_SIZES[family]
    cut = int(rng.integers(1, size)) if size > 1 else 1
    marked = (np.arange(size) >= cut) == (rng.random() < HALF)
    return Group((family,), (tuple(SURE if mark else -SURE for mark in marked),))


def _blurred(rng: np.random.Generator) -> Group:
    families = rng.choice(len(CUSTOMER_SIZES), size=int(rng.integers(*TOGETHER)), replace=False)
    tables = [_rising(CUSTOMER_SIZES[family], rng) for family in families]
    scale = STEEP / math.sqrt(len(tables))
    return Group(tuple(int(f) for f in families), tuple(tuple(float(scale * v) for v in table) for table in tables))


def _rising(size: int, rng: np.random.Generator) -> Floats:
    """Values in order, up or down, not quite evenly; standard deviation about 1."""
    return float(rng.choice((-1.0, 1.0))) * np.linspace(-1.5, 1.5, size) + 0.4 * rng.normal(size=size)


def _few(rng: np.random.Generator, count: int) -> Draw:
    """Draws from `count` groups."""
    groups = [_group(rng) for _ in range(count)]
    return lambda draws: groups[int(draws.integers(count))]


def _taste(rng: np.random.Generator, group: Draw) -> Taste:
    family = int(rng.integers(len(FAMILIES)))
    return Taste(family, _liking(family, rng), group(rng), float(rng.choice((-1.0, 0.0, 0.5))))


def _liking(family: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Of an attribute's values: words of their own, levels in order."""
    size = FAMILIES[FAMILY_NAMES[family]]
    if family < TEXTUAL:
        worth = rng.normal(size=size) * (rng.random(size) < SPARSE_WORDS)
    else:
        worth = rng.normal() * np.linspace(-1.2, 1.2, size) + 0.3 * rng.normal(size=size)
    return tuple(float(w) for w in worth)


TEXTUAL = 3
"""The first families are words: their values have no order."""
SPARSE_WORDS = 0.4
CROSSED = 0.4
"""Part of the closed values that suit some candidates."""
PAIRED = 0.5
"""Part of the pairs of closed slots whose values matter together."""
CATEGORY = 0


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
            family = CATEGORY if rng.random() < HALF else int(rng.integers(len(FAMILIES)))
            crosses[key] = Cross(family, _liking(family, rng), group(rng))
    tastes = tuple(_taste(rng, group) for _ in range(groups or TASTES))
    return Teacher(tastes, leanings, crosses, _pairs(rng, group), index % 2 == 1, float(rng.choice((0.0, 0.5, 1.0))))


def _pairs(rng: np.random.Generator, group: Draw) -> dict[tuple[str, str, str], Pair]:
    found: dict[tuple[str, str, str], Pair] = {}
    for kind in KIND_NAMES:
        closed = GRAMMARS[kind].closed
        for one, other in combinations(closed, 2):
            if rng.random() < PAIRED:
                shape = (len(closed[one]), len(closed[other]))
                found[kind, one, other] = Pair(0.4 * rng.normal(size=shape), 0.8 * rng.normal(size=shape), group(rng))
    return found
