"""A Redis that came back older: hours do not pass again before the strategies that were told in them have been read again."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import pytest
import redis

from streaming.batch import Batch
from streaming.contracts.codec import decode, encode, instant
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import ADS_EVENTS, DEAD_LETTERS, REWARDS, SHOP_EVENTS, STRATEGIES
from streaming.floors import Floors
from streaming.keys import control_key, namespace
from streaming.processor import Processor
from streaming.recall import Recall
from streaming.store import Store
from streaming.timers import Timers
from tests.streaming import attribution_samples
from tests.streaming.test_merging import AT_MS, BUCKETS, USER, Said, fixed, processor_of

TOLD = attribution_samples.moved(
    attribution_samples.strategy(1), USER, instant(AT_MS), instant(AT_MS) + timedelta(hours=1)
)
INPUTS = (SHOP_EVENTS, ADS_EVENTS)


class Published:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.said: list[tuple[str, bytes]] = []

    async def send(self, topic: str, key: bytes | None, value: bytes | None, *_: Any) -> Awaitable[None]:
        """Acknowledge."""
        assert key is not None
        self.said.append((topic, value or b""))
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(None)
        return answer

    def take(self) -> tuple[list[Reward], int]:
        """Rewards, and how many dead letters, since the last look."""
        said, self.said = self.said, []
        rewards = [decode(value, Reward) for topic, value in said if topic == REWARDS.name]
        return rewards, sum(topic == DEAD_LETTERS.name for topic, _ in said)


class NothingSaid(Recall):
    """No message was published since the copy."""

    async def read_back(self, since_ms: int) -> None:
        """There is nothing to read."""


def said(message_id: str, name: str, hours: float, **properties: Any) -> bytes:
    """An event of the customer's."""
    at = (instant(AT_MS) + timedelta(hours=hours)).isoformat()
    made = {"messageId": message_id, "type": "track", "event": name, "userId": USER, "timestamp": at}
    return encode(made | {"properties": properties})


async def told(processor: Processor, timers: Timers, *, strategies_last: bool) -> None:
    """A strategy, how it was seen, and the shop's clock a day and a half later, read in this order or with it last."""
    seen = Said(0, USER.encode(), said("m1", "Promotion Viewed", 0.1, strategy_id=TOLD.strategy_id))
    batches = [Batch(STRATEGIES.name, 0, [Said(0, USER.encode(), encode(TOLD))])]
    for topic, records in ((SHOP_EVENTS, []), (ADS_EVENTS, [seen])):
        clock = Said(len(records), b"c", said(f"c {topic.name}", "Clock Advanced", 36))
        batches.append(Batch(topic.name, 0, [*records, clock]))
    if strategies_last:
        batches.append(batches.pop(0))
    for batch in batches:
        await processor.batch(batch)
    await processor.persistently(lambda: timers.catch_up([0]))


async def restored(url: str, prefix: str) -> tuple[list[Reward], int]:
    """What is said of the hours that are read again, the strategies last, after Redis came back empty."""
    store, published = Store(url, prefix, BUCKETS, {}), Published()
    processor = processor_of(store, NothingSaid(dict, ""), published)
    timers = Timers(processor)
    processor.after_batch = timers.after_batch
    await told(processor, timers, strategies_last=False)
    rewards, letters = published.take()
    assert ([(r.stage, r.outcomes.shown) for r in rewards], letters) == ([("response", True)], 0)
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"*{namespace(prefix)}*"):
            if key.decode() != control_key(prefix):
                client.delete(key)
    processor.drop_caches()  # as the keeper's next turn does, to which the sign of life is not as it is known
    await told(processor, timers, strategies_last=True)
    await store.close()
    return published.take()


def test_time_waits_for_strategies_that_are_read_again(redis_url: str) -> None:
    """The exposure is joined and the same response is published, although the shop's hours were read again first."""
    asyncio.run(fixed(redis_url, "older."))
    rewards, letters = asyncio.run(restored(redis_url, "older."))
    assert ([(r.stage, r.outcomes.shown) for r in rewards], letters) == ([("response", True)], 0)


def test_without_waiting_the_exposure_is_lost(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the wait switched off it is given up before its strategy is read, whose response says otherwise than before."""
    monkeypatch.setattr(Floors, "newly_owed", lambda *_: None)
    asyncio.run(fixed(redis_url, "hasty."))
    rewards, letters = asyncio.run(restored(redis_url, "hasty."))
    assert ([(r.stage, r.outcomes.shown) for r in rewards], letters) == ([("response", False)], 1)
