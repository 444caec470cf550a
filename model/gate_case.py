"""A logged decision with what every measure of a candidate begins with: its grid and its critic's values, made once. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.decode import Mix, SlotDistribution, Walk
from model.grid import ActionGrid
from model.memory import Replayed
from model.policy import Decided, Knobs, Valuer, head_scale, spread

Floats = npt.NDArray[np.float64]
TINY = 1e-300


class Case(NamedTuple):
    """One decision under the critic that candidate and champion are measured with.

    Args:
        place: of the decision in the grid.
        values: (1 + heads, *grid.shape), units of reward; `beta`: that critic's temperature.
    """

    item: Replayed
    grid: ActionGrid
    place: tuple[int, ...]
    values: Floats
    beta: float

    @property
    def predicted(self) -> float:
        """What the critic's mean expects of the decision."""
        return float(self.values[0][self.place])

    def allows(self, decided: Decided) -> bool:
        """Whether rules leave room for another decision on the same request."""
        return bool(self.grid.allowed[decided.index])

    def marginals(self, knobs: Knobs, lm: Sequence[Floats]) -> list[SlotDistribution]:
        """The served distribution of each slot along the decision; `lm`: per slot (values,), at temperature 1."""
        walk, found = self._walk(knobs), []
        for own, chosen in zip(lm, self.place, strict=True):
            found.append(walk.distribution(own))
            walk.choose(chosen)
        return found

    def chance(self, knobs: Knobs, lm: Sequence[Floats]) -> float:
        """Probability of the decision as these knobs would serve it."""
        walk = self._walk(knobs)
        for own, chosen in zip(lm, self.place, strict=True):
            walk.distribution(own)
            walk.choose(chosen)
        return float(np.exp(walk.log_propensity))

    def _walk(self, knobs: Knobs) -> Walk:
        mix = Mix(knobs.lm_weight, knobs.temperature, 1.0 - knobs.lm_weight, self.beta)
        return Walk(self.grid, spread(self.values, head_scale(knobs.lm_weight)), mix)


def cases_of(items: Sequence[Replayed], critic: Valuer) -> list[Case]:
    """In order; the critic is asked once for each."""
    found = []
    for item in items:
        grid = ActionGrid.of(item.request)
        values = np.asarray(critic.values(item.request, grid), np.float64)
        found.append(Case(item, grid, grid.index(item.decision), values, critic.beta))
    return found


def divergence(ours: Sequence[SlotDistribution], theirs: Sequence[SlotDistribution]) -> float:
    """Sum over slots of KL(ours || theirs) given the same prefix, nats."""
    total = 0.0
    for own, other in zip(ours, theirs, strict=True):
        p, q = own.marginal, other.marginal
        here = p > 0.0
        total += float(np.sum(p[here] * (np.log(p[here]) - np.log(np.maximum(q[here], TINY)))))
    return total
