"""Measures a candidate adapter beside the champion: parity, validity, KL, entropy, value on newer closed traffic.

Both are measured with the critic that is served and with the same random numbers, so that differences are paired.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from msgspec import structs

from model.batch import PromptBatch
from model.completed import completed
from model.critic import Critic
from model.following import gains
from model.gate import MAX_RATIO, Evidence, OffPolicy, doubly_robust
from model.gate_case import TINY, Case, cases_of, divergence
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Decided, Knobs, Valuer, decide, propensity
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import PolicyRecord, StrategyRequest

Floats = npt.NDArray[np.float64]
SlotOf = Callable[[str], str | None]
"""Adapter version → the slot that holds it, None for the base; KeyError when it is not at hand."""

DRAWS = 2
"""Decisions sampled per request for the expectation under a policy."""


class Contender:
    """A version with the slot it lies in and its share of the decision."""

    def __init__(self, lm: LanguageModel, slot: str | None, knobs: Knobs) -> None:
        """Nothing is computed yet."""
        self._lm, self.slot, self.knobs = lm, slot, knobs

    def log_probs(self, prompts: PromptBatch, items: Sequence[Replayed]) -> list[list[Floats]]:
        """Teacher-forced along the logged decisions."""
        return lm_log_probs(self._lm, self.slot, prompts, items)


class _Once:
    """A critic that values each request once, whoever asks: most of a measurement would be spent on asking again."""

    def __init__(self, critic: Critic) -> None:
        self._critic = critic
        self._known: dict[str, Floats] = {}
        self.version, self.heads, self.beta = critic.version, critic.heads, critic.beta

    def values(self, request: StrategyRequest, grid: ActionGrid) -> Floats:
        """The critic's; a request is known by its id, whatever its arm."""
        if request.request_id not in self._known:
            self._known[request.request_id] = self._critic.values(request, grid)
        return self._known[request.request_id]


def lm_log_probs(
    lm: LanguageModel, slot: str | None, prompts: PromptBatch, items: Sequence[Replayed]
) -> list[list[Floats]]:
    """Per item and slot (values,) log-probabilities at temperature 1 along the logged decision."""
    import torch

    with torch.no_grad(), lm.use_adapter(slot):
        found = lm.slot_log_probs(prompts, [item.request for item in items], [item.decision for item in items])
    return [[slot_.double().cpu().numpy() for slot_ in row] for row in found]


def newest_known(
    items: Iterable[Replayed], at_hand: Callable[[PolicyRecord], bool], most: int
) -> tuple[list[Replayed], int]:
    """The first served decisions whose versions are at hand, and how many were passed by for want of theirs.

    Args:
        items: newest first; those of the random arm prove nothing and are neither.
        most: with so many the search ends.
    """
    found: list[Replayed] = []
    missed = 0
    for item in items:
        if item.policy.acting_arm == "random":
            continue
        if at_hand(item.policy):
            found.append(item)
        else:
            missed += 1
        if len(found) == most:
            break
    return found, missed


def parity_gaps(
    lm: LanguageModel, items: Sequence[Replayed], slot_of: SlotOf, critics: Mapping[str, Critic]
) -> tuple[float, ...]:
    """Recomputed minus logged log-propensity of every decision whose adapter and critic are still at hand.

    A record that contradicts the versions it names (other heads, no temperature) is not reproduced: its gap is infinite.
    """
    by_slot: dict[str | None, list[Replayed]] = {}
    for item in items:
        record = item.policy
        if record.acting_arm == "random" or (record.critic_weight and record.critic not in critics):
            continue
        try:
            slot = slot_of(record.adapter) if record.lm_weight else None
        except KeyError:  # its adapter is no longer at hand: judged by those that are
            continue
        by_slot.setdefault(slot, []).append(item)
    gaps: list[float] = []
    for slot, group in by_slot.items():
        rows = lm_log_probs(lm, slot, lm.encode([item.request for item in group]), group)
        for item, own in zip(group, rows, strict=True):
            critic = critics.get(item.policy.critic) if item.policy.critic_weight else None
            gaps.append(_gap(item, critic, own if item.policy.lm_weight else None))
    return tuple(gaps)


def _gap(item: Replayed, critic: Critic | None, lm: Sequence[Floats] | None) -> float:
    try:
        again = propensity(item.request, item.decision, item.policy, critic, lm)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return float(np.log(max(again, TINY)) - np.log(item.propensity))


