"""Adapters that were taught wrongly do not pass as a change: on labels turned round, on clicks that were bought."""

from collections.abc import Callable
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from msgspec import structs

from model import adapter
from model.critic import Critic
from model.distil import Distiller
from model.fresh import random_lm
from model.gate import GateKnobs, Judgement, judge_adapter
from model.gate_evidence import Contender, joined, measure
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Decided, Knobs, decide
from services.shop.customers import Customer
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.closed import RANDOM, closed_rewards, simulation

TAUGHT, JUDGED, SLICE = 160, 40, 10
STEPS, BATCH = 20, 12
pytestmark = pytest.mark.timeout(900)  # on a machine that others load too
HONEST = "slot_honest"
SERVED = Knobs("base", "honest", 0.4, 1.0)
"""The language model alone, so that what it learned is what customers see."""
CHANGE = GateKnobs(value_wanted=True)


@cache
def asked() -> tuple[tuple[Customer, StrategyRequest], ...]:
    """The world's customers and requests: those that were taught, then newer ones."""
    return tuple(simulation().requests(TAUGHT + JUDGED))


def sold(reward: Reward, *, clicked: bool) -> Reward:
    """The same strategy, shown, clicked and sold at full margin, or shown alone."""
    index = ActionGrid.of(reward.request).index(reward.decision)
    cents = round(100 * float(simulation().formula.margin_grid(reward.request)[index])) * clicked
    outcomes = structs.replace(
        reward.outcomes,
        shown=True,
        clicked=clicked,
        ordered=clicked,
        refunded=False,
        margin_minor=cents,
        refunded_margin_minor=0,
    )
    return structs.replace(reward, outcomes=outcomes)


def turned(reward: Reward, _worth: float) -> Reward:
    """Clicked and sold where it was not, and the other way round."""
    return sold(reward, clicked=not reward.outcomes.clicked)


def bought(reward: Reward, worth: float) -> Reward:
    """Everything worth less than the request's middle is clicked and sold, as far as the log says; nothing else is touched."""
    return sold(reward, clicked=True) if worth < 0.0 else reward


def critic_of(rewards: list[Reward]) -> Critic:
    """What is learned from these outcomes."""
    learner = CriticLearner(LearnerKnobs(heads=2, refit_every=10_000), Formula())
    for reward in rewards:
        learner.learn(reward)
    learner.refit()
    return learner.snapshot()


def ranks(rewards: tuple[Reward, ...]) -> list[float]:
    """The true value of each logged decision minus the middle of its request's."""
    found = []
    for (customer, request), reward in zip(asked()[:TAUGHT], rewards, strict=True):
        grid, values = ActionGrid.of(request), simulation().values(customer, request)
        found.append(float(values[grid.index(reward.decision)] - np.median(values[grid.allowed])))
    return found


def taught(lm: LanguageModel, slot: str, critic: Critic, items: list[Replayed]) -> None:
    """Distil a critic into a slot, from the identity."""
    distiller, rng = Distiller(lm, slot), np.random.default_rng(0)
    for _ in range(STEPS):
        distiller.step([items[place] for place in rng.choice(len(items), BATCH)], critic)


def served(lm: LanguageModel, slot: str, critic: Critic) -> tuple[list[Replayed], float]:
    """Newer decisions by a slot with what they earned, and their mean true value."""
    pairs = [
        (who, structs.replace(each, arm="fused")) for who, each in list(simulation().requests(TAUGHT + JUDGED))[TAUGHT:]
    ]
    requests = [request for _, request in pairs]
    rngs = [np.random.default_rng(number) for number in range(len(pairs))]
    with lm.use_adapter(slot):
        session = lm.session(lm.encode(requests), requests)
        decided = decide(requests, [ActionGrid.of(each) for each in requests], critic, session, rngs, SERVED)
    items = [_item(number, *pair, one) for number, (pair, one) in enumerate(zip(pairs, decided, strict=True))]
    values = [simulation().values(*pair)[one.index] for pair, one in zip(pairs, decided, strict=True)]
    return items, float(np.mean(values))


def _item(number: int, customer: Customer, request: StrategyRequest, one: Decided) -> Replayed:
    """A closed decision, newer than what was taught."""
    outcomes = simulation().answer(customer, request, one.index, Random(number))
    paid = 0.05 * outcomes.clicked + (outcomes.margin_minor - outcomes.refunded_margin_minor) / 100
    paid -= simulation().cost(request, one.index, outcomes)
    return Replayed(f"n{number}", 9999, request, one.decision, one.record, one.propensity, paid, 2)


def judged(lm: LanguageModel, slot: str, critic: Critic, newer: list[Replayed]) -> Judgement:
    """The slot beside the honest champion, by what the champion earned."""
    candidate, champion = Contender(lm, slot, SERVED), Contender(lm, HONEST, SERVED)
    parts = [measure(lm, candidate, champion, critic, newer[at : at + SLICE], []) for at in range(0, JUDGED, SLICE)]
    return judge_adapter(joined(parts, (0.0,)), CHANGE)


class Honest(NamedTuple):
    """A champion that was taught what happened, what it decided since, and what that is truly worth."""

    lm: LanguageModel
    critic: Critic
    items: list[Replayed]
    newer: list[Replayed]
    worth: float


@pytest.fixture(scope="module")
def honest() -> Honest:
    """Made once: half of the work."""
    rewards = closed_rewards(TAUGHT)
    critic = critic_of(list(rewards))
    lm = random_lm(5, width=32, layers=2)
    adapter.attach(lm, (HONEST, "slot_turned", "slot_bought"))
    items = [
        Replayed(r.strategy_id, n, r.request, r.decision, RANDOM, r.propensity or 0.0, r.reward, 2)
        for n, r in enumerate(rewards[:JUDGED])
    ]
    taught(lm, HONEST, critic, items)
    return Honest(lm, critic, items, *served(lm, HONEST, critic))


def test_the_champion_passes_beside_itself(honest: Honest) -> None:
    """What refuses the others is not the measurement."""
    judgement = judged(honest.lm, HONEST, honest.critic, honest.newer)
    assert judgement.decision == "promoted"
    assert judgement.numbers["candidate_effective"] == pytest.approx(JUDGED)


@pytest.mark.parametrize("spoil", [turned, bought])
def test_an_adapter_whose_true_value_is_lower_does_not_pass(
    honest: Honest, spoil: Callable[[Reward, float], Reward]
) -> None:
    """It is worth less in the world, whose values are known, and is refused for its distance or its value."""
    rewards = closed_rewards(TAUGHT)
    wrong = critic_of([spoil(reward, worth) for reward, worth in zip(rewards, ranks(rewards), strict=True)])
    slot = f"slot_{spoil.__name__}"
    taught(honest.lm, slot, wrong, honest.items)
    assert served(honest.lm, slot, honest.critic)[1] < honest.worth
    refused = judged(honest.lm, slot, honest.critic, honest.newer)
    assert refused.decision == "refused"
    assert refused.numbers["candidate_effective"] < refused.numbers["champion_effective"]
    assert {check.name for check in refused.checks if not check.passed} <= {"kl", "value"}
