"""What the gate measures by: completed rewards, how many were final, and served decisions that could not be recomputed."""

import numpy as np
import pytest
from msgspec import structs

from model.completed import completed
from model.critic import Critic
from model.fresh import random_lm
from model.gate import GateKnobs, judge_adapter
from model.gate_evidence import Contender, joined, measure, newest_known
from model.grid import ActionGrid
from model.memory import Replayed
from model.policy import Knobs
from streaming.reward import Formula
from tests.model.closed import RANDOM
from tests.model.sample import request_of


def logged(number: int, *, clicked: bool, rank: int) -> Replayed:
    """A uniform decision that was shown."""
    request = request_of(number, candidates=3)
    grid = ActionGrid.of(request)
    flat = np.random.default_rng(number).choice(np.flatnonzero(grid.allowed))
    decision = grid.decision(tuple(int(axis) for axis in np.unravel_index(flat, grid.shape)))
    return Replayed(
        f"s{number}", number, request, decision, RANDOM, 1.0 / grid.count, 0.05 * clicked, rank, shown=True, clicked=clicked
    )  # fmt: skip


def test_every_estimate_is_of_completed_rewards_and_finals_are_counted() -> None:
    """IPS and SNIPS by hand from completed rewards; two of four decisions are final; numbers say so."""
    critic, lm = Critic.prior(1, 2, Formula()), random_lm(2, width=32, layers=2)
    newer = [logged(n, clicked=n % 2 == 0, rank=1 + (n > 1)) for n in range(4)]
    who = Contender(lm, None, Knobs("base", "x", 0.4, 0.5))
    evidence = joined([measure(lm, who, who, critic, newer[:3], []), measure(lm, who, who, critic, newer[3:], [])], ())
    rewards = [completed(item, critic) for item in newer]
    assert rewards[0] > 0.2  # a click, and the order that may follow
    assert rewards[2:] == [0.05, 0.0]
    assert evidence.candidate.rewards == evidence.champion.rewards == tuple(rewards)
    assert evidence.finals == 2
    numbers = judge_adapter(evidence, GateKnobs()).numbers
    assert (numbers["value_rows"], numbers["final_decisions"]) == (4.0, 2.0)
    assert numbers["candidate_ips"] == pytest.approx(np.mean(np.multiply(evidence.candidate.ratios, rewards)))


def test_the_value_says_how_many_of_its_decisions_were_final() -> None:
    """In its check too, which an operator reads."""
    critic, lm = Critic.prior(1, 2, Formula()), random_lm(2, width=32, layers=2)
    newer = [logged(n, clicked=False, rank=1 + (n > 2)) for n in range(4)]
    who = Contender(lm, None, Knobs("base", "x", 0.4, 0.5))
    knobs = GateKnobs(min_value_rows=4, min_effective=0.0)
    checks = judge_adapter(measure(lm, who, who, critic, newer, []), knobs).checks
    said = next(check.detail for check in checks if check.name == "value")
    assert "on 4 newer rewards, 1 of them final" in said


def test_decisions_of_versions_that_are_gone_are_counted() -> None:
    """Until enough are found, newest first; those of the random arm are neither."""
    served = structs.replace(RANDOM, acting_arm="fused")
    gone = structs.replace(served, adapter="adapter-gone")
    policies = [served, gone, RANDOM, gone, served, gone]
    items = [logged(n, clicked=False, rank=1)._replace(policy=policy) for n, policy in enumerate(policies)]
    found, missed = newest_known(items, lambda record: record.adapter == "base", 2)
    assert [item.number for item in found] == [0, 4]
    assert missed == 2
    assert newest_known(items, lambda record: record.adapter == "base", 3)[1] == 3
    evidence = joined([], (0.0,), missed)
    assert judge_adapter(evidence, GateKnobs()).numbers["parity_left_out"] == 2.0
