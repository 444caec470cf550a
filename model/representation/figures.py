"""How well vectors find what was bought beside a product, beside popularity and tf-idf, with intervals. Pure.

One customer's baskets are drawn as a whole where intervals are made. Products of the same text cannot be told apart by text: they are one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from model.representation.baskets import Baskets
from model.representation.start import tf_idf_rows
from model.representation.words import Bags, rarity
from model.response.scores import LEVEL, RESAMPLES, Estimate

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
NEAREST = 20
"""Products that a list has: recall@20."""
MOST_JUDGED = 2_000
AT_ONCE = 256
SHARPNESSES = (2.0, 5.0, 10.0, 20.0)
"""That a peer may choose from on the part `valid`."""


class Pairs(NamedTuple):
    """Products of held-out baskets: given one, find the other among those that may be found. `groups` are customers."""

    given: Ints
    found: Ints
    groups: Ints


Scores = Callable[[Ints], Floats]
"""Products that are given (N,) → (N, candidates) scores."""


def pairs_of(baskets: Baskets, alike: Ints, candidates: npt.NDArray[np.bool_], seed: int) -> Pairs:
    """All ordered pairs of baskets whose second text is among the candidates, at most `MOST_JUDGED`, drawn from the seed.

    Args:
        alike: (products,) text of a product.
        candidates: (texts,) which may be found.
    """
    rows = [
        (one, other, customer)
        for basket, customer in enumerate(baskets.customers.tolist())
        for texts in [list(dict.fromkeys(alike[baskets.of(basket)].tolist()))]
        for one in texts
        for other in texts
        if one != other and candidates[other]
    ]
    table = np.array(rows, np.int64).reshape(-1, 3)
    chosen = np.sort(np.random.default_rng((seed, 3)).permutation(len(table))[:MOST_JUDGED])
    return Pairs(*table[chosen].T)


def ranks(pairs: Pairs, candidates: npt.NDArray[np.bool_], score: Scores) -> Ints:
    """(pairs,) at which place each was found, 1 the first; equal scores count as half before, the product that was given not at all."""
    places = np.flatnonzero(candidates)
    at = np.full(len(candidates), -1)
    at[places] = np.arange(len(places))
    found: list[Ints] = []
    for start in range(0, len(pairs.given), AT_ONCE):
        given, other = pairs.given[start : start + AT_ONCE], pairs.found[start : start + AT_ONCE]
        scores = score(given)[:, places].astype(np.float64)
        inside = np.flatnonzero(at[given] >= 0)
        scores[inside, at[given[inside]]] = -np.inf
        own = scores[np.arange(len(other)), at[other]][:, None]
        found.append(1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) // 2)
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def tf_idf(found: Bags, buckets: int) -> Scores:
    """Cosines of tf-idf: the peer that reads the same words."""
    rows = tf_idf_rows(found, rarity(found, buckets))
    columns = rows.T.tocsc()
    return lambda given: (rows[given] @ columns).toarray()


def with_popularity(score: Scores, log_share: Floats, sharpness: float) -> Scores:
    """Scores times sharpness, and the log of the share that a text has in what is bought."""
    return lambda given: sharpness * score(given) + log_share[None, :]


def sharpest(score: Scores, log_share: Floats, pairs: Pairs, candidates: npt.NDArray[np.bool_]) -> float:
    """The sharpness at which scores joined with popularity find most, of the mean of 1 / rank."""
    quality = {
        each: float((1.0 / ranks(pairs, candidates, with_popularity(score, log_share, each))).mean())
        for each in SHARPNESSES
    }
    return max(quality, key=lambda each: quality[each])


def figures(found: dict[str, Ints], groups: Ints, against: str, of: str, seed: int) -> dict[str, Any]:
    """`recall_at_20` and `mean_reciprocal_rank` of each model with 95 % intervals, and `gain`: recall of the model `of` less that of `against`."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    rng = np.random.default_rng((seed, 4))
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)
    weights = np.bincount(group, minlength=count).astype(np.float64)

    def estimate(values: Floats) -> Estimate:
        sums = np.bincount(group, values, count)
        low, high = np.percentile((drawn @ sums) / (drawn @ weights), LEVEL)
        return Estimate(float(values.mean()), float(low), float(high))

    hit = {name: (rank <= NEAREST).astype(np.float64) for name, rank in found.items()}
    models = {
        name: {"recall_at_20": estimate(hit[name]), "mean_reciprocal_rank": estimate(1.0 / rank)}
        for name, rank in found.items()
    }
    return {"models": models, "gain": estimate(hit[of] - hit[against]), "pairs": len(group), "customers": count}


def verdict(gains: dict[str, Estimate | None]) -> dict[str, Any]:
    """Whether the vectors are worth going on with: better than tf-idf beyond chance on known or on new products, and worse on neither."""
    shown = {
        name: f"{gain.value:+.3f} of recall@20 ({gain.low:+.3f} to {gain.high:+.3f}) on {name.replace('_', ' ')}"
        for name, gain in gains.items()
        if gain is not None
    }
    judged = [gain for gain in gains.values() if gain is not None]
    go_on = any(gain.low > 0 for gain in judged) and not any(gain.high < 0 for gain in judged)
    says = "better than tf-idf" if go_on else "not better than tf-idf beyond chance"
    return {"go_on": go_on, "says": f"{says}: {', '.join(shown.values())}"}
