"""What a policy would have earned on traffic that others decided, from the logged propensities. Pure.

With w = p(logged action | policy) / logged propensity, r the reward, q(x, a) a model of the reward:

    IPS    mean of w r
    SNIPS  sum of w r / sum of w
    DM     mean of sum over a of p(a | x) q(x, a)
    DR     mean of sum over a of p(a | x) q(x, a) + w (r - q(x, a))

The q of a row must come from a fit that has not seen its customer, or what is estimated is what was memorised. Nothing is
clipped: a clipped weight is a bias that no interval shows. Instead it is said where the weights leave too little.

References:
    Dudik, Langford, Li (2011), Doubly robust policy evaluation and learning, ICML.
    Swaminathan, Joachims (2015), The self-normalized estimator for counterfactual learning, NeurIPS.
    Saito, Aihara, Matsutani, Narita (2021), Open Bandit Dataset and Pipeline, NeurIPS: the same estimators, by the same formulas.
    Kish (1965), Survey sampling, Wiley: the effective sample size.
"""

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from model.evaluation.estimates import Codes, Estimate, Floats, ratio

EFFECTIVE_WANTED = 100.0
"""Below this effective sample size an interval of weighted rewards is not to be relied on."""
LARGEST_SHARE = 0.1
"""A single row that has more of the weight than this carries the estimate."""
OWN = "critic"
HEAVY = 3.0
"""Standard errors that the mean weight may be from 1."""


class Traffic(NamedTuple):
    """Logged decisions under a policy, (n,) each.

    Args:
        ratio: the policy's probability of the logged action over the logged propensity.
        reward: of the logged action.
        predicted: q of the logged action; expected: q over what the policy would do.
        customers: codes, equal for one customer.
    """

    ratio: Floats
    reward: Floats
    predicted: Floats
    expected: Floats
    customers: Codes


class PolicyValue(Struct, frozen=True):
    """A policy's worth, units of reward per decision, each with its interval by customers.

    Args:
        logged: mean reward of the same rows, as they were decided.
        gain: dr less logged, paired.
        effective: sample size of the weights; `effective_share` of the rows.
        mean_ratio: 1 where propensities and support are right.
        unseen: whether the rewards are newer than everything that the policy has learned from.
        warnings: why the numbers are not to be relied on; empty when they are.
        reward_model: whose q `dm` and `dr` are by: the critic's own, or a response run's by its name.
    """

    policy: str
    rows: int
    customers: int
    logged: Estimate
    ips: Estimate
    snips: Estimate
    dm: Estimate
    dr: Estimate
    gain: Estimate
    effective: float
    effective_share: float
    mean_ratio: float
    largest_ratio: float
    unseen: bool | None
    warnings: tuple[str, ...]
    reward_model: str = OWN


def value_of(policy: str, traffic: Traffic, *, unseen: bool | None, reward_model: str = OWN) -> PolicyValue | None:
    """All estimates; None of no row, or where the policy would never have done what was done."""
    weights, rewards = traffic.ratio, traffic.reward
    if not len(weights) or not weights.sum() > 0.0:
        return None
    ones = np.ones(len(weights))
    robust = traffic.expected + weights * (rewards - traffic.predicted)
    logged = _mean(rewards, traffic.customers)
    effective = float(weights.sum()) ** 2 / float(weights @ weights)
    snips = ratio(weights * rewards, weights, traffic.customers)
    assert snips is not None
    return PolicyValue(
        policy=policy,
        rows=len(weights),
        customers=logged.customers,
        logged=logged,
        ips=_mean(weights * rewards, traffic.customers),
        snips=snips,
        dm=_mean(traffic.expected, traffic.customers),
        dr=_mean(robust, traffic.customers),
        gain=_mean(robust - rewards, traffic.customers),
        effective=effective,
        effective_share=effective / len(weights),
        mean_ratio=float(weights @ ones) / len(weights),
        largest_ratio=float(weights.max()),
        unseen=unseen,
        warnings=tuple(_warnings(weights, _mean(weights, traffic.customers), effective, unseen=unseen)),
        reward_model=reward_model,
    )


def _mean(values: Floats, customers: Codes) -> Estimate:
    found = ratio(values, np.ones(len(values)), customers)
    assert found is not None
    return found


def _warnings(weights: Floats, mean: Estimate, effective: float, *, unseen: bool | None) -> list[str]:
    found = []
    if effective < EFFECTIVE_WANTED:
        found.append(f"effective sample size {effective:.1f} of {len(weights)} rows, {EFFECTIVE_WANTED:g} wanted")
    if weights.max() > LARGEST_SHARE * weights.sum():
        found.append(f"one row has {weights.max() / weights.sum():.0%} of the weight")
    if mean.standard_error and abs(mean.value - 1.0) > HEAVY * mean.standard_error:
        found.append(f"the weights' mean is {mean.value:.3f}, 1 wanted: propensities or support are wrong")
    if unseen is None:
        found.append(
            "it is not known whether the policy has learned from these rewards; if so, the values are too high"
        )
    elif not unseen:
        found.append("the policy has learned from these rewards: the values are too high")
    return found
