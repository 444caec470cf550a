"""What the learner is told and what it answers, and a decision's row of features. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from model.critic import OUTCOMES, PENALTIES
from model.critic_features import DIMENSIONS, encode
from model.memory import Row
from streaming.contracts.ids import stable_seed
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest, grammar_of

Floats = npt.NDArray[np.float64]


class LearnerKnobs(msgspec.Struct, frozen=True):
    """How the critic learns.

    Args:
        half_life: closed rewards of a kind after which one of that kind counts half.
        drift_speed: how many times faster a kind forgets after a drift.
        drift_rewards: for how many of the kind's rewards; also how long exploration is wider.
        drift_width: factor on the heads' width and on beta meanwhile.
    """

    window: int = 6000
    refit_every: int = 100
    half_life: float = 5000.0
    heads: int = 8
    beta: float = 0.005
    head_width: float = 0.1
    outage_after: int = 50
    drift_speed: float = 8.0
    drift_rewards: int = 1000
    drift_width: float = 2.0
    seed: int = 0


Fate = Literal["learned", "amended", "ghost", "duplicate", "outage", "late"]


class Lesson(msgspec.Struct, frozen=True):
    """What one reward did.

    Args:
        losses: outcome → prequential log loss (nats) of what this reward taught for the first time.
        drifted: the kind's residuals have just left zero.
        refitted: the models were fitted anew.
    """

    fate: Fate
    losses: dict[str, float] = {}
    drifted: bool = False
    refitted: bool = False


@dataclass(slots=True)
class KindState:
    """Forgetting of one kind: its clock in half-lives, and for how many rewards it still runs fast."""

    tick: float = 0.0
    alarm_left: int = 0


def channel_of(reward: Reward) -> str:
    """What carried the strategy to the customer: its channel, its placement, or the kind's own surface."""
    return reward.decision.get("channel") or reward.decision.get("placement") or reward.kind


def row_of(request: StrategyRequest, decision: dict[str, str]) -> Row:
    """The features of one decision: context, closed slots, candidates, closed slots beside candidates."""
    encoded = encode(request, decision)
    pointed = [slot.name in grammar_of(request).candidate_slots for slot in request.slots]
    parts: list[list[int]] = [[0], [], [], []]
    for is_candidate, rows in zip(pointed, encoded.rows, strict=True):
        parts[1 + is_candidate].append(rows.start)
    for pair in encoded.pairs:
        mixed = pointed[pair.one] != pointed[pair.other]
        parts[3 if mixed else 1 + pointed[pair.one]].append(pair.rows.start)
    spans = [slice(encoded.indptr[row], encoded.indptr[row + 1]) for part in parts for row in part]
    lengths = np.diff(encoded.indptr)
    context, closed, candidates, _ = np.cumsum([sum(int(lengths[row]) for row in part) for part in parts]).tolist()
    return Row(
        indices=np.concatenate([encoded.indices[span] for span in spans]).astype(np.uint16),
        data=np.concatenate([encoded.data[span] for span in spans]).astype(np.float32),
        context=context,
        closed=closed,
        candidates=candidates,
    )


def prior_draws(noise: dict[str, Floats]) -> dict[str, Floats]:
    """Heads before any data: the solution of P d = sqrt(P) e."""
    deviation = {spec.name: 1.0 / np.sqrt(spec.precision * PENALTIES) for spec in OUTCOMES}
    return {name: deviation[name][:, None] * rows for name, rows in noise.items()}


def weight_noise(knobs: LearnerKnobs) -> dict[str, Floats]:
    """Standard normal noise per weight and head; it makes the heads of the prior, and belongs to the seed."""
    found = {}
    for spec in OUTCOMES:
        if spec.headed:
            rng = np.random.default_rng(stable_seed("weights", str(knobs.seed), spec.name))
            found[spec.name] = rng.standard_normal((DIMENSIONS, knobs.heads))
    return found


@lru_cache(maxsize=32_768)
def row_noise(seed: int, heads: int, outcome: str, strategy_id: str) -> Floats:
    """Standard normal noise of one row per head, (heads,); kept, because every refit of the window asks for it again."""
    return np.random.default_rng(stable_seed("row", str(seed), outcome, strategy_id)).standard_normal(heads)
