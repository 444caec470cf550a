"""Rewards completed by what the critic expects after the stage that is known: exact on its own chances, and what the gate's value sees."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack, structs

from model.completed import completed
from model.critic import OUTCOMES, Critic
from model.gate import doubly_robust
from model.grid import ActionGrid
from model.memory import Replay, Replayed
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.rewards import Outcomes, Stage
from streaming.contracts.strategies import Slot, StrategyRequest
from streaming.reward import Formula, Weights, summed
from tests.model.closed import RANDOM, closed_rewards, response_of
from tests.model.declared import DECLARED, declared_request
from tests.model.sample import request_of

Floats = npt.NDArray[np.float64]
FORMULA = Formula(Weights(order_major=0.07, discount=1.3, refund=0.8))
"""Every part weighs, and none as by default."""


def critic_of(seed: int) -> Critic:
    """Weights drawn at random, the mean's too, and orders of more than one unit."""
    prior, rng = Critic.prior(seed, 2, FORMULA), np.random.default_rng(seed)
    weights = {name: rng.normal(0.0, 0.4, rows.shape).astype(np.float32) for name, rows in prior.weights.items()}
    facts = structs.replace(prior.facts, units=dict.fromkeys((*GRAMMARS, *DECLARED), 1.7))
    return Critic("", weights, facts, FORMULA)


def request_named(kind: str, seed: int) -> StrategyRequest:
    """Of a kind that ships, or of a declared one."""
    return declared_request(kind, seed) if kind in DECLARED else request_of(seed, kind)  # type: ignore[arg-type]


def item_of(request: StrategyRequest, index: tuple[int, ...], what: Outcomes, stage: Stage = "response") -> Replayed:
    """A decision with the reward that attribution gives it."""
    decision = ActionGrid.of(request).decision(index)
    paid = float(summed(FORMULA.of_outcomes(decision, request.kind, stage, what)))
    rank = 1 if stage == "response" else 2
    return Replayed("s1", 1, request, decision, RANDOM, 0.5, paid, rank, what.shown, what.clicked)


def allowed_index(request: StrategyRequest, seed: int) -> tuple[int, ...]:
    """One of the actions it allows."""
    grid = ActionGrid.of(request)
    flat = np.random.default_rng(seed).choice(np.flatnonzero(grid.allowed))
    return tuple(int(axis) for axis in np.unravel_index(flat, grid.shape))


@pytest.mark.parametrize("kind", [*GRAMMARS, *DECLARED])
@given(seed=st.integers(0, 10_000))
def test_averaged_over_the_critics_chances_it_is_what_the_critic_expects(kind: str, seed: int) -> None:
    """Of every kind, declared ones too. An ad that nobody sees is free to both."""
    critic, request = critic_of(seed % 3), request_named(kind, seed)
    index = allowed_index(request, seed)
    chances = critic.mean.probabilities(request, ActionGrid.of(request).decision(index))
    seen, click = (float(chances[name].item()) for name in ("shown", "clicked"))
    ways = ((1.0 - seen, False, False), (seen * (1.0 - click), True, False), (seen * click, True, True))
    mean = sum(
        chance * completed(item_of(request, index, Outcomes("USD", shown=shown, clicked=clicked)), critic)
        for chance, shown, clicked in ways
    )
    assert mean == pytest.approx(float(critic.values(request)[0][index]), abs=1e-9)


@pytest.mark.parametrize("kind", [*GRAMMARS, "page"])
@given(seed=st.integers(0, 10_000), ordered=st.booleans(), margin_minor=st.integers(-500, 5000))
def test_a_final_is_left_as_it_is(kind: str, seed: int, ordered: bool, margin_minor: int) -> None:  # noqa: FBT001 -- drawn
    """Whatever happened: real outcomes replace the expectation."""
    request = request_named(kind, seed)
    what = Outcomes("USD", shown=True, clicked=ordered, ordered=ordered, margin_minor=margin_minor * ordered)
    item = item_of(request, allowed_index(request, seed), what, "final")
    assert item.final
    assert completed(item, critic_of(0)) == item.reward
    assert completed(item._replace(rank=3), critic_of(0)) == item.reward


def test_after_no_exposure_nothing_comes_and_after_no_click_no_order() -> None:
    """As the critic's outcomes hang together: an unsubscription needs eyes, an order needs a click."""
    critic, request = critic_of(1), request_of(3)
    index = allowed_index(request, 3)
    unseen, seen, clicked = (
        item_of(request, index, Outcomes("USD", shown=shown, clicked=click))
        for shown, click in ((False, False), (True, False), (False, True))
    )
    chances = critic.mean.probabilities(request, unseen.decision)
    leaves, orders = (float(chances[name].item()) for name in ("unsubscribed", "ordered"))
    assert completed(unseen, critic) == unseen.reward
    assert completed(seen, critic) == pytest.approx(seen.reward + leaves * (-1.0 + 0.15 * -3.0), abs=1e-12)
    margin = 1.7 * float(FORMULA.margin_grid(request)[index])
    off = 1.7 * float(FORMULA.discount_grid(request)[index])
    back = float(chances["refunded"].item()) * max(margin, 0.0)
    brings = 0.07 + margin + off - 1.3 * off - 0.8 * back - float(FORMULA.offer_grid(request)[index])
    later = completed(seen, critic) - seen.reward + orders * brings  # a click that came without an exposure was seen
    assert completed(clicked, critic) == pytest.approx(clicked.reward + later, abs=1e-9)


