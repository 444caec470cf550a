"""Every topic: name, key, cleanup. Created and checked by one function of `services`, from this table alone."""

from typing import Literal

from msgspec import Struct


class TopicSpec(Struct, frozen=True):
    """How one topic is made.

    Args:
        partitions: None means the number of the setting (equal for all topics of the agents).
        retention_ms: None keeps the broker's default; of `delete` topics only.
    """

    name: str
    key: str
    cleanup: Literal["delete", "compact"]
    partitions: int | None = None
    retention_ms: int | None = None


_DAY_MS = 24 * 3600 * 1000

SHOP_EVENTS = TopicSpec("shop.events", "user id", "delete")
ADS_EVENTS = TopicSpec("ads.events", "user id", "delete")
CATALOG = TopicSpec("shop.catalog", "product id", "compact")
CAMPAIGNS = TopicSpec("shop.campaigns", "campaign id", "compact")
REQUESTS = TopicSpec("strategy.requests", "user id", "delete")
SUPPRESSIONS = TopicSpec("strategy.suppressions", "user id", "delete")
STRATEGIES = TopicSpec("strategies", "user id", "delete")
REWARDS = TopicSpec("strategy.rewards", "strategy id", "delete", partitions=1)
ADAPTERS = TopicSpec("model.adapters", "version name", "compact", partitions=1)
DECISIONS = TopicSpec("model.decisions", "version name", "delete", partitions=1, retention_ms=400 * _DAY_MS)
PROGRESS = TopicSpec("stream.progress", "topic and partition", "compact", partitions=1)
DEAD_LETTERS = TopicSpec("dead-letters", "as received", "delete")

TOPICS: tuple[TopicSpec, ...] = (
    SHOP_EVENTS,
    ADS_EVENTS,
    CATALOG,
    CAMPAIGNS,
    REQUESTS,
    SUPPRESSIONS,
    STRATEGIES,
    REWARDS,
    ADAPTERS,
    DECISIONS,
    PROGRESS,
    DEAD_LETTERS,
)
INPUTS: tuple[TopicSpec, ...] = (SHOP_EVENTS, ADS_EVENTS, STRATEGIES)
"""What the agents consume in one group; equal partitions, so that one worker owns a customer in all three."""
