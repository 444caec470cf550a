"""Every field of a customer's profile that acts through features moves what is decided: alone with the LM, alone with a critic."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from msgspec import structs

from model.critic import Critic
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Knobs, record_of, walk_of
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.streaming.profile_pairs import FEATURES, requests_of

Probabilities = npt.NDArray[np.float64]
READ = 1e-3
"""Least change of a value's probability: a thousand times what rounding does."""


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """The base that ships."""
    return LanguageModel.load("", "cpu")


def by_lm(lm: LanguageModel, *requests: StrategyRequest) -> list[Probabilities]:
    """Per request every slot's probabilities, the first allowed action being chosen slot by slot."""
    decisions = [ActionGrid.of(request).decision(first_allowed(request)) for request in requests]
    with torch.no_grad():
        rows = lm.slot_log_probs(lm.encode(requests), requests, decisions)
    return [np.concatenate([slot.double().exp().numpy() for slot in row]) for row in rows]


def by_critic(critic: Critic, *requests: StrategyRequest) -> list[Probabilities]:
    """The same of the arm that the critic serves alone: the marginal over its heads."""
    found = []
    for request in requests:
        asked, grid = structs.replace(request, arm="critic"), ActionGrid.of(request)
        walk = walk_of(asked, grid, record_of(asked, grid, critic, Knobs("b", "base", 0.4, 0.0), late=False), critic)
        slots = []
        for chosen in first_allowed(request):
            slots.append(walk.distribution(None).marginal)
            walk.choose(chosen)
        found.append(np.concatenate(slots))
    return found


def first_allowed(request: StrategyRequest) -> tuple[int, ...]:
    """The first action that rules allow, the same for both customers of a pair."""
    return tuple(int(place) for place in np.argwhere(ActionGrid.of(request).allowed)[0])


def moved(probabilities: Callable[..., list[Probabilities]], decider: object, path: str) -> float:
    """Largest change of a probability between the two customers of a pair."""
    one, other = probabilities(decider, *requests_of(FEATURES[path]))
    return float(np.abs(one - other).max())


@pytest.mark.parametrize("path", FEATURES)
def test_the_language_model_reads_the_field(lm: LanguageModel, path: str) -> None:
    """Without any adapter the base that ships decides otherwise for a customer who differs in this field alone."""
    assert moved(by_lm, lm, path) > READ


@pytest.mark.parametrize("path", FEATURES)
def test_the_critic_reads_the_field(path: str) -> None:
    """Drawn posterior heads, no weight of them zero, decide otherwise for a customer who differs in this field alone."""
    critic = Critic.prior(1, 8, Formula(), beta=0.05)
    assert moved(by_critic, critic, path) > READ
