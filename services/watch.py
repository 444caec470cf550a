"""`stratagem watch`: strategies, rewards and adapters in words, one line each."""

from collections.abc import Callable
from typing import NamedTuple

from services.reading import TopicRecord, printable
from streaming.contracts.adapters import AdapterRecord, GateDecision, Serving, decode_record
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, Suppression, candidate_by_id
from streaming.contracts.topics import ADAPTERS, DECISIONS, REWARDS, STRATEGIES, SUPPRESSIONS, TopicSpec


def strategy_line(strategy: Strategy) -> str:
    """A strategy in words: for whom, what, through what, how sure, and what the customer reads."""
    names = candidate_by_id(strategy.request)
    said = ", ".join(
        f"{slot} {names[value].name if value in names else value}" for slot, value in strategy.decision.items()
    )
    policy = strategy.policy
    who = f"{policy.assigned_arm}/{policy.adapter}"
    text = f"{strategy.message.title}: {strategy.message.body}"
    return f'{strategy.issued_at:%Y-%m-%d %H:%M} {strategy.user_id} {strategy.kind} [{who}] {said} p={strategy.propensity:.3g} "{text}"'


def reward_line(reward: Reward) -> str:
    """A reward in words."""
    parts = ", ".join(f"{name} {value:+.2f}" for name, value in reward.components.items() if value)
    arm = f"{reward.assigned_arm}{' ghost' if reward.ghost else ''}"
    return f"{reward.closed_at:%Y-%m-%d %H:%M} {reward.user_id} {reward.stage} {reward.kind} [{arm}] {reward.reward:+.3f} ({parts or 'nothing happened'})"


def suppression_line(suppression: Suppression) -> str:
    """A suppression in words."""
    return f"{suppression.issued_at:%Y-%m-%d %H:%M} {suppression.user_id} {suppression.kind} not asked: {suppression.reason} {suppression.detail}"


def adapter_line(record: AdapterRecord) -> str:
    """A version or the serving record in words."""
    if isinstance(record, Serving):
        tried = f"canary {record.canary} to {record.canary_share:.0%}, " if record.canary else ""
        return (
            f"serving: champion {record.champion}, {tried}anchor {record.anchor} to {record.anchor_share:.0%}, "
            f"critic {record.critic} (epoch {record.epoch})"
        )
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
    return f"{record.created_at:%Y-%m-%d %H:%M:%S} {record.name} after {record.parent or 'nothing'} ({numbers})"


def decision_line(decision: GateDecision) -> str:
    """A decision of the gate in words."""
    failed = "; ".join(f"{check.name}: {check.detail}" for check in decision.checks if not check.passed)
    who = "" if decision.by == "gate" else f" by {decision.by}"
    return f"{decision.decided_at:%Y-%m-%d %H:%M:%S} {decision.version} {decision.decision}{who}: {decision.reason} {failed}"


class Watchable(NamedTuple):
    """A topic and how one of its values reads in words."""

    topic: TopicSpec
    line: Callable[[bytes], str]


WATCHABLE: dict[str, Watchable] = {
    "strategies": Watchable(STRATEGIES, lambda value: strategy_line(decode(value, Strategy))),
    "rewards": Watchable(REWARDS, lambda value: reward_line(decode(value, Reward))),
    "suppressions": Watchable(SUPPRESSIONS, lambda value: suppression_line(decode(value, Suppression))),
    "adapters": Watchable(ADAPTERS, lambda value: adapter_line(decode_record(value))),
    "decisions": Watchable(DECISIONS, lambda value: decision_line(decode(value, GateDecision))),
}


def describe(what: str, record: TopicRecord) -> str:
    """One record of a watchable topic in one safe line; a tombstone and an unreadable record say so."""
    key = (record.key or b"").decode("utf-8", "backslashreplace")
    if record.value is None:
        return printable(f"{key} removed")
    try:
        return printable(WATCHABLE[what].line(record.value), limit=600)
    except BadEvent as bad:
        return printable(f"{key} unreadable: {bad}")
