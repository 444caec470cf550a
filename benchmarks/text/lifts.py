"""How good a policy's choice of product is, to the last digit: the expected lift of its distribution over the first slot. Pure but for torch.

    lift = (sum over products of p(product) * value - uniform) / (best - uniform)

value: the true expected reward under a uniform choice of the other slots' allowed values, as `new_product_lift` has it; sums over requests
come first. Distributions are those that would be served: the adapter at the temperature of the `lm` arm, a critic with its heads.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.worlds.shop import MEDIAN_PRICE_MINOR
from benchmarks.worlds.world import Moment, World
from model.critic import Critic
from model.decode import Mix, Walk
from model.grid import ActionGrid
from model.lm import LanguageModel
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import Candidate, StrategyRequest

Floats = npt.NDArray[np.float64]
KINDS = ("recommendation", "promotion")
"""Whose first slot is a product."""
BATCH = 32
MARGIN = 0.325
"""Of the price, for an average product."""


class Asked(NamedTuple):
    """A request whose products' true values are known.

    Args:
        values: (products of the first slot,) NaN where none of the product's actions is allowed.
    """

    request: StrategyRequest
    values: Floats


def moments(world: World, first: int, count: int, *, launched: bool) -> list[Moment]:
    """The next `count` requests for products from interaction `first` on, of the latest wave alone or of anything else."""
    found: list[Moment] = []
    number = first
    while len(found) < count:
        moment = world.moment(number)
        if moment.request.kind in KINDS and bool(moment.launch) == launched:
            found.append(moment)
        number += 1
    return found


def asked(found: Sequence[Moment]) -> list[Asked]:
    """As they are."""
    return [Asked(moment.request, moment.by_candidate()) for moment in found]


def permuted(asks: Sequence[Asked], seed: int) -> list[Asked]:
    """Products under each other's ids and in another order, values going with texts."""
    rng = np.random.default_rng(stable_seed("permuted", str(seed)))
    found = []
    for request, values in asks:
        ids = [candidate.id for candidate in request.candidates]
        named = [ids[int(place)] for place in rng.permutation(len(ids))]
        order = [int(place) for place in rng.permutation(len(ids))]
        candidates = tuple(msgspec.structs.replace(request.candidates[place], id=named[place]) for place in order)
        slot = msgspec.structs.replace(request.slots[0], values=tuple(named[place] for place in order))
        changed = msgspec.structs.replace(request, candidates=candidates, slots=(slot, *request.slots[1:]))
        found.append(Asked(changed, values[order]))
    return found


def swapped(asks: Sequence[Asked], *, words_only: bool = False) -> list[Asked]:
    """Each id shows another product, one of the next request; values stay with ids.

    Args:
        words_only: prices and what relates a product to the customer stay.
    """
    found = []
    for place, (request, values) in enumerate(asks):
        other = asks[(place + 1) % len(asks)].request
        ids = {candidate.id for candidate in request.candidates}
        strangers = [one for one in other.candidates if one.id not in ids] or other.candidates
        shown = [strangers[at % len(strangers)] for at in range(len(request.candidates))]
        candidates = tuple(
            _with_words(own, strange) if words_only else msgspec.structs.replace(strange, id=own.id)
            for own, strange in zip(request.candidates, shown, strict=True)
        )
        found.append(Asked(msgspec.structs.replace(request, candidates=candidates), values))
    return found


def _with_words(own: Candidate, other: Candidate) -> Candidate:
    return msgspec.structs.replace(own, name=other.name, category=other.category, brand=other.brand, text=other.text)


WORDLESS = ("ids", "relations")
"""What a critic without words sees of products: ids alone; or prices, margins and what relates a product to the customer too."""


def without_words(request: StrategyRequest, seen: str) -> StrategyRequest:
    """A request whose candidates have no words; `seen` of `WORDLESS`. With ids alone all cost the same, in arithmetic too."""
    hidden: dict[str, Any] = {"name": "", "category": (), "brand": "", "text": ""}
    if seen == "ids":
        hidden |= {
            "relation": {},
            "price_minor": MEDIAN_PRICE_MINOR,
            "margin_minor": round(MARGIN * MEDIAN_PRICE_MINOR),
        }
    bare = tuple(msgspec.structs.replace(one, **hidden) for one in request.candidates)
    return msgspec.structs.replace(request, candidates=bare)


def of_critic(critic: Critic, asks: Sequence[Asked]) -> list[Floats]:
    """Per request the chances of its products under the critic arm."""
    found = []
    for request, _ in asks:
        grid = ActionGrid.of(request)
        values = np.asarray(critic.values(request, grid)[1:], np.float64)
        found.append(Walk(grid, values, Mix(0.0, 1.0, 1.0, critic.beta)).distribution(None).marginal)
    return found


def of_model(lm: LanguageModel, slot: str, asks: Sequence[Asked], temperature: float) -> list[Floats]:
    """Per request the chances of its products under the lm arm with the adapter in `slot`."""
    found = []
    for start in range(0, len(asks), BATCH):
        requests = [one.request for one in asks[start : start + BATCH]]
        with lm.use_adapter(slot):
            logs = lm.session(lm.encode(requests), requests).log_probs()
        for request, of in zip(requests, logs, strict=True):
            grid = ActionGrid.of(request)
            walk = Walk(grid, np.zeros((1, *grid.shape)), Mix(1.0, temperature, 0.0, 1.0))
            found.append(walk.distribution(of).marginal)
    return found


def lift(asks: Sequence[Asked], chances: Sequence[Floats]) -> float:
    """The expected lift of these chances."""
    values = [one.values for one in asks]
    got = sum(float(np.nansum(np.where(p > 0.0, p * value, 0.0))) for p, value in zip(chances, values, strict=True))
    uniform = sum(float(np.nanmean(value)) for value in values)
    best = sum(float(np.nanmax(value)) for value in values)
    return (got - uniform) / (best - uniform)
