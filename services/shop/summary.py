"""What the demo's evidence says, in numbers: the fields of `report.json`, and whether the books balance. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from services.shop.books import Evidence
from services.shop.oracle import Baseline, lift
from streaming.contracts.kinds import ARM_NAMES, KIND_NAMES
from streaming.contracts.rewards import Reward

Z95 = 1.96
"""Normal quantile of a two-sided 95 % interval."""
SEEN_FATES = ("folded", "duplicate", "ignored", "dead_lettered")


class ArmReward(msgspec.Struct, frozen=True):
    """Mean reward of an arm's closed strategies with its 95 % interval, major units."""

    mean: float
    low95: float
    high95: float
    strategies: int


class AdaptersWorth(msgspec.Struct, frozen=True):
    """Expected reward a strategy, major units.

    Args:
        lm: of what arm `lm` served, whatever adapter it had by then.
        base: of what the base without an adapter would have served in its place.
        gain: their mean difference; low95, high95: its interval over requests, by the normal approximation.
        strategies: that this rests on.
    """

    lm: float
    base: float
    gain: float
    low95: float
    high95: float
    strategies: int


class Summary(msgspec.Struct, frozen=True):
    """The fields of `report.json`. Money in major units; `lost` counts events and requests without a trace."""

    events_published: int
    events_folded: int
    events_duplicate: int
    events_ignored: int
    events_dead_lettered: int
    profiles: int
    requests: int
    suppressed: int
    strategies: int
    strategies_by_kind: dict[str, int]
    strategies_by_arm: dict[str, int]
    messages_by_model_share: float
    rewards: int
    corrections: int
    adapters_trained: int
    adapters_promoted: int
    adapters_refused: int
    swaps: int
    swap_ms_max: float
    reward_by_arm: dict[str, ArmReward]
    oracle_reward: float | None
    lift_by_arm: dict[str, float | None]
    request_to_strategy_ms_p50: float
    request_to_strategy_ms_p99: float
    lost: int


def closed_rewards(rewards: Iterable[Reward]) -> dict[str, Reward]:
    """The last word on every closed strategy: its newest correction, else its final; by strategy id."""
    last: dict[str, Reward] = {}
    for reward in rewards:
        if reward.stage == "final" or (reward.stage == "correction" and reward.strategy_id in last):
            last[reward.strategy_id] = reward
    return last


def mixed_customers(evidence: Evidence) -> frozenset[str]:
    """Ids of customers of whom anything says that they were merged from two arms."""
    asked = {request.user_id for request, _ in evidence.requests.values() if request.mixed_arms}
    return frozenset(asked | {reward.user_id for reward in evidence.rewards.values() if reward.mixed_arms})


def comparable(evidence: Evidence) -> list[Reward]:
    """The last word on every closed strategy of customers who were in one arm: what arms are compared by."""
    mixed = mixed_customers(evidence)
    return [each for each in closed_rewards(evidence.rewards.values()).values() if each.user_id not in mixed]


def interval(values: list[float]) -> ArmReward:
    """Mean and normal 95 % interval; a single value has no width that could be known."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1) if n > 1 else 0.0
    half = Z95 * math.sqrt(variance / n)
    return ArmReward(mean, mean - half, mean + half, n)


def rewards_by_arm(closed: Iterable[Reward]) -> dict[str, ArmReward]:
    """Mean reward by assigned arm, in the arms' order."""
    values: dict[str, list[float]] = defaultdict(list)
    for reward in closed:
        values[reward.assigned_arm].append(reward.reward)
    return {arm: interval(values[arm]) for arm in ARM_NAMES if values[arm]}


def latencies_ms(evidence: Evidence) -> list[float]:
    """Milliseconds from each request's Kafka timestamp to its strategy's, sorted."""
    return sorted(
        float(at_ms - evidence.requests[strategy.request_id][1])
        for strategy, at_ms in evidence.strategies.values()
        if strategy.request_id in evidence.requests
    )


def quantile(ordered: list[float], share: float) -> float:
    """The value below which a share of sorted values lies (nearest rank); 0 when there are none."""
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1] if ordered else 0.0


def unanswered(evidence: Evidence) -> set[str]:
    """Requests with neither a strategy nor a recorded reason."""
    answered = {strategy.request_id for strategy, _ in evidence.strategies.values()}
    return set(evidence.requests) - answered - _reasons(evidence)


def _reasons(evidence: Evidence) -> set[str]:
    """Ids of published requests that the worker recorded a reason for; agents' reasons are for what was never sent."""
    return {each.request_id for each in evidence.suppressions.values() if each.by == "worker"}


