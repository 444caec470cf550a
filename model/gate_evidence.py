"""Measures a candidate adapter beside the champion: parity, validity, KL, entropy, value on newer closed traffic.

Both are measured with the critic that is served and with the same random numbers, so that differences are paired.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
from msgspec import structs

from model.batch import PromptBatch
from model.critic import Critic
from model.decode import Mix, SlotDistribution, Walk
from model.following import gains
from model.gate import MAX_RATIO, Evidence, OffPolicy, doubly_robust
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Decided, Knobs, Valuer, decide, propensity
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import StrategyRequest

Floats = npt.NDArray[np.float64]
SlotOf = Callable[[str], str | None]
"""Adapter version → the slot that holds it, None for the base; KeyError when it is not at hand."""

DRAWS = 2
"""Decisions sampled per request for the expectation under a policy."""
TINY = 1e-300


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
        newer: closed decisions newer than the candidate's data.
        others: older ones, for what needs no reward, when the newer are few.
    """
    items, once = [*newer, *others], _Once(critic)
    prompts = lm.encode([item.request for item in items])
    ours, theirs = candidate.log_probs(prompts, items), champion.log_probs(prompts, items)
    kl, entropy = [], []
    for item, own, other in zip(items, ours, theirs, strict=True):
        mixed = _marginals(item, once, candidate.knobs, own)
        kl.append(_divergence(mixed, _marginals(item, once, champion.knobs, other)))
        entropy += [float(-np.sum(np.exp(slot) * slot)) for slot in own]
    samples, before = _sampled(lm, prompts, ((candidate, items), (champion, newer)), once)
    sampled = [decided for row in samples for decided in row]
    valid = sum(_valid(item, decided) for row in samples for item, decided in zip(items, row, strict=True))
    count = len(newer)
    worth = _worth(newer, once, candidate.knobs, ours[:count], [row[:count] for row in samples])
    champions = _worth(newer, once, champion.knobs, theirs[:count], before)
    followed, led = _following(items, once, candidate.knobs, ours)
    return Evidence((), valid, len(sampled), tuple(kl), tuple(entropy), worth, champions, followed, led)


def _sampled(
    lm: LanguageModel, prompts: PromptBatch, asked: Sequence[tuple[Contender, Sequence[Replayed]]], critic: Valuer
) -> list[list[list[Decided]]]:
    """Per contender and draw one decision per request, by random numbers of the request and the draw alone.

    All in one session, since a step costs little more for many rows than for few.

    Args:
        prompts: of all requests; each contender is asked for the first of them.
    """
    rows = [(who, draw, n, item) for who, items in asked for draw in range(DRAWS) for n, item in enumerate(items)]
    requests = [item.request for *_, item in rows]
    rngs = [np.random.default_rng(stable_seed("gate", str(draw), item.strategy_id)) for _, draw, _, item in rows]
    grids, fused = [ActionGrid.of(request) for request in requests], [_fused(request) for request in requests]
    with lm.use_adapters([who.slot for who, *_ in rows]):
        session = lm.session(prompts.rows([place for _, _, place, _ in rows]), requests)
        decided = iter(decide(fused, grids, critic, session, rngs, [who.knobs for who, *_ in rows]))
    return [[list(islice(decided, len(items))) for _ in range(DRAWS)] for _, items in asked]


def joined(parts: Sequence[Evidence], parity: tuple[float, ...]) -> Evidence:
    """Evidence taken in slices, so that measuring never holds up anything else for long."""
    return Evidence(
        parity,
        sum(part.valid for part in parts),
        sum(part.sampled for part in parts),
        tuple(gap for part in parts for gap in part.kl_nats),
        tuple(gap for part in parts for gap in part.entropy_nats),
        _together([part.candidate for part in parts]),
        _together([part.champion for part in parts]),
        tuple(gain for part in parts for gain in part.followed),
        tuple(gain for part in parts for gain in part.led),
    )


def _together(parts: Sequence[OffPolicy]) -> OffPolicy:
    return OffPolicy(
        tuple(ratio for part in parts for ratio in part.ratios),
        tuple(reward for part in parts for reward in part.rewards),
        tuple(value for part in parts for value in part.robust),
    )


def _worth(
    items: Sequence[Replayed],
    critic: Valuer,
    knobs: Knobs,
    lm: Sequence[Sequence[Floats]],
    samples: Sequence[Sequence[Decided]],
) -> OffPolicy:
    """What a policy is worth by rewards that its critic has not learned."""
    if not items:
        return OffPolicy()
    values = [critic.values(item.request, ActionGrid.of(item.request))[0] for item in items]
    expected = np.array([np.mean([value[row[place].index] for row in samples]) for place, value in enumerate(values)])
    chosen = [_chance(item, critic, knobs, own) for item, own in zip(items, lm, strict=True)]
    ratio = np.array(chosen) / np.array([item.propensity for item in items])
    predicted = np.array(
        [value[ActionGrid.of(item.request).index(item.decision)] for item, value in zip(items, values, strict=True)]
    )
    rewards = np.array([item.reward for item in items])
    robust = doubly_robust(expected, ratio, rewards, predicted)
    columns = (np.minimum(ratio, MAX_RATIO), rewards, robust)
    return OffPolicy(*(tuple(float(number) for number in column) for column in columns))


def _following(
    items: Sequence[Replayed], critic: Valuer, knobs: Knobs, lm: Sequence[Sequence[Floats]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Per decision the gains of the candidate alone and of its critic."""
    found = []
    for item, own in zip(items, lm, strict=True):
        grid = ActionGrid.of(item.request)
        values = np.asarray(critic.values(item.request, grid), np.float64)
        found.append(gains(values, grid, item.decision, own, (knobs.temperature, critic.beta)))
    return tuple(own for own, _ in found), tuple(critics for _, critics in found)


def _walk(item: Replayed, critic: Valuer, knobs: Knobs) -> Walk:
    grid = ActionGrid.of(item.request)
    mix = Mix(knobs.lm_weight, knobs.temperature, 1.0 - knobs.lm_weight, critic.beta)
    return Walk(grid, np.asarray(critic.values(item.request, grid)[1:], np.float64), mix)


def _marginals(item: Replayed, critic: Valuer, knobs: Knobs, lm: Sequence[Floats]) -> list[SlotDistribution]:
    """The served distribution of each slot along the logged decision."""
    walk = _walk(item, critic, knobs)
    index = ActionGrid.of(item.request).index(item.decision)
    found = []
    for slot, chosen in enumerate(index):
        found.append(walk.distribution(lm[slot]))
        walk.choose(chosen)
    return found


def _chance(item: Replayed, critic: Valuer, knobs: Knobs, lm: Sequence[Floats]) -> float:
    walk = _walk(item, critic, knobs)
    for slot, chosen in enumerate(ActionGrid.of(item.request).index(item.decision)):
        walk.distribution(lm[slot])
        walk.choose(chosen)
    return float(np.exp(walk.log_propensity))


def _divergence(ours: Sequence[SlotDistribution], theirs: Sequence[SlotDistribution]) -> float:
    """Sum over slots of KL(ours || theirs) given the same prefix, nats."""
    total = 0.0
    for own, other in zip(ours, theirs, strict=True):
        p, q = own.marginal, other.marginal
        here = p > 0.0
        total += float(np.sum(p[here] * (np.log(p[here]) - np.log(np.maximum(q[here], TINY)))))
    return total


def _valid(item: Replayed, decided: Decided) -> bool:
    return bool(ActionGrid.of(item.request).allowed[decided.index])


def _fused(request: StrategyRequest) -> StrategyRequest:
    return structs.replace(request, arm="fused")
