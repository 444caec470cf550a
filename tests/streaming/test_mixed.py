"""Records in wrong partitions: windows wait for every partition, for a horizon after the last of them and no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
import redis

from streaming.batch import Batch
from streaming.clock import ClockRules
from streaming.contracts.codec import encode, instant
from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS
from streaming.core import Context
from streaming.facts import Silent
from streaming.keys import MIXED_FIELD, control_key
from streaming.outbox import Outbox
from streaming.processor import Processor
from streaming.reading import Item, Layout, Reader, mispartitioned_ms
from streaming.recall import Recall
from streaming.store import Store
from streaming.timers import Timers
from tests.streaming.test_merging import AT_MS, BUCKETS, CONTEXT, PARTITIONS, USER, Said, Taking, event, fixed

HOUR_MS = 3_600_000
HORIZON_H = 72
LAYOUT = Layout(BUCKETS, PARTITIONS, ClockRules("replay", 0))


class Facts(Silent):
    """Keeps the gauge."""

    mixed = -1.0

    def gauge(self, name: str, value: float, **_labels: str) -> None:
        """Remember it."""
        if name == "partitions_mixed":
            self.mixed = value


class Process:
    """A process on the real Redis that owns every partition."""

    def __init__(self, url: str, prefix: str, context: Context = CONTEXT) -> None:
        """Nothing is read yet."""
        self.store, self.facts = Store(url, prefix, BUCKETS, {}), Facts()
        outbox = Outbox(Taking(), "", Silent())
        self.processor = Processor(
            self.store, outbox, LAYOUT, lambda: context, self.facts, lambda: AT_MS, Recall(dict, "")
        )
        self.timers = Timers(self.processor)
        self.processor.after_batch = self.timers.after_batch
        self.offsets: dict[tuple[str, int], int] = {}

    async def say(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """A record of a partition is read."""
        offset = self.offsets.get((topic, partition), 0)
        self.offsets[topic, partition] = offset + 1
        await self.processor.batch(Batch(topic, partition, [Said(offset, key, value)]))

    async def clock(self, hours: float, partitions: range = range(PARTITIONS)) -> None:
        """The shop's clock advances on these partitions, and two turns of the keeper pass."""
        at = (instant(AT_MS) + timedelta(hours=hours)).isoformat()
        for topic in (SHOP_EVENTS.name, ADS_EVENTS.name):
            for partition in partitions:
                made = {"messageId": f"c{hours}", "type": "track", "event": "Clock Advanced", "userId": "c"}
                await self.say(topic, partition, b"c", encode(made | {"timestamp": at, "properties": {}}))
        for _ in range(2):
            self.timers.backlog.ask(dict.fromkeys(self.timers.backlog.unasked, 0))  # there are no strategies
            await self.processor.persistently(lambda: self.timers.catch_up(range(PARTITIONS)))

    def mark(self) -> tuple[bool, float]:
        """Whether the store is marked, and what the metric says."""
        return self.store.mixed, self.facts.mixed

    def horizons(self) -> list[float]:
        """How far windows may close, hours, by partition."""
        found = [self.timers.horizon_ms(partition) for partition in range(PARTITIONS)]
        return [(each or 0) / HOUR_MS - AT_MS / HOUR_MS for each in found]


async def _played(url: str, prefix: str, story: Callable[[Process], Awaitable[None]]) -> None:
    process = Process(url, prefix)
    try:
        await story(process)
    finally:
        await process.store.close()


async def _story(process: Process) -> None:
    await process.clock(0)
    assert process.mark() == (False, 0.0)
    await process.clock(1, range(1))
    assert process.horizons() == [1, 0]
    await process.say(SHOP_EVENTS.name, 1, USER.encode(), event(USER, "p1", 1))  # the user's is partition 0
    await process.clock(2, range(1))
    assert process.mark() == (True, 1.0)
    assert process.horizons() == [0, 0]
    await process.clock(HORIZON_H, range(1))
    assert process.mark() == (True, 1.0)  # partition 1 may hold more of them
    await process.clock(HORIZON_H)
    assert process.mark() == (True, 1.0)
    await process.clock(HORIZON_H + 0.01)
    assert process.mark() == (False, 0.0)
    await process.clock(HORIZON_H + 5, range(1))
    assert process.horizons() == pytest.approx([HORIZON_H + 5, HORIZON_H + 0.01])
    await process.say(SHOP_EVENTS.name, 1, USER.encode(), event(USER, "p2", 2))  # late, and astray again
    await process.clock(HORIZON_H + 6)
    assert process.mark() == (True, 1.0)
    await process.clock(2 * HORIZON_H)
    assert process.mark() == (True, 1.0)  # counted from when it was read
    await process.clock(2 * HORIZON_H + 0.02)
    assert process.mark() == (False, 0.0)


def test_windows_wait_for_every_partition_until_a_horizon_after_the_last_record_astray(redis_url: str) -> None:
    """The mark is set, holds until every partition has passed it by a horizon, goes by itself, and comes again."""
    asyncio.run(fixed(redis_url, "mixed."))
    asyncio.run(_played(redis_url, "mixed.", _story))


async def _marked_by_an_older_program(process: Process) -> None:
    for hours in (100, 100 + HORIZON_H - 1):
        await process.clock(hours)
        assert process.mark() == (True, 1.0)
    await process.clock(100 + HORIZON_H)
    assert process.mark() == (False, 0.0)


def test_a_mark_that_does_not_say_since_when_counts_from_when_it_is_met(redis_url: str) -> None:
    """Older programs wrote 1."""
    asyncio.run(fixed(redis_url, "since."))
    with redis.Redis.from_url(redis_url) as client:
        client.hset(control_key("since."), MIXED_FIELD, 1)
    asyncio.run(_played(redis_url, "since.", _marked_by_an_older_program))


async def _two_processes(url: str) -> None:
    one, other = Store(url, "both.", BUCKETS, {}), Store(url, "both.", BUCKETS, {})
    await one.mark_mixed(AT_MS)
    await other.paused()
    await one.mark_mixed(AT_MS + 5)
    await one.mark_mixed(AT_MS + 2)
    assert (one.mixed_ms, other.mixed_ms) == (AT_MS + 5, AT_MS)
    assert not await other.unmix()
    await other.paused()
    assert other.mixed_ms == AT_MS + 5
    assert await other.unmix()
    await one.paused()
    assert not one.mixed
    for store in (one, other):
        await store.close()


def test_a_record_seen_meanwhile_by_another_process_keeps_the_mark(redis_url: str) -> None:
    """The mark only grows, and is taken away only as it was last seen."""
    asyncio.run(_two_processes(redis_url))


def test_what_was_read_late_counts_from_when_it_was_read() -> None:
    """By the partition's watermark, else the record's own time; records in their partitions do not count."""
    said = event(USER, "p1", 1)
    items: list[Item] = []
    for partition, watermark_ms in ((0, None), (1, None), (1, AT_MS + HOUR_MS)):
        items += Reader(SHOP_EVENTS.name, partition, LAYOUT, watermark_ms, AT_MS).read([Said(0, USER.encode(), said)])
    assert mispartitioned_ms(items[:1]) is None
    assert mispartitioned_ms(items[:2]) == AT_MS + 1000
    assert mispartitioned_ms(items) == AT_MS + HOUR_MS
