"""Near-duplicates by content: the same deed twice within a second, and texts of nearly the same words.

Texts: Jaccard similarity of their words, found by MinHash with bands [1] among rows whose numbers agree: `250 ml` and `500 ml` are two
products however alike their texts are.

[1] A. Broder, "On the resemblance and containment of documents", 1997; banding: Leskovec et al., "Mining of Massive Datasets", §3.4.
"""

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import polars as pl

NEAR_MS = 1_000
"""Two equal deeds of a customer this close are one, sent twice."""
ALIKE = 0.85
"""Jaccard similarity from which two texts are the same."""
HASHES, BANDS = 32, 8
MIN_WORDS = 4
"""Fewer words say too little: only equal texts are the same then."""
MAX_BUCKET = 200
"""Members of one band's bucket that are compared with its first ones."""
_WORD = re.compile(r"[^\W_]+")


def repeated_deeds(keys: pl.DataFrame) -> pl.Series:
    """Which rows repeat the deed before them within `NEAR_MS`.

    Args:
        keys: `content` (a hash) and `at`, in the rows' order.
    """
    ordered = keys.with_row_index("place").filter(several(keys["content"])).sort("content", "at", "place")
    again = (pl.col("content") == pl.col("content").shift(1)) & (
        pl.col("at") - pl.col("at").shift(1) <= pl.duration(milliseconds=NEAR_MS)
    )
    places = ordered.filter(again.fill_null(value=False))["place"]
    return pl.repeat(value=False, n=keys.height, eager=True).scatter(places, values=True).alias("again")


def several(hashes: pl.Series) -> pl.Series:
    """Which rows have a value that is there more than once: most have not, and need no more than one sorting of numbers."""
    ordered = np.sort(hashes.to_numpy())
    return hashes.is_in(pl.Series(ordered[1:][ordered[1:] == ordered[:-1]], dtype=hashes.dtype).implode())


def same_texts(texts: Sequence[str]) -> np.ndarray:
    """For each text the index of the first text that is nearly the same: its own where there is none.

    Returns:
        (N,) int64.
    """
    first = list(range(len(texts)))
    groups: dict[str, list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        groups[text.casefold()].append(index)
    distinct, words = _comparable(groups)
    for left, right in _pairs(words):
        a, b = _root(first, distinct[left]), _root(first, distinct[right])
        first[max(a, b)] = min(a, b)
    for members in groups.values():
        root = _root(first, members[0])
        for index in members:
            first[index] = root
    return np.array(first, np.int64)


def _comparable(groups: dict[str, list[int]]) -> tuple[list[int], list[frozenset[str]]]:
    """The first row and the words of each text whose digits another has too: texts of other digits are never the same."""
    digits = pl.DataFrame({"digits": pl.Series(list(groups), dtype=pl.String).str.extract_all("[0-9]+")})
    hashes = digits.with_row_index("text").explode("digits", empty_as_null=True).with_columns(pl.col("digits").hash())
    ends = hashes.group_by("text", maintain_order=True).agg(low=pl.col("digits").min(), high=pl.col("digits").max())
    shared = ends.drop("text").is_duplicated()  # equal sets have equal ends
    able = [each for each, known in zip(groups.items(), shared, strict=True) if known]
    return [rows[0] for _, rows in able], [frozenset(_WORD.findall(text)) for text, _ in able]


def _root(first: list[int], index: int) -> int:
    while first[index] != index:
        index = first[index]
    return index


def _pairs(words: Sequence[frozenset[str]]) -> Iterable[tuple[int, int]]:
    """Pairs of near-equal sets of words that share all words with digits."""
    able = [i for i, own in enumerate(words) if len(own) >= MIN_WORDS]
    codes: dict[frozenset[str], int] = {}
    numbers = [codes.setdefault(frozenset(filter(_has_digit, words[i])), len(codes)) for i in able]
    alone = Counter(numbers)
    kept = [at for at, number in enumerate(numbers) if alone[number] > 1]
    able, numbers = [able[at] for at in kept], [numbers[at] for at in kept]
    if not able:
        return
    for band in np.split(_signatures([words[i] for i in able]), BANDS, axis=1):
        frame = pl.DataFrame({"number": numbers, **{f"hash {i}": band[:, i] for i in range(band.shape[1])}})
        buckets = frame.with_row_index("at").group_by(frame.columns, maintain_order=True).agg("at")
        for members in buckets.filter(pl.col("at").list.len() > 1)["at"].to_list():
            for place, right in enumerate(members[1:MAX_BUCKET], 1):
                for left in members[max(0, place - 3) : place]:
                    if _alike(words[able[left]], words[able[right]]):
                        yield able[left], able[right]
                        break


_has_digit = re.compile(r"\d").search


def _alike(left: frozenset[str], right: frozenset[str]) -> bool:
    return len(left & right) >= ALIKE * len(left | right)


def _signatures(sets: Sequence[frozenset[str]]) -> np.ndarray:
    """MinHash signatures, (N, HASHES) uint64."""
    rng = np.random.default_rng(1)
    factors = rng.integers(1, 1 << 31, HASHES, dtype=np.uint64)
    shifts = rng.integers(0, 1 << 31, HASHES, dtype=np.uint64)
    codes: dict[str, int] = {}
    flat = np.fromiter((codes.setdefault(word, zlib.crc32(word.encode())) for own in sets for word in own), np.uint64)
    starts = np.cumsum([0, *(len(own) for own in sets[:-1])])
    signature = np.empty((len(sets), HASHES), np.uint64)
    for i in range(HASHES):
        signature[:, i] = np.minimum.reduceat((flat * factors[i] + shifts[i]) % np.uint64(4_294_967_291), starts)
    return signature
