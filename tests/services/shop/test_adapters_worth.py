"""What the adapters brought, valued by the simulated customers: the best decisions gain, the base's own gain nothing, too few say nothing."""

import itertools

import msgspec
import numpy as np
import pytest

from model.critic import Critic
from model.fresh import random_lm
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Knobs, decide
from services.shop.adapters_worth import LEAST, adapters_worth
from services.shop.oracle import expected_rewards
from services.shop.world import World
from streaming.contracts.kinds import Kind
from streaming.contracts.strategies import Strategy
from streaming.reward import Formula
from tests.services.shop.shop_samples import make_request, make_strategy

FORMULA = Formula()


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A small base that knows nothing."""
    return random_lm(5, width=32, layers=2)


def answered(world: World, arm: str, index_of: dict[str, tuple[int, ...]] | None = None) -> list[Strategy]:
    """A strategy a customer and kind, of an arm; with the first values, or those at `index_of` by request."""
    found = []
    kinds: tuple[Kind, ...] = ("recommendation", "promotion")
    for user, kind in itertools.product(sorted(world.customers), kinds):
        request = msgspec.structs.replace(make_request(world, kind, user), arm=arm)
        index = (index_of or {}).get(request.request_id, (0,) * len(request.slots))
        found.append(make_strategy(request, **ActionGrid.of(request).decision(index)))
    return found


def best(world: World, strategy: Strategy) -> tuple[int, ...]:
    """The action that its customer is worth most at."""
    values = np.where(
        ActionGrid.of(strategy.request).allowed, expected_rewards(world, strategy.request, FORMULA), -np.inf
    )
    return tuple(int(place) for place in np.unravel_index(int(values.argmax()), values.shape))


def test_the_best_decisions_gain_over_the_base(world: World, lm: LanguageModel) -> None:
    """The interval lies above zero, the means differ by the gain, and no more strategies count than there are."""
    oracle = answered(world, "lm", {one.request_id: best(world, one) for one in answered(world, "lm")})
    worth = adapters_worth(world, oracle, FORMULA, lm, np.random.default_rng(0))
    assert worth is not None
    assert worth.low95 > 0.0
    assert worth.gain == pytest.approx(worth.lm - worth.base)
    assert worth.strategies == len(oracle)


def test_the_bases_own_decisions_gain_nothing(world: World, lm: LanguageModel) -> None:
    """Drawn from it once more: the interval holds zero."""
    plain = answered(world, "lm")
    requests = [one.request for one in plain]
    rngs = np.random.default_rng(9).spawn(len(requests))
    session, grids = lm.session(lm.encode(requests), requests), [ActionGrid.of(request) for request in requests]
    knobs = Knobs(lm.name, "base", 0.4, 1.0)
    decided = decide(requests, grids, Critic.prior(0, 1, FORMULA), session, rngs, knobs)
    own = answered(world, "lm", {one.request_id: each.index for one, each in zip(plain, decided, strict=True)})
    worth = adapters_worth(world, own, FORMULA, lm, np.random.default_rng(0))
    assert worth is not None
    assert worth.low95 < 0.0 < worth.high95


def test_too_few_and_other_arms_say_nothing(world: World, lm: LanguageModel) -> None:
    """None, rather than an interval over a handful."""
    rng = np.random.default_rng(0)
    assert adapters_worth(world, answered(world, "fused"), FORMULA, lm, rng) is None
    assert adapters_worth(world, answered(world, "lm")[: LEAST - 1], FORMULA, lm, rng) is None