def measure(
    lm: LanguageModel,
    candidate: Contender,
    champion: Contender,
    critic: Critic,
    newer: Sequence[Replayed],
    others: Sequence[Replayed],
) -> Evidence:
    """Everything the gate wants to know but parity, of one slice of requests.

    Args:
        critic: as it stood when the candidate's training ended: the rewards of `newer` are unknown to it.
        newer: closed decisions newer than the candidate's data; their rewards are completed by the same critic's mean.
        others: older ones, for what needs no reward, when the newer are few.
    """
    items, once = [*newer, *others], _Once(critic)
    cases = cases_of(items, once)
    prompts = lm.encode([item.request for item in items])
    ours, theirs = candidate.log_probs(prompts, items), champion.log_probs(prompts, items)
    kl, entropy = [], []
    for case, own, other in zip(cases, ours, theirs, strict=True):
        kl.append(divergence(case.marginals(candidate.knobs, own), case.marginals(champion.knobs, other)))
        entropy += [float(-np.sum(np.exp(slot) * slot)) for slot in own]
    count = len(newer)
    fresh = cases[:count]
    samples, before = _sampled(lm, prompts, ((candidate, cases), (champion, fresh)), once)
    sampled = [decided for row in samples for decided in row]
    rewards = np.array([completed(item, critic) for item in newer])
    followed, led = _following(cases, candidate.knobs, ours)
    return Evidence(
        parity=(),
        valid=sum(case.allows(decided) for row in samples for case, decided in zip(cases, row, strict=True)),
        sampled=len(sampled),
        kl_nats=tuple(kl),
        entropy_nats=tuple(entropy),
        candidate=_worth(fresh, rewards, candidate.knobs, ours[:count], [row[:count] for row in samples]),
        champion=_worth(fresh, rewards, champion.knobs, theirs[:count], before),
        finals=sum(item.final for item in newer),
        followed=followed,
        led=led,
    )


def _sampled(
    lm: LanguageModel, prompts: PromptBatch, asked: Sequence[tuple[Contender, Sequence[Case]]], critic: Valuer
) -> list[list[list[Decided]]]:
    """Per contender and draw one decision per request, by random numbers of the request and the draw alone.

    All in one session, since a step costs little more for many rows than for few.

    Args:
        prompts: of all requests; each contender is asked for the first of them.
    """
    rows = [(who, draw, n, case) for who, cases in asked for draw in range(DRAWS) for n, case in enumerate(cases)]
    requests, grids = [case.item.request for *_, case in rows], [case.grid for *_, case in rows]
    rngs = [np.random.default_rng(stable_seed("gate", str(draw), case.item.strategy_id)) for _, draw, _, case in rows]
    fused = [_fused(request) for request in requests]
    with lm.use_adapters([who.slot for who, *_ in rows]):
        session = lm.session(prompts.rows([place for _, _, place, _ in rows]), requests)
        decided = iter(decide(fused, grids, critic, session, rngs, [who.knobs for who, *_ in rows]))
    return [[list(islice(decided, len(cases))) for _ in range(DRAWS)] for _, cases in asked]


def joined(parts: Sequence[Evidence], parity: tuple[float, ...], left_out: int = 0) -> Evidence:
    """Evidence taken in slices, so that measuring never holds up anything else for long."""
    return Evidence(
        parity=parity,
        valid=sum(part.valid for part in parts),
        sampled=sum(part.sampled for part in parts),
        kl_nats=tuple(gap for part in parts for gap in part.kl_nats),
        entropy_nats=tuple(gap for part in parts for gap in part.entropy_nats),
        candidate=_together([part.candidate for part in parts]),
        champion=_together([part.champion for part in parts]),
        finals=sum(part.finals for part in parts),
        left_out=left_out,
        followed=tuple(gain for part in parts for gain in part.followed),
        led=tuple(gain for part in parts for gain in part.led),
    )


def _together(parts: Sequence[OffPolicy]) -> OffPolicy:
    return OffPolicy(
        tuple(ratio for part in parts for ratio in part.ratios),
        tuple(reward for part in parts for reward in part.rewards),
        tuple(value for part in parts for value in part.robust),
    )


def _worth(
    cases: Sequence[Case],
    rewards: Floats,
    knobs: Knobs,
    lm: Sequence[Sequence[Floats]],
    samples: Sequence[Sequence[Decided]],
) -> OffPolicy:
    """What a policy is worth by completed rewards that its critic has not learned."""
    if not cases:
        return OffPolicy()
    means = [case.values[0] for case in cases]
    expected = np.array([np.mean([mean[row[place].index] for row in samples]) for place, mean in enumerate(means)])
    chosen = np.array([case.chance(knobs, own) for case, own in zip(cases, lm, strict=True)])
    ratio = chosen / np.array([case.item.propensity for case in cases])
    predicted = np.array([case.predicted for case in cases])
    robust = doubly_robust(expected, ratio, rewards, predicted)
    columns = (np.minimum(ratio, MAX_RATIO), rewards, robust)
    return OffPolicy(*(tuple(float(number) for number in column) for column in columns))


def _following(
    cases: Sequence[Case], knobs: Knobs, lm: Sequence[Sequence[Floats]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per decision the gains of the candidate alone and of its critic."""
    found = [
        gains(case.values, case.grid, case.item.decision, own, (knobs.temperature, case.beta))
        for case, own in zip(cases, lm, strict=True)
    ]
    return tuple(own for own, _ in found), tuple(critics for _, critics in found)


def _fused(request: StrategyRequest) -> StrategyRequest:
    return structs.replace(request, arm="fused")
