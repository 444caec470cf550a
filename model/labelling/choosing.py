"""What to ask about next: margin, entropy, diversity, or chance. Pure.

Margin and entropy: Settles, "Active Learning Literature Survey", 2009, section 3.1; diversity: farthest first, the greedy k-centre of Sener &
Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR 2018. Rows that are asked in one batch are kept apart:
what is uncertain is uncertain about its neighbours as well, and one answer tells about all of them.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from model.labelling.features import Features, Floats

Chooser = Literal["margin", "entropy", "diversity", "random"]
CHOOSERS: tuple[Chooser, ...] = ("margin", "entropy", "diversity", "random")
Places = npt.NDArray[np.int64]


def margin(chances: Floats) -> Floats:
    """(n, classes) → (n,) how near the second likeliest comes to the likeliest: 1 for a tie, 0 for certainty."""
    if chances.shape[1] == 1:
        return np.zeros(len(chances), np.float32)
    top = np.partition(chances, -2, axis=1)[:, -2:]
    found: Floats = (1.0 - (top[:, 1] - top[:, 0])).astype(np.float32)
    return found


def entropy(chances: Floats) -> Floats:
    """(n, classes) → (n,) Shannon's entropy as a share of its most, 0 to 1."""
    if chances.shape[1] == 1:
        return np.zeros(len(chances), np.float32)
    safe = np.clip(chances, 1e-12, 1.0)
    found: Floats = (-(safe * np.log(safe)).sum(1) / np.log(chances.shape[1])).astype(np.float32)
    return found


def choose(
    how: Chooser,
    count: int,
    *,
    features: Features,
    known: Sequence[int],
    open_: Sequence[int],
    chances: Floats | None,
    rng: np.random.Generator,
) -> list[int]:
    """The next rows to ask about, the first first.

    Args:
        how: margin and entropy fall back to diversity where there is no model yet.
        count: rows wanted; fewer where fewer are open.
        features: of all rows.
        known: places of the rows that have a label.
        open_: places of the rows that may be asked about, in a stable order.
        chances: (len(open_), classes) of the model so far.
        rng: decides ties, and everything for `random`.
    """
    places = np.asarray(open_, dtype=np.int64)
    count = min(count, len(places))
    if count == 0:
        return []
    if how == "random":
        return [int(place) for place in rng.choice(places, count, replace=False)]
    wanted = np.ones(len(places), np.float32)
    if how in ("margin", "entropy") and chances is not None:
        wanted = margin(chances) if how == "margin" else entropy(chances)
    wanted = wanted + rng.random(len(places), dtype=np.float32) * np.float32(1e-4)
    return _apart(wanted, count, features, places, np.asarray(known, dtype=np.int64), diverse=how == "diversity" or chances is None)  # fmt: skip


def _apart(wanted: Floats, count: int, features: Features, places: Places, known: Places, *, diverse: bool) -> list[int]:  # fmt: skip
    """Greedily the most wanted; what is wanted of a row falls by how alike it is to what was taken (`diverse`: and to what is known)."""
    nearest = np.zeros(len(places), np.float32)
    pool = features.at(places)
    if diverse and len(known):
        for begin in range(0, len(known), 256):
            nearest = np.maximum(nearest, pool.kernel(features.at(known[begin : begin + 256])).max(1))
    found: list[int] = []
    gone = np.zeros(len(places), bool)
    for _ in range(count):
        scores = np.where(gone, -np.inf, wanted * (1.0 - np.clip(nearest, 0.0, 1.0)))
        best = int(scores.argmax())
        gone[best] = True
        found.append(int(places[best]))
        nearest = np.maximum(nearest, pool.kernel(pool.at([best]))[:, 0])
    return found
