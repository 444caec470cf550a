"""The scores are those of scikit-learn; a paired difference of a model to itself is nothing."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from model.response.encoder import temperature
from model.response.scores import SCORES, scored


def test_scores_are_scikit_learns() -> None:
    """On predictions with ties, each score is the reference's."""
    rng = np.random.default_rng(3)
    p = np.round(rng.uniform(0.02, 0.98, 500), 2)
    y = (rng.random(500) < p**1.5).astype(float)
    assert SCORES["auc"](p, y) == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert SCORES["pr_auc"](p, y) == pytest.approx(average_precision_score(y, p), abs=1e-12)
    assert SCORES["brier"](p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert SCORES["log_loss"](p, y) == pytest.approx(log_loss(y, p), abs=1e-12)
    odds = np.log(p / (1 - p))[:, None]
    slope = LogisticRegression(C=1e10, tol=1e-10, max_iter=1_000).fit(odds, y).coef_[0, 0]
    assert SCORES["calibration_slope"](p, y) == pytest.approx(slope, abs=1e-4)


def test_a_better_model_is_told_from_a_worse_one_and_from_itself() -> None:
    """The interval of a difference lies above 0 for the model that knows, and is 0 for the same predictions."""
    rng = np.random.default_rng(4)
    known = rng.uniform(0.05, 0.95, 600)
    y = (rng.random(600) < known).astype(float)
    models = {"blind": np.full(600, 0.5), "knows": known, "twin": np.full(600, 0.5)}
    _, beside = scored(models, y, np.arange(600) // 3, "blind", 0)
    assert beside["knows"]["auc"].low > 0
    assert (beside["twin"]["auc"].low, beside["twin"]["auc"].high) == (0, 0)


def test_temperature_finds_the_factor() -> None:
    """Log-odds that are twice as sure as they may be are halved."""
    rng = np.random.default_rng(5)
    odds = rng.normal(0, 1.5, 20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(float)
    assert temperature(2 * odds, y) == pytest.approx(2.0, rel=0.08)
