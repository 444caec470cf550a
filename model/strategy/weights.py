"""What an outcome is worth as a weight on the likelihood of the decision that brought it. Pure.

    w = min(exp(A / (beta s)), most) * min(even / propensity, importance)

A is the reward less what the customer's request brings on average, s the spread of A among what is learned from, per kind; `even` is the
probability of the decision if every allowed one were alike. Without the second factor the base learns what was done where it went well;
with it, what would go well had everything been tried alike. A weight is then divided by the mean weight of what is learned from.

References:
    Peng, Kumar, Zhang, Levine (2019), Advantage-weighted regression, arXiv 1910.00177: the first factor, and its bound.
    Ionides (2008), Truncated importance sampling, Journal of Computational and Graphical Statistics 17(2): the second one's bound.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from model.evaluation.estimates import Floats
from model.grid import ActionGrid
from streaming.contracts.rewards import Reward

MOST_EXPONENT = 80.0


class Weighing(Struct, frozen=True):
    """How outcomes become weights; what it has of a log it has of the part that is learned from.

    Args:
        beta: spreads of the advantage by which a weight grows e-fold.
        most: largest weight of an outcome.
        importance: largest weight of a propensity; 0: propensities do not count.
        spreads: kind → standard deviation of the advantage, units of reward.
        mean: weight before the last division.
    """

    beta: float
    most: float
    importance: float
    spreads: dict[str, float] = {}
    mean: float = 1.0

    def fitted(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> "Weighing":
        """With what it needs of the part that is learned from."""
        kinds = np.array([reward.kind for reward in rewards])
        gained = advantages(rewards, values)
        spreads = {str(kind): float(gained[kinds == kind].std()) for kind in np.unique(kinds)}
        fitted = Weighing(self.beta, self.most, self.importance, spreads)
        return Weighing(self.beta, self.most, self.importance, spreads, float(fitted.weights(rewards, values).mean()))

    def weights(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Floats:
        """(n,) weights; of a kind that was not learned from, or whose outcomes were all alike, the outcome counts as 1.

        Args:
            rewards: closed strategies.
            values: a model's reward of every action of each request, from a fit that has not seen the reward.
        """
        spread = np.array([self.spreads.get(reward.kind, 0.0) for reward in rewards])
        gained = np.where(spread > 0.0, advantages(rewards, values) / np.where(spread > 0.0, spread, 1.0), 0.0)
        found = np.minimum(np.exp(np.minimum(gained / self.beta, MOST_EXPONENT)), self.most)
        if self.importance > 0.0:
            found = found * np.minimum(
                _even(rewards) / [reward.propensity or 1.0 for reward in rewards], self.importance
            )
        return np.asarray(found / self.mean, np.float64)


def advantages(rewards: Sequence[Reward], values: Sequence[Floats]) -> Floats:
    """(n,) reward less the mean of the model's reward over what was allowed, units of reward."""
    usual = [float(q[ActionGrid.of(r.request).allowed].mean()) for r, q in zip(rewards, values, strict=True)]
    return np.array([reward.reward for reward in rewards], np.float64) - np.array(usual, np.float64)


def _even(rewards: Sequence[Reward]) -> Floats:
    return np.array([1.0 / ActionGrid.of(reward.request).count for reward in rewards])
