"""What a topic is created with, and what is said of one that exists with something else. Pure.

Topics that exist belong to whoever made them: nothing here changes them. What would lose data is refused; what may be
meant is told.
"""

from collections.abc import Mapping

from services.settings import Common
from streaming.contracts.topics import (
    ADS_EVENTS,
    DEAD_LETTERS,
    DECISIONS,
    INPUTS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
    TopicSpec,
)

POLICY, RETENTION, LARGEST = "cleanup.policy", "retention.ms", "max.message.bytes"
CHECKED = (POLICY, RETENTION, LARGEST)
"""The configs that matter to us."""
MAX_RECORD_BYTES = 6 * 1024 * 1024
"""Largest record read or written (the embedded broker's `message.max.bytes`): what shops send, and its dead letters."""
LARGEST_OWN_BYTES = 1_000_000
"""No record that we write of our own is larger; brokers allow a little more by default."""
FOR_EVER = "-1"
HOUR_MS = 3_600_000


def configs_of(topic: TopicSpec, settings: Common) -> dict[str, str]:
    """The configs a topic is created with; what is not named stays the broker's default."""
    configs: dict[str, str] = {POLICY: topic.cleanup}
    if (retention := retention_ms(topic, settings)) is not None:
        configs[RETENTION] = retention
    if _largest_bytes(topic) > LARGEST_OWN_BYTES:
        configs[LARGEST] = str(_largest_bytes(topic))
    return configs


def retention_ms(topic: TopicSpec, settings: Common) -> str | None:
    """`retention.ms` by the settings; None for compacted topics, which keep the last record of every key."""
    hours = {
        SHOP_EVENTS: settings.retention_events_h,
        ADS_EVENTS: settings.retention_events_h,
        REQUESTS: settings.retention_strategies_h,
        SUPPRESSIONS: settings.retention_strategies_h,
        STRATEGIES: settings.retention_strategies_h,
        REWARDS: settings.retention_rewards_h,
        DECISIONS: settings.retention_decisions_h,
        DEAD_LETTERS: settings.retention_dead_letters_h,
    }.get(topic)
    if hours is None:
        return None
    return str(round(hours * HOUR_MS)) if hours else FOR_EVER


def refusal_of(topic: TopicSpec, configs: Mapping[str, str]) -> str | None:
    """Why a topic that exists cannot be used: its cleanup would lose what must stay."""
    policy = configs.get(POLICY, topic.cleanup)
    if policy == topic.cleanup:
        return None
    if topic.cleanup == "compact":
        return (
            f"has {POLICY}={policy}, wanted compact: old records would be forgotten, each the last of its {topic.key}"
        )
    return f"has {POLICY}={policy}, wanted delete: only the last record of each {topic.key} would stay"


def notes_on(topic: TopicSpec, settings: Common, configs: Mapping[str, str], copies: int) -> tuple[str, ...]:
    """What differs from what we would have created, in words.

    Args:
        copies: replicas of the topic's partition that has fewest.
    """
    notes = [] if configs else ["its configs may not be read, so they are not checked"]
    wanted, found = retention_ms(topic, settings), configs.get(RETENTION)
    if wanted is not None and found is not None and found != wanted:
        notes.append(f"keeps records {_hours(found)}, by the settings it would be {_hours(wanted)}")
    largest, needed = configs.get(LARGEST), _largest_bytes(topic)
    if largest is not None and int(largest) < needed:
        notes.append(f"takes records of {largest} bytes at most, we may write {needed}")
    if copies < settings.replication_factor:
        notes.append(f"has {copies} replicas, by the settings it would be {settings.replication_factor}")
    return tuple(notes)


def _largest_bytes(topic: TopicSpec) -> int:
    return MAX_RECORD_BYTES if topic in INPUTS or topic == DEAD_LETTERS else LARGEST_OWN_BYTES


def _hours(milliseconds: str) -> str:
    return "for ever" if int(milliseconds) < 0 else f"for {int(milliseconds) / HOUR_MS:g} h"
