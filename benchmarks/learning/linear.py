"""LinTS and LinUCB on hand-made features: ridge regression of the reward, all actions scored.

References:
    Agrawal, Goyal (2013), Thompson sampling for contextual bandits with linear payoffs, ICML.
    Li et al. (2010), A contextual-bandit approach to personalized news article recommendation, WWW.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve, solve_triangular

from benchmarks.learning.arms import Knobs, chosen
from benchmarks.learning.features import Floats, Rows, rows_of
from benchmarks.learning.tuned import TUNED
from benchmarks.worlds.deliveries import Acted
from model.grid import ActionGrid
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest


class Ridge:
    """Shared by both: rewards of finals, what corrections change, solved anew every `every` rewards."""

    def __init__(self, name: str, seed: int, knobs: Knobs | None) -> None:
        """Begin with the prior."""
        self.knobs = {**TUNED[name], **(knobs or {})}
        size = int(self.knobs["dimensions"])
        self.rng = np.random.default_rng(seed)
        self.precision: Floats = float(self.knobs["ridge"]) * np.eye(size)
        self.moment: Floats = np.zeros(size)
        self.mean: Floats = np.zeros(size)
        self.lower: Floats = np.sqrt(self.precision)
        self._told: dict[str, float] = {}
        self._new = 0

    def rows(self, request: StrategyRequest, grid: ActionGrid) -> Rows:
        """Features of every action."""
        return rows_of(request, grid, len(self.moment), pairs=bool(self.knobs["pairs"]))

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """The best by the rule."""
        found = []
        for request, grid in zip(requests, grids, strict=True):
            scores = self.scores(self.rows(request, grid))
            found.append(chosen(grid, int(np.argmax(np.where(grid.allowed.ravel(), scores, -np.inf)))))
        return found

    def scores(self, rows: Rows) -> Floats:
        """(actions,): what the rule ranks by."""
        raise NotImplementedError

    def learn(self, reward: Reward) -> None:
        """A final once, and a correction's difference to it."""
        if reward.stage == "response":
            return
        before = self._told.get(reward.strategy_id)
        grid = ActionGrid.of(reward.request)
        flat = np.array([np.ravel_multi_index(grid.index(reward.decision), grid.shape)])
        row = np.asarray(self.rows(reward.request, grid).actions(flat).todense()).ravel()
        if before is None:
            here = np.flatnonzero(row)
            self.precision[np.ix_(here, here)] += np.outer(row[here], row[here])
            self._new += 1
        self.moment += row * (reward.reward - (before or 0.0))
        self._told[reward.strategy_id] = reward.reward

    def turn(self, number: int) -> None:
        """Solve when enough is new."""
        del number
        if self._new >= int(self.knobs["every"]):
            self._new = 0
            self.lower = np.linalg.cholesky(self.precision)  # type: ignore[assignment]  # numpy forgets the precision
            self.mean = cho_solve((self.lower, True), self.moment)
            self.solved()

    def solved(self) -> None:
        """What a rule prepares of a new solution."""


class LinTS(Ridge):
    """One posterior draw per decision."""

    def __init__(self, seed: int, knobs: Knobs | None = None) -> None:
        """`width` scales the draw, units of reward."""
        super().__init__("lints", seed, knobs)

    def scores(self, rows: Rows) -> Floats:
        """By the draw."""
        noise = solve_triangular(self.lower, self.rng.standard_normal(len(self.mean)), lower=True, trans="T")
        return rows.scores(self.mean + float(self.knobs["width"]) * noise)


class LinUCB(Ridge):
    """Mean plus `width` standard deviations."""

    def __init__(self, seed: int, knobs: Knobs | None = None) -> None:
        """`width` is alpha, units of reward."""
        super().__init__("linucb", seed, knobs)
        self._half: Floats = np.eye(len(self.mean)) / np.sqrt(float(self.knobs["ridge"]))

    def solved(self) -> None:
        """(size, size): times its transpose it is the inverse of the precision."""
        inverse = solve_triangular(self.lower, np.eye(len(self.mean)), lower=True)
        self._half = np.ascontiguousarray(inverse.T, np.float64)

    def scores(self, rows: Rows) -> Floats:
        """The upper bound; the variance of a sum of rows from the covariances of the rows."""
        halves = rows.matrix @ self._half
        covariance = halves @ halves.T
        variance = np.zeros(rows.members.shape[1])
        for place, one in enumerate(rows.members):
            variance += covariance[one, one]
            for other in rows.members[:place]:
                variance += 2.0 * covariance[one, other]
        spread: Floats = np.sqrt(np.maximum(variance, 0.0))
        return rows.scores(self.mean) + float(self.knobs["width"]) * spread
