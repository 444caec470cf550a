"""What the encoder begins with: latent semantic analysis of the shop's texts, so that untrained it already knows which are alike. Pure.

Reference: Deerwester et al. (1990), Indexing by latent semantic analysis, JASIS 41.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import svds

from model.representation.words import Bags

MOST_TEXTS = 50_000
"""That are analysed, drawn from the seed."""
UNSEEN = 0.1
"""Length of the random direction of a feature that no text had, beside the mean length of those seen."""

Floats = npt.NDArray[np.float32]


def tf_idf_rows(found: Bags, rarity: Floats) -> sparse.csr_matrix:
    """(texts, buckets) tf-idf, rows of length 1; each feature counts once in a text."""
    shape = (len(found.starts) - 1, len(rarity))
    table = sparse.csr_matrix((rarity[found.features].astype(np.float64), found.features, found.starts), shape)
    lengths = np.sqrt(np.asarray(table.multiply(table).sum(1))).ravel()
    return (sparse.diags(1.0 / np.maximum(lengths, 1e-12)) @ table).tocsr()


def directions(found: Bags, rarity: Floats, width: int, seed: int) -> Floats:
    """(buckets, width) a direction per feature: the main ones of the texts' tf-idf, weakest first; random where there are too few texts.

    Args:
        found: bags of the texts that may be learned from.
        rarity: (buckets,) how much a feature counts.
    """
    rng = np.random.default_rng((seed, 6))
    table = tf_idf_rows(found, rarity)
    if table.shape[0] > MOST_TEXTS:
        table = table[np.sort(rng.permutation(table.shape[0])[:MOST_TEXTS])]
    random = rng.normal(size=(len(rarity), width))
    count = min(width, min(table.shape) - 1)
    made = np.zeros((len(rarity), width))
    if count > 0:
        _, strengths, main = svds(table, k=count, v0=np.ones(min(table.shape)), solver="arpack")
        made[:, width - count :] = main.T * (strengths > 1e-9 * strengths.max())  # of rounding alone
    lengths = np.linalg.norm(made, axis=1)
    usual = float(lengths[lengths > 0].mean()) if (lengths > 0).any() else 1.0
    share = np.where(lengths > 0, 0.0, UNSEEN * usual) if count >= width else np.full(len(rarity), UNSEEN * usual)
    made += random * (share / np.sqrt(width))[:, None]
    return made.astype(np.float32)
