"""EASE: goods from goods by one ridge regression in closed form, its diagonal zero.

Reference: Steck (2019), Embarrassingly shallow autoencoders for sparse data, WWW, algorithm 1.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import linalg, sparse


def ease(known: sparse.csr_matrix, asked: sparse.csr_matrix, ridge: float, most: int) -> npt.NDArray[np.floating[Any]]:
    """(customers who are asked for, goods) scores by what else was bought.

    Args:
        known: (customers, goods) counts that are learned from.
        asked: (customers, goods) counts of those who are asked for.
        ridge: the penalty, in customers.
        most: goods that are looked at, the most popular; the others' scores are 0.
    """
    totals = np.asarray((known > 0).sum(0)).ravel()
    chosen = np.sort(np.argsort(-totals, kind="stable")[:most])
    table = np.sqrt(known[:, chosen].toarray())
    gram = table.T @ table
    gram[np.diag_indices_from(gram)] += ridge
    inverse = linalg.inv(gram, overwrite_a=True)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    scores = np.zeros(asked.shape)
    scores[:, chosen] = np.sqrt(asked[:, chosen].toarray()) @ weights
    return scores