def test_of_a_response_that_is_not_known_all_is_expected() -> None:
    """As in a snapshot of earlier code, which kept the reward alone: it is read, and its residual is none."""
    critic, request = critic_of(2), request_of(5)
    index = allowed_index(request, 5)
    item = item_of(request, index, Outcomes("USD", shown=True))
    old = msgpack.decode(msgpack.encode([tuple(item)[:8]]), type=list[Replayed])[0]
    assert old == item._replace(shown=None)
    assert completed(old, critic) == pytest.approx(float(critic.values(request)[0][index]), abs=1e-9)


def test_the_buffer_keeps_what_each_stage_knows() -> None:
    """A response, then its final; a response that comes late changes nothing."""
    final = next(reward for reward in closed_rewards(300) if reward.outcomes.ordered)
    response = structs.replace(response_of(final), reward=0.048)
    replay = Replay(10)
    for reward, known in ((response, (0.048, 1)), (final, (final.reward, 2)), (response, (final.reward, 2))):
        replay.learn(reward, 1)
        (item,) = replay
        assert (item.reward, item.rank) == known
        assert (item.shown, item.clicked) == (True, True)
        assert item.final == (known[1] == 2)


def products_alone(margins_minor: tuple[int, int]) -> StrategyRequest:
    """Two products that differ in what they earn; nothing else to choose."""
    request = request_of(7, candidates=2)
    pairs = zip(request.candidates, margins_minor, strict=True)
    candidates = tuple(structs.replace(candidate, margin_minor=margin) for candidate, margin in pairs)
    slots = (request.slots[0], *(Slot(slot.name, slot.values[:1]) for slot in request.slots[1:]))
    return structs.replace(request, candidates=candidates, slots=slots, exclusions=())


def gains_of(request: StrategyRequest, clicks: Floats, policy: Floats) -> tuple[Floats, Floats]:
    """Value of a policy over that of uniform choice by uniform choice's responses: by rewards so far, and completed.

    The critic is the prior: each product is clicked and then bought alike; the world clicks with `clicks`, (products,).
    """
    critic, rng = Critic.prior(0, 2, FORMULA), np.random.default_rng(1)
    expected = critic.values(request)[0].reshape(2)
    items = {
        (place, *way): item_of(request, (place, *(0,) * (len(request.slots) - 1)), Outcomes("USD", *way))
        for place, way in product((0, 1), ((False, False), (True, False), (True, True)))
    }
    places, draws = rng.integers(2, size=6000), rng.random((6000, 2))
    seen = draws[:, 0] < critic.mean.probabilities(request)["shown"].item()
    clicked = seen & (draws[:, 1] < clicks[places])
    logged = [items[int(place), bool(s), bool(c)] for place, s, c in zip(places, seen, clicked, strict=True)]
    worth = {id(item): completed(item, critic) for item in items.values()}
    ratios, none = 2.0 * policy[places], np.ones(len(places))
    ways = (np.array([item.reward for item in logged]), np.array([worth[id(item)] for item in logged]))
    own, even = policy @ expected * none, expected.mean() * none
    one, other = (
        doubly_robust(own, ratios, paid, expected[places]) - doubly_robust(even, none, paid, expected[places])
        for paid in ways
    )
    return one, other


def sure(values: Floats) -> tuple[float, float]:
    """Three standard errors below and above the mean."""
    error = 3.0 * float(values.std(ddof=1)) / np.sqrt(len(values))
    return float(values.mean()) - error, float(values.mean()) + error


def test_more_margin_after_as_many_clicks_is_seen() -> None:
    """Twice as often the product that earns more: rewards so far know nothing of it, completed ones tell it."""
    before, now = gains_of(products_alone((100, 600)), np.array([0.12, 0.12]), np.array([0.2, 0.8]))
    assert abs(float(before.mean())) < 0.005
    assert sure(before)[0] < 0.0
    truth = 0.3 * 0.6 * 0.12 * 0.3 * (1.0 - 0.8 * 0.05) * 5.0
    low, high = sure(now)
    assert 0.0 < low < truth < high


def test_clicks_won_at_the_price_of_orders_are_seen_through() -> None:
    """A product clicked three times as often that earns a tenth: better by clicks, worse by what follows them."""
    before, now = gains_of(products_alone((60, 600)), np.array([0.6, 0.2]), np.array([0.8, 0.2]))
    assert sure(before)[0] > 0.0
    assert sure(now)[1] < 0.0


def test_every_outcome_is_known_or_comes_after() -> None:
    """A new outcome of the critic's needs a stage: this fails where one is added and not thought of."""
    names = [spec.name for spec in OUTCOMES]
    assert names == ["shown", "clicked", "ordered", "refunded", "unsubscribed"]
