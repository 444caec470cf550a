"""What a policy would do with a logged request: the probability of what was done, and its expectation under a model of the reward.

Pure: language model and critic are handed in. Probabilities are those of serving (`model/policy.py`), by the same function.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from msgspec import structs

from model.decode import action_scores, log_softmax
from model.evaluation.estimates import Floats
from model.grid import ActionGrid
from model.policy import Knobs, Valuer, decide, propensity, record_of
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import stable_seed
from streaming.contracts.kinds import Arm
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest

if TYPE_CHECKING:
    from model.lm import LanguageModel

DRAWS = 8
"""Decisions sampled per request where the expectation is not a sum over few numbers; their noise is in the interval."""
SLICE = 32
"""Requests that the language model reads at once."""


class Judged(NamedTuple):
    """Of each reward's request: the policy's probability of what was done, and its expectation of q."""

    chance: Floats
    expected: Floats


class Policy(Protocol):
    """What can be valued on logged traffic."""

    @property
    def name(self) -> str:
        """As it was asked for."""

    def judge(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Judged:
        """Judge logged decisions; `values`: q of every action of each request."""


class ByChance:
    """Every allowed action alike."""

    name = "random"

    def judge(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Judged:
        """Exact."""
        grids = [ActionGrid.of(reward.request) for reward in rewards]
        expected = [float(q[grid.allowed].mean()) for grid, q in zip(grids, values, strict=True)]
        return Judged(np.array([1.0 / grid.count for grid in grids]), np.array(expected))


class ByCritic:
    """A critic snapshot alone, its heads included, as the arm `critic` is served."""

    def __init__(self, name: str, critic: Valuer) -> None:
        """Nothing is computed yet."""
        self.name, self._critic = name, critic

    def judge(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Judged:
        """Exact: the probability of every action is known."""
        chances, expected = [], []
        for reward, q in zip(rewards, values, strict=True):
            grid = ActionGrid.of(reward.request)
            heads = np.asarray(self._critic.values(reward.request, grid)[1:], np.float64)
            scores = action_scores(heads, grid, self._critic.beta)
            spread = np.exp(log_softmax(scores.reshape(len(scores), -1))).mean(0).reshape(grid.shape)
            chances.append(float(spread[grid.index(reward.decision)]))
            expected.append(float((spread * np.where(grid.allowed, q, 0.0)).sum()))
        return Judged(np.array(chances), np.array(expected))


class ByModel:
    """A language model with an adapter, alone or fused with a critic, as the arms `lm` and `fused` are served."""

    def __init__(
        self, name: str, lm: "LanguageModel", slot: str | None, critic: Valuer, knobs: Knobs, *, fused: bool
    ) -> None:
        """Nothing is computed yet.

        Args:
            slot: that the adapter lies in; None for the base.
            critic: of a fused policy; else only its temperature is read.
        """
        self.name, self._lm, self._slot, self._critic, self._knobs = name, lm, slot, critic, knobs
        self._arm: Arm = "fused" if fused else "lm"

    def judge(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Judged:
        """Exact probabilities; the expectation by `DRAWS` decisions, drawn by numbers of the strategy alone."""
        parts = [
            self._judge(rewards[start : start + SLICE], values[start : start + SLICE])
            for start in range(0, len(rewards), SLICE)
        ]
        return Judged(
            np.concatenate([part.chance for part in parts]), np.concatenate([part.expected for part in parts])
        )

    def _judge(self, rewards: Sequence[Reward], values: Sequence[Floats]) -> Judged:
        import torch

        requests = [structs.replace(reward.request, arm=self._arm) for reward in rewards]
        decisions = [reward.decision for reward in rewards]
        grids = [ActionGrid.of(request) for request in requests]
        with torch.no_grad(), self._lm.use_adapter(self._slot):
            prompts = self._lm.encode(requests)
            logs = [
                [slot.double().cpu().numpy() for slot in row]
                for row in self._lm.slot_log_probs(prompts, requests, decisions)
            ]
            drawn = [
                decide(requests, grids, self._critic, self._lm.session(prompts, requests), rngs, self._knobs)
                for rngs in self._rngs(rewards)
            ]
        chances = [
            propensity(request, decision, record_of(request, grid, self._critic, self._knobs, late=False),
                       self._critic, own)
            for request, decision, grid, own in zip(requests, decisions, grids, logs, strict=True)
        ]  # fmt: skip
        expected = [float(np.mean([q[row[place].index] for row in drawn])) for place, q in enumerate(values)]
        return Judged(np.array(chances), np.array(expected))

    def _rngs(self, rewards: Sequence[Reward]) -> list[list[np.random.Generator]]:
        return [
            [np.random.default_rng(stable_seed("evaluate", str(draw), reward.strategy_id)) for reward in rewards]
            for draw in range(DRAWS)
        ]


def valuable(reward: Reward) -> bool:
    """Whether a logged decision can be valued under another policy: contacted, with its probability, and in its own grid."""
    if reward.ghost or not reward.propensity or reward.policy is None or reward.mixed_arms:
        return False
    return _allowed(reward.request, reward.decision)


def _allowed(request: StrategyRequest, decision: dict[str, str]) -> bool:
    try:
        grid = ActionGrid.of(request)
        return bool(grid.allowed[grid.index(decision)])
    except (
        KeyError,
        BadEvent,
    ):  # of a writer that keeps no rules: its rewards count, but nothing can be said of other policies
        return False
