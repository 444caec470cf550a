"""Compare-and-set on real Redis: one writer wins, the other changes nothing; books, outbox, incarnations."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis

from streaming import control
from streaming.arms import assign
from streaming.contracts.errors import Unavailable
from streaming.contracts.partition import bucket_of
from streaming.core import State, encode_state_row, new_state
from streaming.effects import Publish
from streaming.keys import fate_field, offset_field, seal_field, want_member, wanted_by, watermark_field
from streaming.rules import Rules
from streaming.store import Refused, Store
from streaming.writes import Writes

BUCKETS = 4
USER = "ann"
HERE = bucket_of(USER, BUCKETS)
TOPIC = "shop.events"


def run(url: str, act: Callable[..., Awaitable[Any]], *, stores: int = 1, topic_id: str = "first") -> Any:
    """Run something with open stores."""

    async def body() -> Any:
        opened = [Store(url, "", BUCKETS, {TOPIC: topic_id}) for _ in range(stores)]
        try:
            return await act(*opened)
        finally:
            for store in opened:
                await store.close()

    return asyncio.run(body())


def writes(offset: int, fate: str = "folded", user: str = USER) -> Writes:
    """A row, a due time, an outgoing message, an offset and a count."""
    made = Writes()
    made.rows[user] = encode_state_row(new_state(user, Rules()))
    made.due_ms[user] = 1000 + offset
    made.outbox.append(Publish("strategy.requests", b"k", b"v%d" % offset, f"id{offset}"))
    made.meta[offset_field(TOPIC, 0)] = str(offset)
    made.counts[fate_field(TOPIC, 0, fate)] += 1
    return made


def test_what_is_written_is_read(redis_url: str) -> None:
    """Rows, due times, outbox, offsets and counts come back as they were written."""

    async def act(store: Store) -> None:
        await store.load([HERE])
        added = await store.write({HERE: writes(7)})
        assert [entry.value for _, entry in added[HERE]] == [b"v7"]
        store.forget()
        left = await store.load([HERE])
        assert left == added
        assert store.bucket(HERE).applied(TOPIC, 0) == 7
        await store.read({HERE: [USER, "nobody"]})
        found = store.bucket(HERE).states[USER]
        assert found == State(new_state(USER, Rules()).row)
        assert found.row.arm == assign(USER, Rules().shares, Rules().arm_salt)
        assert store.bucket(HERE).states["nobody"] is None
        assert await store.due([HERE], 1007, 10) == {HERE: [USER]}
        assert await store.due([HERE], 1006, 10) == {}

    run(redis_url, act)


def test_a_look_reads_customers_and_the_pause_together(redis_url: str) -> None:
    """The same as `read` and `paused`, whether anybody has to be read or is cached."""

    async def act(store: Store) -> None:
        await store.load([HERE])
        await store.write({HERE: writes(7)})
        store.forget()
        await store.load([HERE])
        assert not await store.look({HERE: [USER]})
        assert store.bucket(HERE).states[USER] == State(new_state(USER, Rules()).row)
        with redis.Redis.from_url(redis_url) as client:
            control.pause(client, "")
        assert await store.look({HERE: [USER]})
        assert await store.look({HERE: ["nobody"]})
        assert store.bucket(HERE).states["nobody"] is None

    run(redis_url, act)


def test_the_slower_writer_changes_nothing(redis_url: str) -> None:
    """Two owners of one bucket: the loser is refused as a whole, reads again and sees what was applied."""

    async def act(fast: Store, slow: Store) -> None:
        for store in (fast, slow):
            await store.load([HERE])
        await fast.write({HERE: writes(5)})
        with pytest.raises(Refused):
            await slow.write({HERE: writes(3, "duplicate", "bob")})
        await slow.load([HERE])
        await slow.read({HERE: ["bob"]})
        assert slow.bucket(HERE).states["bob"] is None
        assert slow.bucket(HERE).applied(TOPIC, 0) == 5
        await slow.write({HERE: writes(9)})

    run(redis_url, act, stores=2)
    with redis.Redis.from_url(redis_url) as client:
        client.hset("stratagem:control", "buckets", BUCKETS)
        books = control.read_books(client)
    assert books.fates == {TOPIC: {"folded": 2}}
    assert (books.profiles, books.outbox) == (1, 2)


def test_outbox_entries_are_cleared_by_id(redis_url: str) -> None:
    """What another owner added meanwhile stays, in the order of writing."""

    async def act(store: Store) -> None:
        await store.load([HERE])
        first = await store.write({HERE: writes(1)})
        await store.write({HERE: writes(2)})
        await store.write({HERE: writes(3)})
        await store.clear({HERE: [id_ for id_, _ in first[HERE]]})
        left = await store.leftovers(store.bucket_numbers)
        assert [entry.value for _, entry in left[HERE]] == [b"v2", b"v3"]

    run(redis_url, act)


def test_a_recreated_topic_is_noticed(redis_url: str) -> None:
    """Offsets and watermarks of a topic that was deleted and made again mean nothing; rows stay."""

    async def write(store: Store) -> None:
        await store.load([HERE])
        made = writes(5)
        made.meta |= {seal_field(TOPIC, 0): "5", watermark_field(TOPIC, 0): "99"}
        await store.write({HERE: made})

    async def look(store: Store) -> None:
        await store.load([HERE])
        bucket = store.bucket(HERE)
        assert (bucket.applied(TOPIC, 0), bucket.sealed(TOPIC, 0), bucket.watermark_ms(TOPIC, 0)) == (0, 0, None)
        assert store.recreated == {TOPIC}
        await store.read({HERE: [USER]})
        assert bucket.states[USER] is not None

    run(redis_url, write)
    run(redis_url, look, topic_id="second")


def test_the_number_of_buckets_is_fixed_at_first_start(redis_url: str) -> None:
    """Another number is refused, naming the setting and both numbers."""

    async def act(store: Store) -> None:
        await store.fix_buckets()
        await store.fix_buckets()
        other = Store(redis_url, "", 2 * BUCKETS, {})
        with pytest.raises(ValueError, match=r"STRATAGEM_BUCKETS=8: .* begun with 4"):
            await other.fix_buckets()
        await other.close()

    run(redis_url, act)


def test_only_so_many_customers_stay_in_memory(redis_url: str) -> None:
    """The least recently used make room between turns; who was read last stays, and nothing is lost in Redis."""

    async def act(_: Store) -> None:
        store = Store(redis_url, "", BUCKETS, {TOPIC: "first"}, max_cached=3)
        await store.load([HERE])
        users = [f"user-{number}" for number in range(5)]
        await store.read({HERE: users})
        await store.read({HERE: users[:1]})
        assert list(store.bucket(HERE).states) == [*users[1:], users[0]]
        store.trim()
        assert list(store.bucket(HERE).states) == [*users[3:], users[0]]
        await store.close()

    run(redis_url, act)


def test_a_redis_that_does_not_answer_is_unavailable() -> None:
    """By blame: not our bug, to be retried."""

    async def act(store: Store) -> None:
        with pytest.raises(Unavailable, match="Redis"):
            await store.load([0])

    run("unix:///nowhere/redis.sock", act)


def test_who_wants_a_product_is_found_by_its_id_alone(redis_url: str) -> None:
    """Ids that begin with each other, or hold separators, do not mix."""
    ids = ["p", "p1", "p1:2", "2:p", "", "茶"]

    async def act(store: Store) -> None:
        await store.load([HERE])
        made = Writes()
        for number, product in enumerate(ids):
            made.want(f"u{number}", [], [product])
        await store.write({HERE: made})
        for number, product in enumerate(ids):
            assert await store.wanting(HERE, product) == [f"u{number}"]
        assert set(await store.wants(HERE)) == {(product, f"u{number}") for number, product in enumerate(ids)}

    run(redis_url, act)
    assert wanted_by(want_member("1:2", "3:4")) == ("1:2", "3:4")
