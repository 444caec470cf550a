"""Explanations against a world whose true effects are known: leave-one-out effects of a critic that learned it.

In this world a click's log-odds are a sum: each of two features of the customer speaks for or against the values of one slot, a
third for none. Rewards are exact shares of every case, no dice. So what a feature is worth to a choice is known: it is what
the same explanation says with the world's own values in the critic's place.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product

import numpy as np
import pytest
from msgspec.structs import replace

from model.critic import Critic, named
from model.explain import explain
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from model.library import answered, ask
from model.policy import Decided, Knobs, decide
from streaming.contracts.kinds import Grammar
from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import Features, StrategyRequest
from streaming.reward import Formula, Weights

BANNER = Grammar(
    slots=("picture", "words"), closed={"picture": ("sea", "town", "wood"), "words": ("few", "many", "rhyme")}
)
LIKED: dict[tuple[str, str], tuple[str, dict[str, float]]] = {
    ("lifecycle", "new"): ("picture", {"sea": 1.5, "town": -1.0}),
    ("lifecycle", "active"): ("picture", {"wood": 1.5, "sea": -1.0}),
    ("daypart", "morning"): ("words", {"few": 1.2, "many": -0.8}),
    ("daypart", "evening"): ("words", {"rhyme": 1.2, "few": -0.8}),
}
"""Feature and its value → the slot that it speaks about, and log-odds per value of that slot."""
BASE = -1.0
IDLE = "weekday"
"""A feature that means nothing."""
SAID: dict[str, tuple[str, ...]] = {
    "lifecycle": ("", "new", "active"),
    "daypart": ("", "morning", "evening"),
    IDLE: ("", "weekend"),
}
"""Every feature may be missing: what the world does then is known, too."""
SHARES = 16
"""Customers per case and action, of whom the true share clicks."""
START = datetime(2026, 3, 2, tzinfo=UTC)
FORMULA = Formula(Weights(click_major=1.0))
BETA = 0.1
LEAST_NATS = 0.3
"""From here on a true effect must be found with its sign; the largest are above 4."""
MOST_IDLE_NATS = 0.5
"""Of the feature that means nothing: shrinkage lets it carry a little of what the main effects may not."""


def asked(case: tuple[str, ...], number: int) -> StrategyRequest:
    """A customer of whom some features are known."""
    known = {name: value for name, value in zip(SAID, case, strict=True) if value}
    return ask("banner", BANNER, f"u{number}", Features({}, known), START + timedelta(seconds=number), arm="critic")


def chances(request: StrategyRequest) -> np.ndarray:
    """The true chance of a click, over the slots' values as the request allows them."""
    logits = np.full([len(slot.values) for slot in request.slots], BASE)
    for feature, value in request.features.categories.items():
        slot, worth = LIKED.get((feature, value), ("", {}))
        for axis, each in enumerate(request.slots):
            if each.name == slot:
                by_value = np.array([worth.get(v, 0.0) for v in each.values])
                logits = logits + by_value.reshape([-1 if i == axis else 1 for i in range(logits.ndim)])
    found: np.ndarray = 1.0 / (1.0 + np.exp(-logits))
    return found


def decided(request: StrategyRequest, critic: Critic, seed: int) -> Decided:
    """The critic's decision."""
    knobs = Knobs("none", "none", 1.0, 0.0)
    return decide([request], [ActionGrid.of(request)], critic, None, [np.random.default_rng(seed)], knobs)[0]


@cache
def learned() -> Critic:
    """A critic that has seen every case with every action, and of each the true share of clicks."""
    learner = CriticLearner(LearnerKnobs(half_life=1e9, refit_every=1000, beta=BETA, heads=2), FORMULA)
    prior = Critic.prior(1, 2, FORMULA)
    events: list[tuple[tuple[str, ...], tuple[int, ...], bool]] = []
    for number, case in enumerate(product(*SAID.values())):
        request = asked(case, number)
        share = chances(request)
        events += [
            (case, index, place < round(SHARES * float(share[index])))
            for index in np.ndindex(share.shape)
            for place in range(SHARES)
        ]
    np.random.default_rng(1).shuffle(events)
    for number, (case, index, clicked) in enumerate(events):
        request = asked(case, number)
        said = replace(decided(request, prior, 0), index=index, decision=ActionGrid.of(request).decision(index))
        outcomes = Outcomes("USD", shown=True, clicked=clicked)
        parts = FORMULA.of_outcomes(said.decision, request.kind, "final", outcomes)
        learner.learn(answered(request, said, outcomes, parts))
    learner.refit()
    return named(learner.snapshot(), 1)


Effects = dict[tuple[str, str], float]


def both(request: StrategyRequest, seed: int) -> tuple[Effects, Effects]:
    """Effects by the critic that learned, and the true ones of the same decision."""
    critic = learned()
    said, weights = decided(request, critic, seed), critic.weights["clicked"][0]
    found, true = (
        explain(request, said, values, weights).effects for values in (lambda r: critic.values(r)[0], chances)
    )
    return tuple({(each.feature, each.slot): each.effect_nats for each in of} for of in (found, true))  # type: ignore[return-value]  # two


def test_effects_of_a_learned_critic_are_the_worlds() -> None:
    """Over all customers: the same sign wherever it matters, sizes that go with the true ones, nothing for what means nothing."""
    pairs = []
    for number, case in enumerate(product(*SAID.values())):
        for seed in range(4):
            found, true = both(asked(case, number), seed)
            assert all(abs(nats) < MOST_IDLE_NATS for (feature, _), nats in found.items() if feature == IDLE)
            pairs += [(found.get(key, 0.0), true.get(key, 0.0)) for key in sorted({*found, *true})]
    ours, real = np.array(pairs).T
    matters = np.abs(real) > LEAST_NATS
    assert matters.sum() > 50
    assert (np.sign(ours[matters]) == np.sign(real[matters])).all()
    assert np.corrcoef(ours, real)[0, 1] > 0.93
    assert 0.7 < np.polyfit(real, ours, 1)[0] < 1.1  # shrunk, never blown up


def test_what_spoke_for_a_choice_is_named_first() -> None:
    """A new customer in the morning: the first effect on each slot is of the feature that speaks about it."""
    request = asked(("new", "morning", "weekend"), 1)
    for seed in range(8):
        found, true = both(request, seed)
        for slot, feature in (("picture", "lifecycle"), ("words", "daypart")):
            strongest = max((key for key in found if key[1] == slot), key=lambda key: abs(found[key]))
            assert strongest == (feature, slot)
            assert found[strongest] == pytest.approx(true[strongest], rel=0.5, abs=0.3)
