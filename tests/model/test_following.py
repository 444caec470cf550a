"""What a language model's own choices are worth to its critic: all when it says what the critic says, nothing when it says nothing."""

import numpy as np
import pytest

from model.decode import Mix, Walk
from model.following import Floats, Share, gains
from model.grid import ActionGrid
from streaming.contracts.strategies import StrategyRequest
from tests.model.sample import request_of

TEMPERATURE, BETA = 0.4, 0.05


def along(request: StrategyRequest, index: tuple[int, ...], values: Floats) -> list[Floats]:
    """What a model says that is the critic exactly, once served at `TEMPERATURE`: log-probabilities per slot, at temperature 1."""
    walk = Walk(ActionGrid.of(request), values[1:], Mix(0.0, TEMPERATURE, 1.0, BETA))
    found = []
    for chosen in index:
        marginal = walk.distribution(None).marginal
        found.append(TEMPERATURE * np.log(np.maximum(marginal, 1e-300)))
        walk.choose(chosen)
    return found


@pytest.fixture(params=[3, 4, 5])
def case(request: pytest.FixtureRequest) -> tuple[StrategyRequest, ActionGrid, tuple[int, ...], Floats]:
    """A request with its grid, a logged action, and a critic of four heads (the first row is its mean)."""
    asked = request_of(request.param)
    grid, rng = ActionGrid.of(asked), np.random.default_rng(request.param)
    heads = rng.normal(0.0, 0.1, (4, *grid.shape))
    values = np.concatenate([heads.mean(0, keepdims=True), heads])
    index = tuple(int(place) for place in np.argwhere(grid.allowed)[rng.integers(grid.count)])
    return asked, grid, index, values


def test_a_copy_gains_what_its_critic_gains(case: tuple[StrategyRequest, ActionGrid, tuple[int, ...], Floats]) -> None:
    """To rounding, where nothing is renormalised; and both gain something."""
    asked, grid, index, values = case
    own, critics = gains(values, grid, grid.decision(index), along(asked, index, values), (TEMPERATURE, BETA))
    assert critics > 0.0
    assert own == pytest.approx(critics, rel=1e-9)


def test_a_model_without_an_opinion_gains_nothing_and_a_contrary_one_loses(
    case: tuple[StrategyRequest, ActionGrid, tuple[int, ...], Floats],
) -> None:
    """Gain is counted from the uniform choice."""
    asked, grid, index, values = case
    copy = along(asked, index, values)
    silent, contrary = [np.zeros_like(slot) for slot in copy], [-slot for slot in copy]
    decision = grid.decision(index)
    assert gains(values, grid, decision, silent, (TEMPERATURE, BETA))[0] == pytest.approx(0.0, abs=1e-12)
    assert gains(values, grid, decision, contrary, (TEMPERATURE, BETA))[0] < 0.0


def test_a_share_is_earned_by_the_last_candidates_and_lost_again() -> None:
    """None up to .8 of the critic's gain, half way at .9, all at 1 and beyond; what another life earned holds until one is measured."""
    share = Share(0.5, 0.8)
    assert share.now(0.3) == 0.3
    share.saw(0.7)
    assert share.now(0.3) == 0.0
    for _ in range(8):
        share.saw(0.9)
    assert share.now(0.3) == pytest.approx(0.25)
    for _ in range(8):
        share.saw(1.2)
    assert share.now(0.3) == 0.5
    for _ in range(8):
        share.saw(-0.5)
    assert share.now(0.3) == 0.0
