"""Empirical Bayes: precisions go where the weights that made the data came from, and stay put where there are no data."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from model.evidence import BOUNDS, Floats, Posterior, precisions
from model.newton import Problem, draws, mode

SIZES = (60, 40, 50)
"""Two regions that data speak of, one that they do not."""


def fitted(true_precision: tuple[float, float], begun: Floats, steps: int) -> Floats:
    """Precisions after some fits to labels of 4,000 rows, weights drawn with true precisions."""
    rng = np.random.default_rng(7)
    rows = np.zeros((4000, sum(SIZES)))
    rows[:, : SIZES[0] + SIZES[1]] = rng.standard_normal((4000, SIZES[0] + SIZES[1]))
    weights = np.concatenate([rng.standard_normal(SIZES[place]) / true_precision[place] ** 0.5 for place in (0, 1)])
    logits = rows[:, : len(weights)] @ weights
    labels = (rng.random(4000) < 1.0 / (1.0 + np.exp(-logits))).astype(np.float64)
    noise, row_noise = rng.standard_normal((sum(SIZES), 8)), rng.standard_normal((4000, 8))
    now, at, drawn = begun, np.zeros(sum(SIZES)), np.zeros((sum(SIZES), 8))
    matrix = csr_matrix(rows)
    seen = np.bincount(matrix.indices, minlength=sum(SIZES)) > 0
    for _ in range(steps):
        problem = Problem(matrix, labels, np.ones(4000), 0.0, np.repeat(now, SIZES))
        at = mode(problem, at)
        drawn = draws(problem, at, row_noise, noise, drawn)
        now = precisions(Posterior(at, drawn, noise, seen), now, begun, SIZES)
    return now


@pytest.mark.parametrize("begun", [np.array([30.0, 30.0, 30.0]), np.array([3.0, 90.0, 7.0])])
def test_a_region_of_large_effects_and_one_of_small_ones_are_told_apart(begun: Floats) -> None:
    """Wherever one begins: 2 and 50 are found within a factor of two; a region without data keeps its belief."""
    found = fitted((2.0, 50.0), begun, 12)
    assert 1.0 < found[0] < 4.0
    assert 25.0 < found[1] < 100.0
    assert found[2] == pytest.approx(begun[2])


def test_precisions_stay_within_bounds_of_belief() -> None:
    """Effects of nothing at all, and huge ones."""
    begun = np.array([40.0, 1.0, 1.0])
    found = fitted((0.05, 1e6), begun, 12)
    assert found[0] == pytest.approx(BOUNDS[0] * 40.0)
    assert found[1] <= BOUNDS[1] * 1.0
