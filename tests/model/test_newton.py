"""Modes and draws against dense linear algebra, on rows like a critic's: few weights that all rows share, thousands that few rows have."""

import numpy as np
from scipy.sparse import csr_matrix, hstack, random_array

from model.evidence import Floats
from model.newton import DRAW, Effort, Problem, _expand, _solve, draws, mode

ROWS, SHARED, RARE, HEADS = 600, 40, 1500, 8
PRECISION = np.repeat([4.0, 40.0], [SHARED, RARE])
"""Rare weights are strongly held to zero: data determine few of them."""


def problem_of(rng: np.random.Generator) -> Problem:
    """Rare positives, as clicks are."""
    shared = csr_matrix(rng.standard_normal((ROWS, SHARED)) * (rng.random((ROWS, SHARED)) < 0.5))
    rare = random_array((ROWS, RARE), density=0.02, format="csr", rng=rng)
    rows = csr_matrix(hstack([shared, rare]))
    truth = rng.standard_normal(SHARED + RARE) / np.sqrt(PRECISION)
    labels = (rng.random(ROWS) < 1.0 / (1.0 + np.exp(2.0 - rows @ truth))).astype(np.float64)
    return Problem(rows, labels, np.ones(ROWS), -2.0, PRECISION)


def determined(drawn: Floats, noise: Floats) -> Floats:
    """(2,): how many shared and rare weights the data determine, as `model/evidence.py` counts them."""
    gamma = (noise**2 - PRECISION[:, None] * drawn**2).mean(1)
    return np.array([gamma[:SHARED].sum(), gamma[SHARED:].sum()])


def test_a_mode_is_where_the_gradient_vanishes() -> None:
    """In posterior standard deviations, everywhere."""
    problem = problem_of(np.random.default_rng(1))
    _, slope, _, diagonal = _expand(problem, mode(problem, np.zeros(SHARED + RARE)))
    assert np.max(np.abs(slope) / np.sqrt(diagonal)) < 0.1


def test_draws_are_those_of_exact_arithmetic() -> None:
    """The same noise through a dense solution; and as many determined weights, which a draw in a hurry overstates."""
    rng = np.random.default_rng(2)
    problem = problem_of(rng)
    at = mode(problem, np.zeros(SHARED + RARE))
    row_noise, weight_noise = rng.standard_normal((ROWS, HEADS)), rng.standard_normal((SHARED + RARE, HEADS))
    start = weight_noise / np.sqrt(2.0 * PRECISION)[:, None]  # the last fit's, whose prior was another
    drawn = draws(problem, at, row_noise, weight_noise, start)

    _, _, curvature, diagonal = _expand(problem, at)
    dense = problem.rows.toarray()
    hessian = dense.T @ (curvature[:, None] * dense) + np.diag(PRECISION)
    wanted = dense.T @ (np.sqrt(curvature)[:, None] * row_noise) + np.sqrt(PRECISION)[:, None] * weight_noise
    exact = np.linalg.solve(hessian, wanted)
    assert np.linalg.norm(drawn - exact) < 0.01 * np.linalg.norm(exact)

    found = determined(exact, weight_noise)
    np.testing.assert_allclose(determined(drawn, weight_noise), found, rtol=0.1)
    hurried = _solve(problem, curvature, diagonal, wanted, start, Effort(DRAW.steps, 0.05))
    assert abs(determined(hurried, weight_noise)[1] - found[1]) > 0.2 * found[1]
