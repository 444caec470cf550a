"""A log's parts know nothing of each other's time; outcomes weigh as the formula says."""

import msgspec
import numpy as np
import pytest

from model.data.errors import Refused
from model.evaluation.policies import valuable
from model.evaluation.reward_model import cross_fitted
from model.grid import ActionGrid
from model.strategy.log import split
from model.strategy.weights import Weighing, advantages
from streaming.contracts.rewards import Reward
from streaming.reward import Formula
from tests.model.evaluation.samples import logged


def closed(count: int = 300) -> list[Reward]:
    """Contacted strategies of the simulated shop."""
    return [reward for reward in logged(count).rewards if valuable(reward)]


def test_all_that_is_learned_from_had_closed_before_anything_judged_was_issued() -> None:
    """Parts are disjoint and leave nothing out but what straddles the cut; late closings straddle."""
    rewards = closed()
    late = [msgspec.structs.replace(reward, closed_at=rewards[-1].closed_at) for reward in rewards[:30]]
    parts = split([*late, *rewards[30:]], 10_000)
    known = [*parts.train, *parts.valid]
    assert max(reward.closed_at for reward in known) <= min(reward.issued_at for reward in parts.judged)
    assert parts.train[-1].closed_at <= parts.valid[0].closed_at
    assert parts.straddling == 30
    assert len(known) + len(parts.judged) + parts.straddling == len(rewards)
    ids = {reward.strategy_id for reward in (*known, *parts.judged)}
    assert len(ids) == len(known) + len(parts.judged)
    assert [r.strategy_id for r in split(rewards, 25).judged] == [r.strategy_id for r in split(rewards, 10_000).judged][-25:]  # fmt: skip


def test_too_short_a_log_is_refused() -> None:
    """In one line, with the numbers that there are."""
    with pytest.raises(Refused, match="no closed strategy"):
        split([], 100)
    with pytest.raises(Refused, match=r"too few closed strategies: .* at least 40 and 20 wanted"):
        split(closed(60), 100)


def test_weights_are_those_of_the_formula() -> None:
    """Row by row, written out here; what is learned from weighs 1 on average, and more where more was brought than is usual."""
    rewards = closed()
    values = cross_fitted(rewards, Formula())
    fitted = Weighing(0.5, 20.0, 4.0).fitted(rewards, values)
    found = fitted.weights(rewards, values)
    kinds = np.array([reward.kind for reward in rewards])
    gains = np.array([r.reward - q[ActionGrid.of(r.request).allowed].mean() for r, q in zip(rewards, values, strict=True)])  # fmt: skip
    plain = []
    for reward, gain in zip(rewards, gains, strict=True):
        spread = gains[kinds == reward.kind].std()
        assert reward.propensity is not None
        even = 1.0 / ActionGrid.of(reward.request).count / reward.propensity
        plain.append(min(np.exp(gain / (0.5 * spread)), 20.0) * min(even, 4.0))
    assert found == pytest.approx(np.array(plain) / np.mean(plain))
    assert found.mean() == pytest.approx(1.0)
    alone = Weighing(0.5, 20.0, 0.0).fitted(rewards, values).weights(rewards, values)
    order = np.argsort(gains[kinds == "recommendation"])
    assert np.all(np.diff(alone[kinds == "recommendation"][order]) >= 0.0)
    assert advantages(rewards, values) == pytest.approx(gains)


def test_outcomes_that_were_all_alike_count_as_one() -> None:
    """Where nothing differs there is nothing to weigh by, and a kind that was never learned from has no spread."""
    alike = [msgspec.structs.replace(reward, reward=0.0) for reward in closed(100)]
    nothing = [np.zeros(ActionGrid.of(reward.request).shape) for reward in alike]
    fitted = Weighing(1.0, 20.0, 0.0).fitted(alike[:1], nothing[:1])
    assert fitted.weights(alike, nothing) == pytest.approx(np.ones(len(alike)))
