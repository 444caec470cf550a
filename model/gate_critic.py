"""Measures a critic snapshot beside its predecessor on the last closed rewards. Pure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.critic import OUTCOMES, Critic, check_intact, prior_logit
from model.gate import GateKnobs, Judgement, judge, judge_critic
from model.memory import Example
from model.newton import log_loss
from streaming.contracts.errors import BadEvent
from streaming.contracts.strategies import Check, StrategyRequest

Floats = npt.NDArray[np.float64]

REWARD_SCALE = 0.05
"""Least scale of a step, units of reward: values that hardly differ yet make no step large."""
SHORTENED = 0.5
"""Of the cap: values are not linear in the weights, so a shortened step keeps clear of it."""


def examine_critic(
    candidate: Critic,
    predecessor: Critic,
    examples: Sequence[Example],
    requests: Sequence[StrategyRequest],
    knobs: GateKnobs,
) -> Judgement:
    """The small gate: finite, loss and calibration near the predecessor's, a bounded step.

    Args:
        examples: the last closed rewards.
        requests: a few of the last requests, to see how far the values moved.
    """
    try:
        check_intact(candidate)
    except BadEvent as error:
        return judge([Check("finite", passed=False, detail=str(error))])
    losses: dict[str, tuple[Floats, Floats]] = {}
    biases: dict[str, float] = {}
    for position, spec in enumerate(OUTCOMES):
        known = [example for example in examples if not math.isnan(example.labels[position])]
        labels = np.array([example.labels[position] for example in known])
        ours, theirs = (
            np.array([_logit(critic, spec.name, position, example) for example in known])
            for critic in (candidate, predecessor)
        )
        losses[spec.name] = (log_loss(ours, labels), log_loss(theirs, labels))
        biases[spec.name] = float(np.mean(1.0 / (1.0 + np.exp(-ours)) - labels)) if known else 0.0
    return judge_critic(losses, biases, _step(candidate, predecessor, requests), knobs)


def bounded(
    candidate: Critic, predecessor: Critic, requests: Sequence[StrategyRequest], cap: float
) -> tuple[Critic, float]:
    """The candidate, or as much of the way to it as the cap on a step allows.

    Refusing a large step would refuse the next one too, which is larger still; a shorter one gets there.

    Args:
        cap: in the unit of `_step`.

    Returns:
        The critic to judge, unnamed when it was shortened, and the share of the way taken, in (0, 1].
    """
    step = _step(candidate, predecessor, requests)
    if step <= cap or not math.isfinite(step):
        return candidate, 1.0
    share = SHORTENED * cap / step
    weights = {
        name: (old + np.float32(share) * (candidate.weights[name] - old)) for name, old in predecessor.weights.items()
    }
    return Critic("", weights, candidate.facts, candidate.formula), share


def recent_losses(critic: Critic, examples: Sequence[Example]) -> Mapping[str, float]:
    """Outcome → mean log loss, nats, on examples where the outcome is known."""
    found = {}
    for position, spec in enumerate(OUTCOMES):
        known = [example for example in examples if not math.isnan(example.labels[position])]
        if known:
            logits = np.array([_logit(critic, spec.name, position, example) for example in known])
            found[spec.name] = float(np.mean(log_loss(logits, np.array([e.labels[position] for e in known]))))
    return found


def _logit(critic: Critic, outcome: str, position: int, example: Example) -> float:
    spec = OUTCOMES[position]
    indices, data = example.row.part(spec)
    return float(data.astype(np.float64) @ critic.weights[outcome][0][indices]) + prior_logit(spec)


def _step(candidate: Critic, predecessor: Critic, requests: Sequence[StrategyRequest]) -> float:
    """Largest over requests of the mean change of an action's value, in standard deviations of the values."""
    largest = 0.0
    for request in requests:
        new, old = candidate.mean.values(request)[0], predecessor.mean.values(request)[0]
        scale = max(float(np.std(old)), REWARD_SCALE)
        largest = max(largest, float(np.mean(np.abs(new - old))) / scale)
    return largest
