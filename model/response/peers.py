"""The simpler models beside the encoder, on the same folds: the customer's prior rate, logistic regression, gradient boosting."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.response.scores import log_loss

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
STRENGTHS = (0.001, 0.003, 0.01, 0.1, 1.0)
ROUNDS = (25, 50, 100, 150, 250)
TINY = 1e-6
"""No answer is surer than this."""
NAMES = ("logistic_regression", "gradient_boosting")

Predict = Callable[[Floats], Floats]


def _logistic(strength: float, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2_000, random_state=seed))


def _boosting(rounds: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=0.03, max_iter=rounds, max_leaf_nodes=6, min_samples_leaf=40, l2_regularization=10.0,
        early_stopping=False, random_state=seed,
    )  # fmt: skip


CHOICES: dict[str, tuple[Callable[[Any, int], Any], Sequence[float]]] = {
    "logistic_regression": (_logistic, STRENGTHS),
    "gradient_boosting": (_boosting, ROUNDS),
}


def fitted(name: str, numbers: Floats, answers: Floats, parts: tuple[Rows, Rows], seed: int) -> tuple[Predict, Any]:
    """A peer, its strength chosen on the validation rows, then fitted on all that was known.

    Args:
        parts: rows to fit, rows to choose by; those without an answer (NaN) are passed over.

    Returns:
        Numbers → log-odds, and the model.
    """
    make, choices = CHOICES[name]
    fit, valid = (rows[~np.isnan(answers[rows])] for rows in parts)
    both = np.concatenate((fit, valid))
    if len(np.unique(answers[fit])) < 2:  # noqa: PLR2004 -- answered and not
        fit = both
    losses = [
        log_loss(make(choice, seed).fit(numbers[fit], answers[fit]).predict_proba(numbers[valid])[:, 1], answers[valid])
        for choice in choices
    ]
    model = make(choices[int(np.argmin(losses))], seed).fit(numbers[both], answers[both])

    def predict(rows: Floats) -> Floats:
        p = np.clip(model.predict_proba(rows)[:, 1], TINY, 1 - TINY)
        odds: Floats = np.log(p / (1 - p))
        return odds

    return predict, model
