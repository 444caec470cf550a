"""The demo's books: everything counted by reading topics and Redis rows back, never from a process's counters.

Edge: reads. What the numbers mean is in `summary.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from services.clients import redis_client
from services.reading import read_all
from services.settings import Common
from streaming.contracts.adapters import GateDecision
from streaming.contracts.codec import decode
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, StrategyRequest, Suppression
from streaming.contracts.topics import (
    ADS_EVENTS,
    DECISIONS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
    TopicSpec,
)
from streaming.control import read_books

T = TypeVar("T")

CLOCK_KEY = b"shop-clock-"
"""Keys of the shop's clock records, which are no events of customers."""
STALL = re.compile(r"stalled (\d+(?:\.\d+)?) ms")


class Evidence(msgspec.Struct):
    """All that was read back.

    Args:
        published: event records on both event topics, clock records apart.
        fates: fate → records of both event topics, as the agents stored them with the rows.
        profiles: customers' rows.
        outbox: messages stored and not yet published.
        requests: request id → (request, Kafka timestamp ms).
        strategies: strategy id → (strategy, Kafka timestamp ms of its first record).
        conflicts: strategy ids that were published with two different contents.
        suppressions: by id.
        rewards: reward id → reward, in the topic's order.
        decisions: of the gate, in order.
        stalls_ms: stall of every swap, from the worker's log.
    """

    published: int
    fates: dict[str, int]
    profiles: int
    outbox: int
    requests: dict[str, tuple[StrategyRequest, int]]
    strategies: dict[str, tuple[Strategy, int]]
    conflicts: int
    suppressions: dict[str, Suppression]
    rewards: dict[str, Reward]
    decisions: list[GateDecision]
    stalls_ms: list[float]


def read_values(settings: Common, topic: TopicSpec, kind: type[T]) -> Iterator[tuple[T, int]]:
    """Every value of a topic with its Kafka timestamp, milliseconds; tombstones left out."""
    for record in read_all(settings, topic):
        if record.value:
            yield decode(record.value, kind), record.timestamp_ms


def count_published(settings: Common) -> int:
    """Event records on both event topics, clock records apart."""
    return sum(
        not (record.key or b"").startswith(CLOCK_KEY)
        for topic in (SHOP_EVENTS, ADS_EVENTS)
        for record in read_all(settings, topic)
    )


def read_fates(settings: Common) -> tuple[dict[str, int], int, int]:
    """Fates of event records, number of profiles, messages left in outboxes: from the rows' store."""
    client = redis_client(settings)
    try:
        books = read_books(client, settings.topic_prefix)
    finally:
        client.close()
    fates: dict[str, int] = {}
    for topic in (SHOP_EVENTS, ADS_EVENTS):
        for fate, count in books.fates.get(topic.name, {}).items():
            fates[fate] = fates.get(fate, 0) + count
    return fates, books.profiles, books.outbox


def read_strategies(settings: Common) -> tuple[dict[str, tuple[Strategy, int]], int]:
    """Strategies by id with the time of their first record, and how many ids have two contents."""
    found: dict[str, tuple[Strategy, int]] = {}
    conflicts = set()
    for strategy, at_ms in read_values(settings, STRATEGIES, Strategy):
        first = found.setdefault(strategy.strategy_id, (strategy, at_ms))
        if first[0] != strategy:
            conflicts.add(strategy.strategy_id)
    return found, len(conflicts)


def read_stalls(worker_log: Path) -> list[float]:
    """Stalls of swaps in milliseconds; the one fact that only the worker can measure."""
    if not worker_log.is_file():
        return []
    return [float(text) for text in STALL.findall(worker_log.read_text(encoding="utf-8", errors="replace"))]


def collect(settings: Common, worker_log: Path) -> Evidence:
    """Read everything back; takes seconds for a demo's worth of records."""
    fates, profiles, outbox = read_fates(settings)
    strategies, conflicts = read_strategies(settings)
    requests: dict[str, tuple[StrategyRequest, int]] = {}
    for request, at_ms in read_values(settings, REQUESTS, StrategyRequest):
        requests.setdefault(request.request_id, (request, at_ms))
    rewards: dict[str, Reward] = {}
    for reward, _ in read_values(settings, REWARDS, Reward):
        rewards.setdefault(reward.reward_id, reward)
    suppressions = {s.suppression_id: s for s, _ in read_values(settings, SUPPRESSIONS, Suppression)}
    return Evidence(
        published=count_published(settings),
        fates=fates,
        profiles=profiles,
        outbox=outbox,
        requests=requests,
        strategies=strategies,
        conflicts=conflicts,
        suppressions=suppressions,
        rewards=rewards,
        decisions=[decision for decision, _ in read_values(settings, DECISIONS, GateDecision)],
        stalls_ms=read_stalls(worker_log),
    )
