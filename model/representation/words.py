"""What a product says as hashed features: words, neighbours, letters of words, categories, brand. Pure; the same on every machine.

Bags of hashed n-grams as fastText has them: an unknown word is known by its letters.

References:
    Bojanowski, Grave, Joulin, Mikolov (2017), Enriching word vectors with subword information, TACL 5.
    Weinberger et al. (2009), Feature hashing for large scale multitask learning, ICML.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

RECIPE = "words-1"
"""Raised when a text gets other features: an encoder of another recipe is not loaded."""
MAX_CHARS, MAX_WORDS, MAX_FEATURES = 1_000, 48, 256
"""Of a text; what is beyond is not read: texts are not ours."""
LETTERS = 3
_WORD = re.compile(r"[^\W_]+")


class Said(NamedTuple):
    """What a product says of itself. A candidate of a request and a record of the catalog say the same."""

    name: str
    category: tuple[str, ...] = ()
    brand: str = ""
    text: str = ""


class Bags(NamedTuple):
    """Bags of features, one after another: `features[starts[i]:starts[i + 1]]` is what text i has."""

    features: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]


def features(said: Said) -> list[str]:
    """The features of a text by name, each once, in a fixed order."""
    words = [word.lower() for word in _WORD.findall(f"{said.name} {said.text}"[:MAX_CHARS])][:MAX_WORDS]
    found = [f"category={part.strip().lower()[:MAX_CHARS]}" for part in said.category if part.strip()]
    found += [f"brand={said.brand.strip().lower()[:MAX_CHARS]}"] if said.brand.strip() else []
    found += words
    found += [f"{one} {other}" for one, other in pairwise(words)]
    for word in words:
        marked = f"<{word}>"
        found += [f"*{marked[at : at + LETTERS]}" for at in range(len(marked) - LETTERS + 1)]
    return list(dict.fromkeys(found))[:MAX_FEATURES]


def bags(texts: Iterable[Said], buckets: int) -> Bags:
    """Features as indices below `buckets`; a text without any has an empty bag."""
    rows = [hashed(said, buckets) for said in texts]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    return Bags(np.array([at for row in rows for at in row], np.int64), starts)


def hashed(said: Said, buckets: int) -> Sequence[int]:
    """The features of one text as indices, each once."""
    return list(dict.fromkeys(zlib.crc32(name.encode("utf-8", "surrogatepass")) % buckets for name in features(said)))


def rarity(found: Bags, buckets: int) -> npt.NDArray[np.float32]:
    """(buckets,) inverse document frequency, smoothed as scikit-learn has it: log((1 + texts) / (1 + texts with it)) + 1."""
    texts = len(found.starts) - 1
    seen = np.bincount(found.features, minlength=buckets)
    weights: npt.NDArray[np.float32] = (np.log((1 + texts) / (1 + seen)) + 1).astype(np.float32)
    return weights
