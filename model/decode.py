"""A slot's distribution given the slots before it: the one formula of sampler, log and trainer. Pure.

For head k, slot s and prefix (the values chosen before s),

    p_k(v | prefix) = softmax over possible v of
                      lm_weight * log p_LM(v | prefix) / temperature + critic_weight * log pi_k(v | prefix)

where pi_k is the conditional of softmax(Q_k / beta) over all allowed actions, i.e. a log-sum-exp over the
completions of (prefix, v). Everything stays in log space: beta is small, and Q / beta spans thousands of nats.
"""

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from model.grid import ActionGrid

Floats = npt.NDArray[np.float64]


class Mix(Struct, frozen=True):
    """How language model and critic share a decision.

    Args:
        temperature: of the language model's log-probabilities.
        beta: of the critic's softmax, units of reward.
    """

    lm_weight: float
    temperature: float
    critic_weight: float
    beta: float


class SlotDistribution(Struct, frozen=True):
    """One slot given its prefix.

    Args:
        per_head: (heads, values) log-probabilities, -inf where nothing allowed can follow.
        marginal: (values,) probabilities, heads weighted by how well they explain the prefix.
    """

    per_head: Floats
    marginal: Floats


def log_sum_exp(scores: Floats, axis: int) -> Floats:
    """Log of the sum of exp along `axis`; -inf where all terms are."""
    if scores.shape[axis] == 1:
        return scores.squeeze(axis)
    peak = scores.max(axis=axis, keepdims=True)
    if np.isfinite(peak).all():
        return np.asarray(np.log(np.exp(scores - peak).sum(axis=axis)) + peak.squeeze(axis))
    safe = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(scores - safe).sum(axis=axis))
    return np.asarray(total + safe.squeeze(axis))


def log_softmax(scores: Floats) -> Floats:
    """Along the last axis; -inf stays -inf."""
    return scores - log_sum_exp(scores, -1)[..., None]


def action_scores(values: Floats, grid: ActionGrid, beta: float) -> Floats:
    """Q / beta, and -inf for what is not allowed.

    Args:
        values: (heads, *grid.shape), units of reward.
        grid: the allowed actions.
        beta: units of reward.

    Raises:
        ValueError: when shapes differ or an allowed action has no finite value.
    """
    if values.shape[1:] != grid.shape:
        message = f"values of shape {values.shape[1:]} for a grid of {grid.shape}"
        raise ValueError(message)
    scores = np.where(grid.allowed, np.asarray(values, np.float64) / beta, -np.inf)
    if np.count_nonzero(np.isfinite(scores)) != grid.count * len(values):
        raise ValueError("the critic's value of an allowed action is not finite")
    return scores


def critic_log_probs(scores: Floats, prefix: tuple[int, ...]) -> Floats:
    """Log pi_k(v | prefix), exact: (heads, values of the slot after the prefix)."""
    rest = scores
    for chosen in prefix:
        rest = rest[:, chosen]
    return log_softmax(log_sum_exp(rest.reshape(*rest.shape[:2], -1), -1))


def slot_log_probs(critic: Floats, lm: npt.NDArray[np.floating] | None, mix: Mix) -> Floats:
    """The formula above.

    Args:
        critic: (heads, values), log pi_k; -inf marks values without an allowed completion.
        lm: (values,), log p_LM at temperature 1; None when `mix.lm_weight` is 0.
        mix: the shares of both.

    Returns:
        (heads, values) log-probabilities.
    """
    logits = mix.critic_weight * np.where(np.isfinite(critic), critic, 0.0)
    if mix.lm_weight:
        if lm is None:
            raise ValueError("a distribution with a language model's share needs its log-probabilities")
        logits = logits + (mix.lm_weight / mix.temperature) * np.asarray(lm, np.float64)
    return log_softmax(np.where(np.isfinite(critic), logits, -np.inf))


class Walk:
    """One request's way through its grid, slot by slot, for all heads at once."""

    def __init__(self, grid: ActionGrid, values: Floats, mix: Mix) -> None:
        """Start before the first slot.

        Args:
            grid: the allowed actions.
            values: (heads, *grid.shape), the critic's heads, units of reward.
            mix: the shares of language model and critic.
        """
        self._scores = action_scores(values, grid, mix.beta)
        self._mix = mix
        self._prefix: tuple[int, ...] = ()
        self._log_heads = np.full(len(values), -np.log(len(values)))
        self._current: SlotDistribution | None = None

    @property
    def index(self) -> tuple[int, ...]:
        """What has been chosen so far, as positions in the grid."""
        return self._prefix

    @property
    def log_propensity(self) -> float:
        """Log of the exact marginal over heads of what has been chosen so far."""
        return float(log_sum_exp(self._log_heads, 0))

    def distribution(self, lm: npt.NDArray[np.floating] | None) -> SlotDistribution:
        """The next slot's distribution; `lm` as in `slot_log_probs`."""
        per_head = slot_log_probs(critic_log_probs(self._scores, self._prefix), lm, self._mix)
        joint = self._log_heads[:, None] + per_head  # log p(head, prefix, v)
        marginal = np.exp(log_sum_exp(joint, 0) - log_sum_exp(self._log_heads, 0))
        self._current = SlotDistribution(per_head, marginal)
        return self._current

    def choose(self, index: int) -> float:
        """Append a value; each head is reweighted by the probability it gave it.

        Returns:
            The value's probability given the prefix; their product over the slots is the propensity.
        """
        if self._current is None:
            raise ValueError("ask for the slot's distribution before choosing from it")
        before = self.log_propensity
        self._log_heads = self._log_heads + self._current.per_head[:, index]
        self._prefix = (*self._prefix, index)
        self._current = None
        return float(np.exp(self.log_propensity - before))


def draw(log_probs: Floats, uniform: float) -> int:
    """The value at quantile `uniform` in [0, 1); one of probability zero is never drawn.

    Args:
        log_probs: (values,), one head's.
        uniform: the quantile.
    """
    cumulative = np.cumsum(np.exp(log_probs))
    index = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    # Rounding may carry the quantile up to the total: then it is the last possible value.
    return min(index, int(np.flatnonzero(np.isfinite(log_probs))[-1]))
