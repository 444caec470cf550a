"""Two bases on strategies that neither has learned from: likelihood of what went well, worth as policies, and their texts."""

from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from model.critic import Critic
from model.evaluation.estimates import Codes, Estimate, Floats, proportion, ratio
from model.evaluation.off_policy import PolicyValue, Traffic, value_of
from model.evaluation.policies import ByModel
from model.formula import RewardFormula
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.message import finish
from model.policy import Knobs
from model.report import MOST_TOKENS
from model.strategy.lessons import log_likelihoods
from model.writing import write
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.rewards import Reward

SLICE = 32
"""Requests that a base reads at once."""
HEADS = 1
"""Of the critic that has no part in a base's own decisions: only its temperature is read."""


class Seen(Struct, frozen=True):
    """What one base makes of each held-out strategy, in order.

    Args:
        likelihood: log p of the logged decision at temperature 1, nats.
        chance: of the logged decision as the base would be served alone; expected: its decisions under the model of the reward.
        own: whether its message for the logged decision passes the checks: 1 or 0.
    """

    likelihood: list[float]
    chance: list[float]
    expected: list[float]
    own: list[float]


Progress = Callable[[int, int], None]
"""(done, of) → None."""


def seen_by(
    lm: LanguageModel, rewards: Sequence[Reward], values: Sequence[Floats], formula: RewardFormula, temperature: float, told: Progress
) -> Seen:  # fmt: skip
    """Judge held-out strategies by a base; every draw comes from the strategy or its place."""
    knobs = Knobs(lm.name, BASE_ALONE, temperature, 1.0)
    policy = ByModel(lm.name, lm, None, Critic.prior(0, HEADS, formula), knobs, fused=False)
    likelihood: list[float] = []
    chance: list[float] = []
    expected: list[float] = []
    own: list[float] = []
    for at in range(0, len(rewards), SLICE):
        part = rewards[at : at + SLICE]
        likelihood += log_likelihoods(lm, part).tolist()
        judged = policy.judge(part, values[at : at + SLICE])
        chance += judged.chance.tolist()
        expected += judged.expected.tolist()
        own += _own(lm, part, np.random.default_rng((at, len(rewards))))
        told(len(likelihood), len(rewards))
    return Seen(likelihood, chance, expected, own)


def _own(lm: LanguageModel, rewards: Sequence[Reward], rng: np.random.Generator) -> list[float]:
    requests, decisions = [reward.request for reward in rewards], [reward.decision for reward in rewards]
    raw = write(lm, requests, decisions, max_tokens=MOST_TOKENS, rng=rng)
    return [float(finish(*each)[0].source == "model") for each in zip(raw, requests, decisions, strict=True)]


class Held(Struct, frozen=True):
    """New and old base side by side, intervals by customers.

    Args:
        likelihood: `new`, `old`, `even` (every allowed action alike): weighted mean log-likelihood, nats per decision; `gain`: new less
            old, paired.
        strangers: the gain among customers of whom nothing was learned; None where there are none.
        value: `new` and `old` as policies; `value_gain`: new less old by DR, paired; None where a base would never do what was done.
        own_words: share of messages that pass the checks.
    """

    strategies: int
    customers: int
    likelihood: dict[str, Estimate]
    strangers: Estimate | None
    value: dict[str, PolicyValue | None]
    value_gain: Estimate | None
    own_words: dict[str, Estimate]


def side_by_side(
    rewards: Sequence[Reward], values: Sequence[Floats], weights: Floats, known: frozenset[str], new: Seen, old: Seen
) -> Held:
    """Join what two bases made of the same strategies; `known`: customers who were learned from."""
    _, codes = np.unique([reward.user_id for reward in rewards], return_inverse=True)
    customers = codes.astype(np.int64)
    even = -np.log([float(ActionGrid.of(reward.request).count) for reward in rewards])
    columns = {"new": np.array(new.likelihood), "old": np.array(old.likelihood), "even": even}
    columns["gain"] = columns["new"] - columns["old"]
    strange = np.array([reward.user_id not in known for reward in rewards])
    traffic = {name: _traffic(rewards, values, seen, customers) for name, seen in (("new", new), ("old", old))}
    worth = {name: value_of(name, each, unseen=True) for name, each in traffic.items()}
    return Held(
        strategies=len(rewards),
        customers=len(np.unique(codes)),
        likelihood={name: _sure(ratio(weights * column, weights, customers)) for name, column in columns.items()},
        strangers=ratio(weights * columns["gain"] * strange, weights * strange, customers) if strange.any() else None,
        value=worth,
        value_gain=None if None in worth.values() else _gain(traffic["new"], traffic["old"]),
        own_words={n: _sure(proportion(np.array(s.own), np.ones(len(s.own)), customers)) for n, s in (("new", new), ("old", old))},
    )  # fmt: skip


def _traffic(rewards: Sequence[Reward], values: Sequence[Floats], seen: Seen, customers: Codes) -> Traffic:
    predicted = [q[ActionGrid.of(r.request).index(r.decision)] for r, q in zip(rewards, values, strict=True)]
    return Traffic(
        ratio=np.array(seen.chance) / np.array([reward.propensity for reward in rewards], np.float64),
        reward=np.array([reward.reward for reward in rewards]),
        predicted=np.array(predicted),
        expected=np.array(seen.expected),
        customers=customers,
    )


def _gain(new: Traffic, old: Traffic) -> Estimate:
    mine, theirs = (each.expected + each.ratio * (each.reward - each.predicted) for each in (new, old))
    return _sure(ratio(mine - theirs, np.ones(len(mine)), new.customers))


def _sure(found: Estimate | None) -> Estimate:
    assert found is not None
    return found
