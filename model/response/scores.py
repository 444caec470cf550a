"""How good predicted probabilities are, with intervals by whole customers (bootstrap), and paired differences. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES = 400
LEVEL = (2.5, 97.5)
TINY = 1e-6


class Estimate(msgspec.Struct, frozen=True):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def auc(p: Floats, y: Floats) -> float:
    """Area under the ROC curve: the chance that an answered one is ranked above another, ties counted half."""
    from scipy.stats import rankdata

    hits = float(y.sum())
    ranks = rankdata(p)
    return float((ranks[y == 1].sum() - hits * (hits + 1) / 2) / max(hits * (len(y) - hits), 1))


def pr_auc(p: Floats, y: Floats) -> float:
    """Average precision: precision at each threshold, weighted by the recall it adds."""
    order = np.argsort(-p, kind="stable")
    p, y = p[order], y[order]
    ends = np.r_[np.flatnonzero(np.diff(p)), len(p) - 1]
    hits = np.cumsum(y)[ends]
    precision, recall = hits / (ends + 1), hits / max(hits[-1], 1)
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def brier(p: Floats, y: Floats) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((p - y) ** 2))


def log_loss(p: Floats, y: Floats) -> float:
    """Mean negative log-likelihood, nats."""
    p = np.clip(p, TINY, 1 - TINY)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def calibration_slope(p: Floats, y: Floats) -> float:
    """Slope of the logistic regression of the answer on the predicted log-odds: 1 is calibrated, below 1 overconfident.

    Cox, "Two further applications of a model for binary regression", Biometrika 1958.
    """
    p = np.clip(p, TINY, 1 - TINY)
    x = np.stack((np.ones_like(p), np.log(p / (1 - p))))
    weights = np.array([0.0, 1.0])
    for _ in range(30):
        fitted = 1 / (1 + np.exp(-np.clip(weights @ x, -30, 30)))
        curve = (x * (fitted * (1 - fitted))) @ x.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(curve, x @ (y - fitted))
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:  # noqa: PLR2004
            break
    return float(weights[1])


SCORES: dict[str, Callable[[Floats, Floats], float]] = {
    "auc": auc,
    "pr_auc": pr_auc,
    "brier": brier,
    "log_loss": log_loss,
    "calibration_slope": calibration_slope,
}


def scored(
    predictions: dict[str, Floats], y: Floats, customers: npt.NDArray[Any], against: str, seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """Every score of every model, and every score's difference to the model `against`, on the same resamples.

    Args:
        predictions: model → (n,) probabilities.
        y: (n,) 0 or 1.
        customers: (n,) who each row is of; whole customers are drawn.
    """
    rows = [np.flatnonzero(customers == one) for one in np.unique(customers)]
    rng = np.random.default_rng((seed, 17))
    draws: dict[str, dict[str, list[float]]] = {name: {score: [] for score in SCORES} for name in predictions}
    for _ in range(RESAMPLES):
        chosen = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        if not 0 < y[chosen].sum() < len(chosen):
            continue
        for name, p in predictions.items():
            for score, of in SCORES.items():
                draws[name][score].append(of(p[chosen], y[chosen]))
    whole = {name: {score: of(p, y) for score, of in SCORES.items()} for name, p in predictions.items()}
    absolute = {
        name: {score: _estimate(whole[name][score], np.array(draws[name][score])) for score in SCORES}
        for name in predictions
    }
    beside = {
        name: {
            score: _estimate(
                whole[name][score] - whole[against][score],
                np.array(draws[name][score]) - np.array(draws[against][score]),
            )
            for score in SCORES
        }
        for name in predictions
        if name != against
    }
    return absolute, beside


def _estimate(value: float, drawn: Floats) -> Estimate:
    low, high = np.percentile(drawn, LEVEL) if len(drawn) else (float("nan"), float("nan"))
    return Estimate(value, float(low), float(high))