def unbalanced(evidence: Evidence) -> list[str]:
    """What does not add up, in words; empty when the books balance."""
    faults = []
    seen = sum(evidence.fates.get(fate, 0) for fate in SEEN_FATES)
    if seen != evidence.published:
        faults.append(f"{evidence.published} events published, {seen} accounted for ({evidence.fates})")
    missing = unanswered(evidence)
    if missing:
        faults.append(f"{len(missing)} requests have neither a strategy nor a reason, e.g. {min(missing)}")
    answered = {strategy.request_id for strategy, _ in evidence.strategies.values()}
    twice = answered & _reasons(evidence)
    if twice:
        faults.append(f"{len(twice)} requests have a strategy and a reason, e.g. {min(twice)}")
    orphans = answered - set(evidence.requests)
    if orphans:
        faults.append(f"{len(orphans)} strategies answer no request, e.g. {min(orphans)}")
    if evidence.conflicts:
        faults.append(f"{evidence.conflicts} strategy ids were published with two contents")
    if evidence.outbox:
        faults.append(f"{evidence.outbox} messages are still unpublished")
    return faults


def summarise(evidence: Evidence, baseline: Baseline | None) -> Summary:
    """Count the evidence.

    Args:
        evidence: what was read back.
        baseline: oracle and random reward of the requests; None when it is not known.
    """
    fates, strategies = evidence.fates, [strategy for strategy, _ in evidence.strategies.values()]
    kinds, arms = Counter(s.kind for s in strategies), Counter(s.policy.assigned_arm for s in strategies)
    by_arm = rewards_by_arm(comparable(evidence))
    judged = [decision for decision in evidence.decisions if decision.what == "adapter"]
    served = {s.policy.adapter for s in strategies} - {"base", "none"}
    waits = latencies_ms(evidence)
    accounted = sum(fates.get(fate, 0) for fate in SEEN_FATES)
    return Summary(
        events_published=evidence.published,
        events_folded=fates.get("folded", 0),
        events_duplicate=fates.get("duplicate", 0),
        events_ignored=fates.get("ignored", 0),
        events_dead_lettered=fates.get("dead_lettered", 0),
        profiles=evidence.profiles,
        requests=len(evidence.requests),
        suppressed=len(evidence.suppressions),
        strategies=len(strategies),
        strategies_by_kind={kind: kinds[kind] for kind in KIND_NAMES},
        strategies_by_arm={arm: arms[arm] for arm in ARM_NAMES if arm != "holdout"},
        messages_by_model_share=_share(sum(s.message.source == "model" for s in strategies), len(strategies)),
        rewards=len(evidence.rewards),
        corrections=sum(reward.stage == "correction" for reward in evidence.rewards.values()),
        adapters_trained=len({d.version for d in judged if not d.version.startswith("inbox-")}),
        adapters_promoted=sum(decision.decision == "promoted" for decision in judged),
        adapters_refused=sum(decision.decision == "refused" for decision in judged),
        swaps=len(served),
        swap_ms_max=max(evidence.stalls_ms, default=0.0),
        reward_by_arm=by_arm,
        oracle_reward=baseline.oracle if baseline else None,
        lift_by_arm={
            arm: lift(reward.mean, baseline) if baseline else None for arm, reward in by_arm.items() if arm != "holdout"
        },
        request_to_strategy_ms_p50=quantile(waits, 0.5),
        request_to_strategy_ms_p99=quantile(waits, 0.99),
        lost=max(evidence.published - accounted, 0) + len(unanswered(evidence)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def in_full(worth: AdaptersWorth) -> str:
    """What the adapters brought, in a sentence."""
    return (
        f"the language model alone: {worth.lm:+.3f} expected with its adapters, {worth.base:+.3f} without any "
        f"({worth.gain:+.3f}, {worth.low95:+.3f} to {worth.high95:+.3f}, {worth.strategies} strategies)"
    )


def in_words(summary: Summary) -> list[str]:
    """The summary in a few lines for a terminal."""
    s = summary
    lines = [
        (
            f"{s.events_published} events published: {s.events_folded} folded, {s.events_duplicate} duplicate, "
            f"{s.events_ignored} ignored, {s.events_dead_lettered} dead-lettered; {s.profiles} profiles; {s.lost} lost"
        ),
        (
            f"{s.requests} requests, {s.strategies} strategies ({s.messages_by_model_share:.0%} in the model's own words), "
            f"{s.suppressed} moments not asked; {s.rewards} rewards, {s.corrections} corrections"
        ),
        (
            f"{s.adapters_trained} adapters trained, {s.adapters_promoted} promoted, {s.adapters_refused} refused, "
            f"{s.swaps} swapped in (longest stall {s.swap_ms_max:.2f} ms)"
        ),
        f"request to strategy: median {s.request_to_strategy_ms_p50:.0f} ms, 99 % {s.request_to_strategy_ms_p99:.0f} ms",
    ]
    for arm, reward in s.reward_by_arm.items():
        gained = s.lift_by_arm.get(arm)
        lines.append(
            f"{arm:8} {reward.mean:+.3f} ({reward.low95:+.3f} to {reward.high95:+.3f}) over {reward.strategies}"
            + (f", lift {gained:.2f}" if gained is not None else "")
        )
    if s.oracle_reward is not None:
        lines.append(f"oracle   {s.oracle_reward:+.3f}")
    return lines
