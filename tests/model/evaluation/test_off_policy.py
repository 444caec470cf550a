"""Off-policy values: the public formulas' numbers, intervals that hold the truth, warnings where the weights leave too little."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from msgspec import structs

from model.critic import Critic
from model.evaluation.estimates import Floats
from model.evaluation.off_policy import Traffic, value_of
from model.evaluation.policies import ByChance, ByCritic, valuable
from model.evaluation.reward_model import cross_fitted
from model.grid import ActionGrid
from streaming.reward import Formula
from tests.model.closed import simulation
from tests.model.evaluation.samples import Log, logged


def bandit_log(rounds: int = 500, actions: int = 7) -> dict[str, npt.NDArray[Any]]:
    """A log in the layout of the Open Bandit Pipeline, from a seed."""
    rng = np.random.default_rng(5)
    logging = rng.dirichlet(np.ones(actions), rounds)
    target = rng.dirichlet(np.ones(actions), rounds)
    action = np.array([rng.choice(actions, p=p) for p in logging])
    return {
        "action": action,
        "reward": rng.normal(action / actions, 1.0),
        "pscore": logging[np.arange(rounds), action],
        "action_dist": target,
        "estimated": rng.random((rounds, actions)),
        "customers": rng.integers(0, 90, rounds),
    }


def test_agrees_with_the_public_formulas_within_1e_6() -> None:
    """IPS, SNIPS, DM and DR of one log equal the estimators' definitions, written out here row by row.

    The definitions are those of Saito et al. (2021), by which the Open Bandit Pipeline computes. Its package is not among our pins: the
    versions that fit current NumPy want pandas and seaborn beside, for these few sums.
    """
    log = bandit_log()
    place = np.arange(len(log["action"]))
    w = log["action_dist"][place, log["action"]] / log["pscore"]
    sums = {"ips": 0.0, "weights": 0.0, "dm": 0.0, "dr": 0.0}
    for i in place:
        model = sum(log["action_dist"][i, a] * log["estimated"][i, a] for a in range(7))
        sums["ips"] += w[i] * log["reward"][i]
        sums["weights"] += w[i]
        sums["dm"] += model
        sums["dr"] += model + w[i] * (log["reward"][i] - log["estimated"][i, log["action"][i]])
    traffic = Traffic(
        ratio=w,
        reward=log["reward"],
        predicted=log["estimated"][place, log["action"]],
        expected=(log["action_dist"] * log["estimated"]).sum(1),
        customers=log["customers"],
    )
    found = value_of("target", traffic, unseen=True)
    assert found is not None
    assert found.ips.value == pytest.approx(sums["ips"] / len(place), abs=1e-6)
    assert found.snips.value == pytest.approx(sums["ips"] / sums["weights"], abs=1e-6)
    assert found.dm.value == pytest.approx(sums["dm"] / len(place), abs=1e-6)
    assert found.dr.value == pytest.approx(sums["dr"] / len(place), abs=1e-6)
    assert found.effective == pytest.approx(sum(w) ** 2 / sum(w * w))


def contacted(log: Log) -> Log:
    """The part that was decided by anybody."""
    kept = [each for each in zip(*log, strict=True) if valuable(each[0])]
    return Log(*(tuple(column) for column in zip(*kept, strict=True)))


def traffic_of(log: Log, chances: list[float], expected: list[float], models: list[Floats]) -> Traffic:
    """Ratios and a reward model's numbers, as the command makes them."""
    _, codes = np.unique([r.user_id for r in log.rewards], return_inverse=True)
    return Traffic(
        ratio=np.array(chances) / np.array([r.propensity for r in log.rewards], np.float64),
        reward=np.array([r.reward for r in log.rewards]),
        predicted=np.array(
            [q[ActionGrid.of(r.request).index(r.decision)] for r, q in zip(log.rewards, models, strict=True)]
        ),
        expected=np.array(expected),
        customers=codes,
    )


@pytest.mark.slow
def test_policies_are_valued_at_their_true_worth() -> None:
    """On one log of two arms: DR intervals of chance and of the better policy hold their true expected rewards."""
    log = contacted(logged(3000))
    models = cross_fitted(log.rewards, simulation(1).formula)
    chance = ByChance().judge(log.rewards, models)
    own = [float(p[ActionGrid.of(r.request).index(r.decision)]) for r, p in zip(log.rewards, log.better, strict=True)]
    expected = [float((p * q).sum()) for p, q in zip(log.better, models, strict=True)]
    values = {
        "random": value_of("random", traffic_of(log, list(chance.chance), list(chance.expected), models), unseen=True),
        "critic": value_of("critic", traffic_of(log, own, expected, models), unseen=True),
    }
    for arm, value in values.items():
        assert value is not None
        assert value.dr.low is not None
        assert value.dr.high is not None
        assert value.dr.low <= log.truth(arm) <= value.dr.high, arm
        assert value.mean_ratio == pytest.approx(1.0, abs=0.2)
    better = values["critic"]
    assert better is not None
    assert better.warnings == ()
    assert better.gain.low is not None
    assert better.gain.low > 0.0  # it would have earned more than the mixture that was logged


def test_a_critic_snapshot_is_valued_by_serving_s_own_probabilities() -> None:
    """What a critic decided, valued as that critic: every ratio is 1, and the value is the mean reward."""
    from model.policy import Knobs, decide

    log = contacted(logged(200))
    critic = Critic.prior(3, 4, Formula())
    requests = [structs.replace(r.request, arm="critic") for r in log.rewards]
    grids = [ActionGrid.of(request) for request in requests]
    rngs = [np.random.default_rng(n) for n in range(len(requests))]
    decided = decide(requests, grids, critic, None, rngs, Knobs("base", "none", 0.4, 0.0))
    rewards = [
        structs.replace(r, decision=d.decision, propensity=d.propensity)
        for r, d in zip(log.rewards, decided, strict=True)
    ]
    models = [np.zeros(grid.shape) for grid in grids]
    judged = ByCritic(critic.version, critic).judge(rewards, models)
    assert judged.chance == pytest.approx([r.propensity for r in rewards], rel=1e-9)
    assert judged.expected == pytest.approx(np.zeros(len(rewards)))


def test_says_where_it_is_not_to_be_relied_on() -> None:
    """Heavy weights, wrong propensities and rewards that the policy has learned from are named; no weight gives no value."""
    n = 400
    zeros, codes = np.zeros(n), np.arange(n)
    heavy = np.full(n, 0.01)
    heavy[0] = 300.0
    found = value_of("p", Traffic(heavy, np.ones(n), zeros, zeros, codes), unseen=False)
    assert found is not None
    assert found.effective < 2
    said = "; ".join(found.warnings)
    assert "effective sample size 1.0" in said
    assert "one row has 99% of the weight" in said
    assert "has learned from these rewards" in said
    doubled = value_of(
        "p", Traffic(np.asarray(2 + 0.01 * codes % 1, np.float64), np.ones(n), zeros, zeros, codes), unseen=None
    )
    assert doubled is not None
    assert any("propensities or support are wrong" in each for each in doubled.warnings)
    assert value_of("p", Traffic(zeros, zeros, zeros, zeros, codes), unseen=True) is None
    empty = np.zeros(0)
    assert value_of("p", Traffic(empty, empty, empty, empty, empty.astype(np.int64)), unseen=True) is None
