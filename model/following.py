"""How well a language model follows its critic: what its own choices are worth to the critic, slot by slot. Pure.

A slot's value is worth what the critic's mean expects of the best action that begins with it. Along a logged decision, the gain of a
distribution is what it expects beyond choosing uniformly; the model's gain over the critic's own says how much of its critic it carries.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.decode import Mix, Walk
from model.grid import ActionGrid

Floats = npt.NDArray[np.float64]

AVERAGED = 8
"""Candidates whose following is averaged: that of one, on some 80 decisions, is off by .04."""


def gains(
    values: Floats, grid: ActionGrid, decision: dict[str, str], lm: Sequence[Floats], knobs: tuple[float, float]
) -> tuple[float, float]:
    """Units of reward, summed over the slots of a logged decision.

    Args:
        values: (1 + heads, *grid.shape), the critic's mean and its heads, units of reward.
        lm: per slot (values,) log-probabilities of the model alone along the decision, at temperature 1.
        knobs: the temperature the model is served at; the critic's beta.

    Returns:
        The model's gain and that of the critic as it serves, heads and all.
    """
    temperature, beta = knobs
    walk = Walk(grid, np.asarray(values[1:], np.float64), Mix(0.0, temperature, 1.0, beta))
    best = np.where(grid.allowed, np.asarray(values[0], np.float64), -np.inf)
    own = critics = 0.0
    for slot, chosen in enumerate(grid.index(decision)):
        worth = best.reshape(len(best), -1).max(1)
        possible = np.isfinite(worth)
        worth = worth[possible] - worth[possible].mean()
        sharp = lm[slot][possible] / temperature
        chances = np.exp(sharp - sharp.max())
        own += float(chances @ worth / chances.sum())
        critics += float(walk.distribution(None).marginal[possible] @ worth)
        walk.choose(chosen)
        best = best[chosen]
    return own, critics


class Share:
    """The language model's share of fused decisions, earned by how well the last candidates of its line followed their critic."""

    def __init__(self, whole: float, since: float) -> None:
        """Nothing is known yet.

        Args:
            whole: the share of a model that gains what its critic gains, in [0, 1].
            since: part of the critic's gain up to which it has none; below 1.
        """
        self._whole, self._since = whole, since
        self._seen: deque[float] = deque(maxlen=AVERAGED)

    def saw(self, following: float) -> None:
        """One more candidate's part of its critic's gain."""
        self._seen.append(following)

    def now(self, before: float) -> float:
        """What is earned; `before`, what another life may have earned, until a candidate was measured in this one."""
        if not self._seen:
            return before
        earned = (float(np.mean(self._seen)) - self._since) / (1.0 - self._since)
        return self._whole * min(1.0, max(0.0, earned))
