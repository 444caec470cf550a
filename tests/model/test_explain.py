"""Explanations: effects are measured, alternatives are probabilities, removals are repeated."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from model.critic import Critic
from model.critic_features import DIMENSIONS, encode
from model.explain import LEAST_NATS, MAX_ALTERNATIVES, MAX_EFFECTS, MAX_MEASURED, explain
from model.grid import ActionGrid
from model.policy import Decided, Knobs, decide
from streaming.contracts.kinds import KIND_NAMES, Arm, Kind
from streaming.contracts.strategies import Removed, StrategyRequest
from streaming.reward import Formula
from tests.model.sample import request_of

BETA = 0.005


class Tasteful(msgspec.Struct, frozen=True):
    """A critic with a formula one can do by head: a candidate is worth its `viewed` relation, e-mail the lifecycle."""

    heads: int = 2
    beta: float = BETA
    version: str = "critic-000001-tasteful"

    def values(self, request: StrategyRequest, grid: ActionGrid | None = None) -> np.ndarray:
        """(1 + heads, *shape): 0.01 for a viewed candidate, 0.02 for e-mail to a dormant customer."""
        del grid
        names = [slot.name for slot in request.slots]
        total = np.zeros([len(slot.values) for slot in request.slots])
        viewed = {candidate.id: candidate.relation.get("viewed", 0.0) for candidate in request.candidates}
        first = np.array([0.01 * viewed[value] for value in request.slots[0].values])
        total += first.reshape(-1, *[1] * (total.ndim - 1))
        if "channel" in names and request.features.categories.get("lifecycle") == "dormant":
            axis = names.index("channel")
            mail = np.array([0.02 * (value == "email") for value in request.slots[axis].values])
            total += mail.reshape([-1 if i == axis else 1 for i in range(total.ndim)])
        return np.broadcast_to(total, (1 + self.heads, *total.shape))


NO_WEIGHTS = np.zeros(DIMENSIONS)


def mean(request: StrategyRequest) -> np.ndarray:
    """What is measured."""
    valued: np.ndarray = Tasteful().values(request)[0]
    return valued


def dormant(arm: Arm = "critic", kind: Kind = "recommendation") -> StrategyRequest:
    """A dormant customer who has viewed the first candidate only."""
    request = request_of(4, kind=kind, candidates=3, arm=arm)
    candidates = tuple(
        msgspec.structs.replace(candidate, relation={**candidate.relation, "viewed": float(place == 0)})
        for place, candidate in enumerate(request.candidates)
    )
    features = msgspec.structs.replace(request.features, categories={"lifecycle": "dormant"})
    return msgspec.structs.replace(request, candidates=candidates, features=features)


def decided(request: StrategyRequest, seed: int = 0) -> Decided:
    """One decision of the critic, the language model being silent."""
    knobs = Knobs("small", "base", 0.4, 0.0)
    rng = np.random.default_rng(seed)
    return decide([request], [ActionGrid.of(request)], Tasteful(), Uniform(request), [rng], knobs)[0]


class Uniform:
    """A language model without opinion."""

    def __init__(self, request: StrategyRequest) -> None:
        """Begin at the first slot."""
        self._sizes = [len(slot.values) for slot in request.slots]
        self._slot = 0

    def log_probs(self) -> list[np.ndarray]:
        """Equal."""
        return [np.full(self._sizes[self._slot], -np.log(self._sizes[self._slot]))]

    def choose(self, indices: Sequence[int]) -> None:
        """Move on."""
        del indices
        self._slot += 1


def first_choice(request: StrategyRequest) -> Decided:
    """A decision for the viewed product by e-mail, found by trying seeds."""
    for seed in range(200):
        one = decided(request, seed)
        if one.decision["product"] == request.candidates[0].id and one.decision["channel"] == "email":
            return one
    raise AssertionError("never chosen")


def test_an_effect_is_the_change_of_log_p_when_the_feature_is_gone() -> None:
    """By hand: with `viewed` log p(product) = -log(1 + exp(-0.01 / 0.005)), without it -log 2; e-mail likewise."""
    request = dormant()
    effects = {
        (effect.feature, effect.slot): effect.effect_nats
        for effect in explain(request, first_choice(request), mean, NO_WEIGHTS).effects
    }
    assert effects[("relation:viewed", "product")] == pytest.approx(np.log(2) - np.log1p(np.exp(-2.0)), abs=1e-4)
    assert effects[("lifecycle", "channel")] == pytest.approx(np.log(2) - np.log1p(np.exp(-4.0)), abs=1e-4)
    assert len(effects) == 2  # nothing else moves this critic


def test_strongest_effects_come_first_and_are_few() -> None:
    """Ordered by size, bounded, none below the least worth saying."""
    request = dormant()
    effects = explain(request, first_choice(request), mean, NO_WEIGHTS).effects
    sizes = [abs(effect.effect_nats) for effect in effects]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) <= MAX_EFFECTS
    assert min(sizes) >= LEAST_NATS


def test_valuations_are_bounded_and_small() -> None:
    """However many features a customer has, the critic is asked a bounded number of times about a few actions."""
    request = dormant()
    numbers = {f"number_{n}": float(n) for n in range(100)}
    request = msgspec.structs.replace(request, features=msgspec.structs.replace(request.features, numbers=numbers))
    asked: list[int] = []

    def values(variant: StrategyRequest) -> np.ndarray:
        found = mean(variant)
        asked.append(found.size)
        return found

    explain(request, first_choice(request), values, NO_WEIGHTS)
    assert len(asked) <= MAX_MEASURED + 1
    assert max(asked) <= 2 ** len(request.slots)


@pytest.mark.parametrize("arm", ["lm", "random"])
def test_no_effect_is_claimed_where_the_critic_did_not_decide(arm: Arm) -> None:
    """The random arm has no reasons, and the critic's are not the language model's."""
    request = dormant(arm)
    assert explain(request, decided(request), mean, NO_WEIGHTS).effects == ()


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_alternatives_are_possible_values_with_their_probabilities(kind: Kind) -> None:
    """Most probable first, never the chosen one, never what was impossible, and with it at most one."""
    request = dormant(kind=kind)
    one = decided(request)
    found = explain(request, one, mean, NO_WEIGHTS).alternatives
    for slot, distribution in zip(request.slots, one.slots, strict=True):
        named = [each for each in found if each.slot == slot.name]
        assert len(named) <= MAX_ALTERNATIVES
        assert one.decision[slot.name] not in {each.value for each in named}
        assert [each.probability for each in named] == sorted((each.probability for each in named), reverse=True)
        for each in named:
            assert each.probability == pytest.approx(distribution.marginal[slot.values.index(each.value)])
            assert each.probability > 0
        assert sum(each.probability for each in named) + one.slot_propensities[slot.name] <= 1 + 1e-9


def test_what_rules_removed_is_repeated() -> None:
    """The reader sees what could not be said, and why."""
    removed = (Removed("channel", "sms", "no_consent"),)
    request = msgspec.structs.replace(dormant(), removed=removed)
    assert explain(request, decided(request), mean, NO_WEIGHTS).removed == removed


def test_what_the_critic_weighs_most_is_what_is_measured() -> None:
    """Of a hundred numbers the critic cares for one: its removal is measured, whichever it is."""
    request = dormant()
    numbers = {f"number_{n}": float(n) for n in range(100)}
    request = msgspec.structs.replace(request, features=msgspec.structs.replace(request.features, numbers=numbers))
    one = first_choice(request)
    for wanted in ("number_3", "number_77"):
        weights = _weights_for(request, one, wanted)
        seen: list[set[str]] = []

        def values(variant: StrategyRequest, seen: list[set[str]] = seen) -> np.ndarray:
            seen.append(set(numbers) - set(variant.features.numbers))
            return mean(variant)

        explain(request, one, values, weights)
        assert {wanted} in seen


def _weights_for(request: StrategyRequest, one: Decided, number: str) -> np.ndarray:
    """Weight on the crosses of one number alone: where the encodings with and without it differ."""
    without = {name: value for name, value in request.features.numbers.items() if name != number}
    features = msgspec.structs.replace(request.features, numbers=without)
    full, less = (
        set(encode(r, one.decision).indices.tolist())
        for r in (request, msgspec.structs.replace(request, features=features))
    )
    weights = np.zeros(DIMENSIONS)
    weights[sorted(full - less)] = 5.0
    return weights


def test_a_real_critic_is_explained() -> None:
    """With a critic of the product (its first head as the mean) effects are found and named after real features."""
    request = dormant("critic", "promotion")
    critic = Critic.prior(3, 2, Formula())
    knobs = Knobs("small", "base", 0.4, 0.0)
    one = decide([request], [ActionGrid.of(request)], critic, None, [np.random.default_rng(1)], knobs)[0]
    effects = explain(request, one, lambda r: critic.values(r)[1], critic.weights["clicked"][1]).effects
    assert effects
    assert {effect.slot for effect in effects} <= set(one.decision)
