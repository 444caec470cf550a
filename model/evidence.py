"""How strong a shop's effects are, learned from the shop: empirical Bayes for the prior precision of each region of weights. Pure.

A prior that suits a shop of many small effects learns the few large ones of another too slowly, and the other way round; so the
precision of a region moves to where the evidence for what has been seen is highest, MacKay's fixed point

    precision = gamma / sum of squared weights,    gamma = sum over weights of (1 - precision * posterior variance),

gamma being how many weights the data determine. Posterior variances come from the draws that exploration uses. A draw's own
prior noise is the control variate: where there are no data a draw is noise / sqrt(precision), and nothing is added to gamma.

References:
    MacKay (1992), Bayesian interpolation, Neural Computation 4(3), equation 3.16 on.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BELIEF = 10.0
"""Weights' worth of belief in the precision that was begun with."""
BOUNDS = (1 / 30, 10.0)
"""How far a precision may go, times the one it began with."""


class Posterior(NamedTuple):
    """What a fit knows of its weights.

    Args:
        mean: (d,); draws: (d, k) around it; noise: (d, k) standard normal, the draws' prior part.
        seen: (d,) bool: the weights that data speak of.
    """

    mean: Floats
    draws: Floats
    noise: Floats
    seen: npt.NDArray[np.bool_]


def precisions(posterior: Posterior, now: Floats, begun: Floats, sizes: tuple[int, ...]) -> Floats:
    """One step towards the precisions that the evidence asks for.

    Args:
        now, begun: (regions,), of this fit, and before any data.
        sizes: weights per region, in order; their sum is d.

    Returns:
        (regions,), for the next fit.
    """
    found = now.copy()
    start = 0
    for region, size in enumerate(sizes):
        part = start + np.flatnonzero(posterior.seen[start : start + size])
        start += size
        spread = now[region] * posterior.draws[part] ** 2
        determined = max(float((posterior.noise[part] ** 2 - spread).mean(1).sum()), 0.0)
        squared = float((posterior.mean[part] ** 2).sum())
        wanted = (determined + BELIEF) / (squared + BELIEF / begun[region])
        found[region] = np.clip(wanted, BOUNDS[0] * begun[region], BOUNDS[1] * begun[region])
    return found
