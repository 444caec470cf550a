"""Whether a base can still be taught, beside the base that ships: critics drawn at random are distilled into both, by the recipe of serving.

The unit of evidence is the critic: each is taught to both bases from the same examples, in the same order, and the lifts are paired.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from scipy import stats

from model.base_gate import NAMES_PERMUTED, TEXTS_SWAPPED, UNSEEN_PRODUCTS
from model.evaluation.estimates import LEVEL, Floats
from model.lm import LanguageModel
from model.strategy.trying import Told, Tried, tried
from streaming.contracts.kinds import KIND_NAMES

NOT_WORSE_BY = 0.05
"""Lift that must be ruled out to be lost, with the interval over critics."""


class Examination(Struct, frozen=True):
    """How bases are examined.

    Args:
        critics: how many; of each kind of strategy in turn, additive ones and ones that judge by outcome in turn.
        steps: LoRA steps; the lift is the mean of those after a half, three quarters and all of them.
        train, test: customers.
    """

    critics: int = 6
    steps: int = 200
    train: int = 512
    test: int = 256

    @property
    def marks(self) -> tuple[int, ...]:
        """Steps after which is measured."""
        return tuple(sorted({max(self.steps * part // 4, 1) for part in (2, 3, 4)}))

    def one(self, lm: LanguageModel, index: int, told: Told) -> Tried:
        """Teach critic `index` to a base that has not been examined yet."""
        kind = KIND_NAMES[(index + index // len(KIND_NAMES)) % len(KIND_NAMES)]
        return tried(lm, index, kind, self.marks, self.train, self.test, told)


class Interval(Struct, frozen=True):
    """A mean over critics with its 95 % interval (Student's t)."""

    value: float
    low: float
    high: float


class Teachability(Struct, frozen=True):
    """Lift over each critic's own: of the new base, of the one that ships, and the paired difference.

    Args:
        names_permuted, texts_swapped, unseen_products: of the new base, means over critics (`model/base_gate.py`).
        reads: whether these are within the gate's bounds.
        not_below: whether the difference is not below 0 beyond chance, and a loss of `NOT_WORSE_BY` is ruled out.
    """

    new: Interval
    shipped: Interval
    difference: Interval
    by_critic: tuple[tuple[float, float], ...]
    names_permuted: float
    texts_swapped: float
    unseen_products: float
    reads: bool
    not_below: bool


def compared(new: Sequence[Tried], shipped: Sequence[Tried]) -> Teachability:
    """Both bases on the same critics, at least two."""
    lifts = np.array([[_lift(mine), _lift(theirs)] for mine, theirs in zip(new, shipped, strict=True)])
    permuted, swapped, unseen = (float(np.mean([getattr(each, of) for each in new])) for of in ("permuted", "swapped", "unseen"))  # fmt: skip
    difference = _interval(lifts[:, 0] - lifts[:, 1])
    return Teachability(
        new=_interval(lifts[:, 0]),
        shipped=_interval(lifts[:, 1]),
        difference=difference,
        by_critic=tuple((float(mine), float(theirs)) for mine, theirs in lifts),
        names_permuted=permuted,
        texts_swapped=swapped,
        unseen_products=unseen,
        reads=permuted >= NAMES_PERMUTED and swapped <= TEXTS_SWAPPED and unseen >= UNSEEN_PRODUCTS,
        not_below=difference.high >= 0.0 and difference.low > -NOT_WORSE_BY,
    )


def _lift(found: Tried) -> float:
    return float(np.mean(list(found.greedy.values())))


def _interval(values: Floats) -> Interval:
    mean = float(values.mean())
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)
