"""Penalised logistic regression on sparse rows: the posterior's mode, and exact draws from its Laplace approximation. Pure.

The mode by Newton's method with conjugate gradients; draws by perturbation: the solution of H d = X' sqrt(D) e1 + sqrt(P) e2 with
standard normal e1, e2 is distributed as N(0, H^-1), so that no Hessian is formed or factorised. With e1 and e2 fixed
per row and weight, a draw moves smoothly as data come in.

References:
    Nocedal, Wright (2006), Numerical Optimization, algorithm 7.1.
    Papandreou, Yuille (2010), Gaussian sampling by local perturbations, NeurIPS.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEWTON_STEPS = 6
GRADIENT_TOLERANCE = 1e-3
"""Stop when the gradient, in posterior standard deviations by the Hessian's diagonal, is below this everywhere."""
LAST_GAIN_NATS = 0.05
"""Stop after a step that promised no more than this: conjugate gradients leave a four hundredth of it."""
_HALVINGS = 8


class Effort(NamedTuple):
    """When conjugate gradients stop: after so many steps, or at this residual over the right-hand side."""

    steps: int
    tolerance: float


MODE = Effort(30, 0.05)
"""Of a Newton direction: the next one mends what is left."""
DRAW = Effort(60, 0.003)
"""Of a draw. `model/evidence.py` looks at the difference between a draw and its prior noise, over thousands of weights of which data hardly
speak: at .05 it finds up to five times as many determined weights there as there are.
"""


@dataclass(frozen=True)
class Problem:
    """One weighted logistic regression.

    Args:
        rows: scipy CSR (n, d).
        labels: (n,), in [0, 1].
        weights: (n,), how much a row counts.
        offset: fixed part of every logit.
        precision: (d,), prior precision of each coefficient around zero.
    """

    rows: Any
    labels: Floats
    weights: Floats
    offset: float
    precision: Floats

    @cached_property
    def squares(self) -> Any:
        """The rows' squares, which every expansion needs."""
        return self.rows.multiply(self.rows).tocsr()


def mode(problem: Problem, start: Floats) -> Floats:
    """Coefficients of the highest posterior density, (d,), from a warm start."""
    at = start.copy()
    value, slope, curvature, diagonal = _expand(problem, at)
    for _ in range(NEWTON_STEPS):
        if np.max(np.abs(slope) / np.sqrt(diagonal), initial=0.0) < GRADIENT_TOLERANCE:
            break
        step = _solve(problem, curvature, diagonal, -slope[:, None], np.zeros((len(at), 1)), MODE)[:, 0]
        scale = 1.0
        for _ in range(_HALVINGS):
            if _loss(problem, at + scale * step) <= value:
                break
            scale /= 2.0
        else:
            break
        at = at + scale * step
        if scale == 1.0 and -slope @ step <= 2.0 * LAST_GAIN_NATS:
            break
        value, slope, curvature, diagonal = _expand(problem, at)
    return at


def draws(problem: Problem, at: Floats, row_noise: Floats, weight_noise: Floats, start: Floats) -> Floats:
    """Draws of N(0, H^-1) around the mode.

    Args:
        row_noise: (n, k) standard normal, one row per row of data; `weight_noise`: (d, k) likewise per coefficient.
        start: (d, k), the last draws: a warm start.

    Returns:
        (d, k), to be added to the mode.
    """
    _, _, curvature, diagonal = _expand(problem, at)
    wanted = problem.rows.T @ (np.sqrt(curvature)[:, None] * row_noise)
    wanted = wanted + np.sqrt(problem.precision)[:, None] * weight_noise
    return _solve(problem, curvature, diagonal, wanted, start, DRAW)


def log_loss(logits: Floats, labels: Floats) -> Floats:
    """Negative log likelihood of each label, nats."""
    result: Floats = np.logaddexp(0.0, logits) - labels * logits
    return result


def _loss(problem: Problem, at: Floats) -> float:
    logits = problem.rows @ at + problem.offset
    return float(problem.weights @ log_loss(logits, problem.labels) + 0.5 * problem.precision @ (at * at))


def _expand(problem: Problem, at: Floats) -> tuple[float, Floats, Floats, Floats]:
    """Loss, gradient (d,), curvature per row (n,) and the Hessian's diagonal (d,)."""
    logits = problem.rows @ at + problem.offset
    chance = 1.0 / (1.0 + np.exp(-np.clip(logits, -40.0, 40.0)))
    slope = problem.rows.T @ (problem.weights * (chance - problem.labels)) + problem.precision * at
    curvature = problem.weights * chance * (1.0 - chance)
    diagonal = problem.squares.T @ curvature + problem.precision
    value = float(problem.weights @ log_loss(logits, problem.labels) + 0.5 * problem.precision @ (at * at))
    return value, slope, curvature, diagonal


def _solve(
    problem: Problem, curvature: Floats, diagonal: Floats, wanted: Floats, start: Floats, effort: Effort
) -> Floats:
    """Conjugate gradients for H x = wanted, (d, k) columns at once, preconditioned by H's diagonal."""

    def times(x: Floats) -> Floats:
        result: Floats = problem.rows.T @ (curvature[:, None] * (problem.rows @ x)) + problem.precision[:, None] * x
        return result

    x = start.copy()
    residual = wanted - times(x)
    goal = effort.tolerance**2 * np.sum(wanted * wanted / diagonal[:, None], axis=0)
    scaled = residual / diagonal[:, None]
    direction = scaled
    energy = np.sum(residual * scaled, axis=0)
    for _ in range(effort.steps):
        if np.all(energy <= goal):
            break
        image = times(direction)
        length = energy / np.maximum(np.sum(direction * image, axis=0), 1e-300)
        x = x + length * direction
        residual = residual - length * image
        scaled = residual / diagonal[:, None]
        before, energy = energy, np.sum(residual * scaled, axis=0)
        direction = scaled + (energy / np.maximum(before, 1e-300)) * direction
    return x
