"""A connection that was lost: behind the next one Redis may have lost one bucket's write and kept another's."""

import asyncio
from collections.abc import Mapping

import pytest
import redis

from streaming.batch import Batch
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import SHOP_EVENTS
from streaming.effects import Publish
from streaming.keys import BucketKeys
from streaming.queries import Queries
from streaming.recall import Recall
from streaming.store import Store
from streaming.writes import Writes
from tests.streaming.test_merging import AT_MS, BUCKETS, Said, event, named, processor_of

USER = named(2, "user")
HOME, HERE = 0, 2
"""The home of partition 0, and the bucket of its customer."""


class Forgetful(Store):
    """A store whose Redis loses the first write of a bucket, as one does that restarts without its last second."""

    def __init__(self, url: str, prefix: str) -> None:
        """Nothing is lost yet."""
        super().__init__(url, prefix, BUCKETS, {})
        self._url, self._names = url, BucketKeys.of(prefix, HERE).all
        self.lost = False

    async def write(self, all_writes: Mapping[int, Writes]) -> dict[int, list[tuple[str, Publish]]]:
        """Write, and lose it once."""
        added = await super().write(all_writes)
        if HERE in all_writes and not self.lost:
            self.lost = True
            with redis.Redis.from_url(self._url) as other:
                other.delete(*self._names)
            await self._redis.connection_pool.disconnect()
        return added


def folded(url: str, prefix: str) -> tuple[bool, int]:
    """Whether the customer's row is there after one batch, and how far the partition is sealed."""

    async def body() -> tuple[bool, int]:
        store = Forgetful(url, prefix)
        processor = processor_of(store)
        await processor.batch(Batch(SHOP_EVENTS.name, 0, [Said(0, USER.encode(), event(USER, "p1", 1))]))
        store.forget()
        await processor.load([HOME, HERE])
        await store.read({HERE: [USER]})
        found = store.bucket(HERE).states[USER] is not None, store.bucket(HOME).sealed(SHOP_EVENTS.name, 0)
        await store.close()
        assert store.lost
        return found

    return asyncio.run(body())


def test_what_was_lost_between_two_buckets_is_folded_again(redis_url: str) -> None:
    """The batch is not sealed on the word of a connection that is gone."""
    assert folded(redis_url, "lost.") == (True, 1)


def test_without_protection_a_lost_write_is_sealed(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py connects again by itself: the partition counts as applied, and the customer's record is nowhere."""
    monkeypatch.setattr(Store, "_greet", Queries._greet)
    assert folded(redis_url, "kept.") == (False, 1)


def test_a_store_that_knows_nothing_connects_again(redis_url: str) -> None:
    """Only what is cached is void: once it is forgotten the next question is answered."""

    async def body() -> None:
        store = Store(redis_url, "again.", BUCKETS, {})
        for known in (False, True):
            await store._redis.connection_pool.disconnect()
            if known:
                with pytest.raises(Unavailable, match="the connection was lost"):
                    await store.paused()
                store.forget()
            assert not await store.paused()
            await store.load([HERE])
        await store.close()

    asyncio.run(body())


class Asked(Recall):
    """Notes from when on the outputs were to be read back."""

    def __init__(self) -> None:
        """Nothing was asked."""
        super().__init__(dict, "")
        self.since_ms: list[int] = []

    async def read_back(self, since_ms: int) -> None:
        """Note it."""
        self.since_ms.append(since_ms)


@pytest.mark.parametrize(("another", "since_ms"), [(True, [AT_MS]), (False, [])], ids=["restarted", "the same"])
def test_what_was_said_is_read_back_if_another_redis_answers(
    redis_url: str, since_ms: list[int], *, another: bool
) -> None:
    """From its last sign of life, which a home bucket holds; a Redis that was only out of reach has lost nothing."""

    async def body() -> list[int]:
        store, recall = Store(redis_url, f"said{another}.", BUCKETS, {}), Asked()
        processor = processor_of(store, recall)
        await store.another_process()
        await processor.load([HOME])
        assert await store.stamp([HOME], AT_MS)
        if another:
            store._run_id = "of the one before"
        await store._redis.connection_pool.disconnect()
        suspect = []
        for number in (HERE, HOME, HOME):  # the first is no home: it cannot say since when
            await processor.persistently(lambda: processor.load([number]))  # noqa: B023 -- awaited at once
            suspect.append(store.suspect)
        assert suspect == [True, False, False]
        await store.close()
        return recall.since_ms

    assert asyncio.run(body()) == since_ms
