"""InfoNCE between products of one basket, the other baskets' products being what it is not. Pure.

Negatives that come with the batch are as popular as products are bought: uncorrected, scores learn by how much more often than by chance
two products meet, and popularity is pushed out of them; corrected by log q, they learn how often, popularity included.

References:
    van den Oord, Li, Vinyals (2018), Representation learning with contrastive predictive coding, arXiv 1807.03748.
    Yi et al. (2019), Sampling-bias-corrected neural modeling for large corpus item recommendations, RecSys (log q).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.representation.baskets import Baskets

Ints = npt.NDArray[np.int64]
NEVER = -1e9


class Drawn(NamedTuple):
    """A batch: of each basket a product, one bought beside it, and (N, N) which columns are no negatives of a row."""

    anchors: Ints
    others: Ints
    known: npt.NDArray[np.bool_]


def drawn(baskets: Baskets, chosen: Ints, alike: Ints, rng: np.random.Generator) -> Drawn:
    """Two different products of each basket.

    Args:
        chosen: baskets of at least two products.
        alike: (products,) a number that products of the same text share: they are never each other's negatives.
    """
    sizes = baskets.starts[chosen + 1] - baskets.starts[chosen]
    first = rng.integers(sizes)
    second = (first + rng.integers(1, sizes)) % sizes
    anchors, others = (baskets.items[baskets.starts[chosen] + at] for at in (first, second))
    rows = np.repeat(np.arange(len(chosen)), sizes)
    held = alike[np.concatenate([baskets.of(basket) for basket in chosen.tolist()])]
    _, column, place = np.unique(alike[others], return_index=True, return_inverse=True)
    at = np.searchsorted(alike[others][column], held)
    met = (at < len(column)) & (alike[others][column][np.minimum(at, len(column) - 1)] == held)
    of_text = np.zeros((len(chosen), len(column)), np.bool_)
    of_text[rows[met], at[met]] = True
    known = of_text[:, place]
    np.fill_diagonal(known, val=False)
    return Drawn(anchors, others, known)


def info_nce(beside: Tensor, own: Tensor, sharpness: Tensor, log_q: Tensor, known: Tensor) -> Tensor:
    """Mean cross-entropy of finding the product that was bought, nats.

    Args:
        beside: (N, D) what goes beside each anchor.
        own: (N, D) the products bought beside them, row by row; the others' are the negatives.
        log_q: (N,) log of the chance that a batch's draw is this product, times how much of it is to be corrected.
        known: (N, N) columns that are no negatives of a row.
    """
    logits = sharpness * beside @ own.T - log_q[None, :]
    return nn.functional.cross_entropy(
        logits.masked_fill(known, NEVER), torch.arange(len(logits), device=logits.device)
    )
