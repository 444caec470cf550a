"""Epsilon-greedy on models of the outcomes that our critic sees too (seen, click given seen, order given click), money by arithmetic.

The models are scikit-learn's: logistic regressions on the hand-made features, or gradient-boosted trees on dense ones.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, vstack
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from benchmarks.learning.arms import Knobs, chosen
from benchmarks.learning.dense import dense_of
from benchmarks.learning.features import Floats, rows_of
from benchmarks.learning.tuned import TUNED
from benchmarks.worlds.deliveries import Acted
from model.grid import ActionGrid
from model.memory import STAGE_RANK, labels_of, merged
from streaming.contracts.money import to_major
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula, summed

MODELS = ("shown", "clicked", "ordered")
"""The first three of our critic's outcomes; refunds and unsubscriptions by their share alone."""
PRIOR = (0.6, 0.12, 0.3)
LEAST = 25
"""Examples of the rarer class, or so: fewer make no model."""


class Epsilon:
    """Greedy but for a share of uniform choices."""

    def __init__(self, seed: int, formula: Formula, knobs: Knobs | None = None) -> None:
        """Begin without models: uniform choices."""
        self.knobs = {**TUNED["epsilon"], **(knobs or {})}
        self._formula, self._rng = formula, np.random.default_rng(seed)
        self._rows: dict[str, Any] = {}
        self._labels: dict[str, tuple[tuple[float, ...], int]] = {}
        self._models: list[Any] = [None] * len(MODELS)
        self._units, self._refunds = 1.0, 0.05
        self._margins: dict[str, tuple[float, float]] = {}
        self._new = 0

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """The best by the models, or any."""
        found = []
        for request, grid in zip(requests, grids, strict=True):
            allowed = np.flatnonzero(grid.allowed)
            if self._models[1] is None or self._rng.random() < float(self.knobs["epsilon"]):
                found.append(chosen(grid, int(self._rng.choice(allowed))))
                continue
            value = self._values(request, grid).ravel()
            found.append(chosen(grid, int(np.argmax(np.where(grid.allowed.ravel(), value, -np.inf)))))
        return found

    def _values(self, request: StrategyRequest, grid: ActionGrid) -> Floats:
        features = self._features(request, grid, np.arange(grid.allowed.size))
        seen, click, order = (self._chance(place, features).reshape(grid.shape) for place in range(len(MODELS)))
        clicked, ordered = seen * click, seen * click * order
        margin = ordered * self._formula.margin_grid(request) * self._units
        parts = self._formula.components(
            clicked=clicked,
            ordered=ordered,
            margin=margin,
            refunded_margin=self._refunds * np.maximum(margin, 0.0),
            unsubscribed=0.0,
            complained=0.0,
            cost=self._formula.expected_cost_grid(request, seen),
            offer=self._formula.offer_grid(request),
        )
        return np.asarray(summed(parts))

    def _chance(self, place: int, features: Any) -> Floats:
        model = self._models[place]
        if model is None:
            return np.full(features.shape[0], PRIOR[place])
        if self.knobs["model"] == "logistic":
            logits = features @ model.coef_[0] + model.intercept_[0]
            return np.asarray(1.0 / (1.0 + np.exp(-logits)))
        return np.asarray(model.predict_proba(features)[:, 1])

    def _features(self, request: StrategyRequest, grid: ActionGrid, flat: "np.ndarray[Any, Any]") -> Any:
        if self.knobs["model"] == "logistic":
            rows = rows_of(request, grid, int(self.knobs["dimensions"]), pairs=bool(self.knobs["pairs"]))
            return rows.actions(flat)
        return dense_of(request, grid, flat)

    def learn(self, reward: Reward) -> None:
        """The labels of every stage, as our critic merges them."""
        new, rank = labels_of(reward.outcomes, reward.stage), STAGE_RANK[reward.stage]
        known = self._labels.get(reward.strategy_id)
        if known is not None:
            self._labels[reward.strategy_id] = (merged(known[0], known[1], new, rank), max(known[1], rank))
        else:
            grid = ActionGrid.of(reward.request)
            flat = np.array([np.ravel_multi_index(grid.index(reward.decision), grid.shape)])
            self._rows[reward.strategy_id] = self._features(reward.request, grid, flat)
            self._labels[reward.strategy_id] = (new, rank)
            self._new += 1
        if reward.outcomes.ordered:
            unit = self._formula.margin_major(
                next(c for c in reward.request.candidates if c.id in reward.decision.values()), reward.decision, "USD"
            )
            self._margins[reward.strategy_id] = (unit, to_major(reward.outcomes.margin_minor, "USD"))
        for old in list(self._rows)[: -int(self.knobs["window"])]:
            del self._rows[old], self._labels[old]
            self._margins.pop(old, None)

    def turn(self, number: int) -> None:
        """Fit anew when enough is new."""
        del number
        if self._new < min(int(self.knobs["every"]), max(20, len(self._rows) // 5)):
            return
        self._new = 0
        rows = list(self._rows.values())
        data = vstack(rows, format="csr") if self.knobs["model"] == "logistic" else np.concatenate(rows)
        labels = np.array([found for found, _ in self._labels.values()])
        for place in range(len(MODELS)):
            known = ~np.isnan(labels[:, place])
            target = labels[known, place]
            if min(target.sum(), (1 - target).sum()) * 2 >= LEAST:
                self._models[place] = self._fitted(data[known], target)
        refunds = labels[:, 3][~np.isnan(labels[:, 3])]
        self._refunds = float((0.05 * 20 + refunds.sum()) / (20 + len(refunds)))
        units, paid = (sum(pair[side] for pair in self._margins.values()) for side in (0, 1))
        self._units = (paid + 10.0) / (units + 10.0) if units > 0 and not math.isnan(paid) else 1.0

    def _fitted(self, data: "csr_matrix | Floats", target: Floats) -> Any:
        if self.knobs["model"] == "logistic":
            model = LogisticRegression(C=float(self.knobs["c"]), solver="lbfgs", max_iter=60)
        else:
            model = HistGradientBoostingClassifier(
                max_iter=int(self.knobs["trees"]), learning_rate=float(self.knobs["rate"]), min_samples_leaf=20
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # sixty steps are meant: the next fit is soon
            return model.fit(data, target)
