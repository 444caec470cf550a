"""Few landmarks among products, so that what is learned of some counts for those near them: sparse, and small on the wire. Pure.

Reference: Lloyd (1982), Least squares quantization in PCM (k-means).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

LANDMARKS, NEAREST = 32, 2
"""Landmarks of a shop; those that a product is told by."""
MOST_TEXTS = 20_000
SHARPNESS = 10.0
"""Of the shares: a landmark nearer by .1 of the cosine counts e times as much."""
Floats = npt.NDArray[np.float32]


def landmarks(own: Floats, seed: int) -> Floats:
    """(LANDMARKS, width) directions that the texts gather around, of length 1; fewer texts than that leave zeros.

    Args:
        own: (texts, width) rows of length 1.
    """
    rng = np.random.default_rng((seed, 8))
    rows = own[np.sort(rng.permutation(len(own))[:MOST_TEXTS])].astype(np.float64)
    found = np.zeros((LANDMARKS, own.shape[1]), np.float32)
    count = min(LANDMARKS, len(np.unique(rows, axis=0)))
    if count:
        centres, _ = kmeans2(rows, count, minit="++", seed=rng, missing="warn")
        lengths = np.linalg.norm(centres, axis=1, keepdims=True)
        found[:count] = centres / np.maximum(lengths, 1e-12)
    return found


def kin(own: Floats, marks: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """(N, NEAREST) the nearest landmarks, the nearest first, and their shares, which sum to 1; of zeros the shares are 0."""
    near = own @ marks.T
    near[:, ~marks.any(axis=1)] = -1.0
    order = np.argsort(-near, axis=1, kind="stable")[:, :NEAREST]
    weight = np.exp(SHARPNESS * (np.take_along_axis(near, order, axis=1) - near.max(1, keepdims=True)))
    told = own.any(axis=1, keepdims=True)
    return order, weight / weight.sum(1, keepdims=True) * told
