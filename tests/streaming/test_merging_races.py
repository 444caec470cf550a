"""Claims that meet: two processes amid each other's merges, two users of one id, ids merged over many steps."""

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import redis

from streaming.batch import Batch
from streaming.contracts.partition import bucket_of
from streaming.contracts.topics import SHOP_EVENTS
from streaming.effects import Publish
from streaming.keys import BucketKeys
from streaming.store import Store
from streaming.writes import Writes
from tests.streaming.test_merging import BUCKETS, PARTITIONS, Said, event, fixed, named, process

LIMIT_S = 60.0
ANNA, BORIS = named(0, "anna"), named(1, "boris")
OFFSETS: dict[int, int] = {}


class Meeting(Store):
    """A store that writes the intents to merge, and then the frozen rows, at the same time as another's."""

    def __init__(self, url: str, prefix: str, meetings: list[asyncio.Barrier]) -> None:
        """Meet once each."""
        super().__init__(url, prefix, BUCKETS, {})
        self._meetings = list(meetings)

    async def write(self, all_writes: Mapping[int, Writes]) -> dict[int, list[tuple[str, Publish]]]:
        """Meet after the first write and before the first freezing."""
        freezing = any(b'"frozen"' in (row or b"") for each in all_writes.values() for row in each.rows.values())
        if freezing and len(self._meetings) == 1:
            await asyncio.wait_for(self._meetings.pop().wait(), LIMIT_S)
        written = await super().write(all_writes)
        if len(self._meetings) == 2:
            await asyncio.wait_for(self._meetings.pop(0).wait(), LIMIT_S)
        return written


def batch(partition: int, *said: tuple[str, str, int]) -> Batch:
    """Customer, what was said, and the second: one fetch, after those made before."""
    first = OFFSETS.get(partition, 0)
    OFFSETS[partition] = first + len(said)
    records = [Said(first + n, user.encode(), event(user, what, second)) for n, (user, what, second) in enumerate(said)]
    return Batch(SHOP_EVENTS.name, partition, records)


def rows(url: str, prefix: str) -> dict[str, Any]:
    """Every row."""
    with redis.Redis.from_url(url) as client:
        found: dict[str, Any] = {}
        for number in range(BUCKETS):
            kept: Any = client.hgetall(BucketKeys.of(prefix, number).rows)
            found |= {user.decode(): json.loads(row) for user, row in kept.items()}
            assert client.hlen(BucketKeys.of(prefix, number).outbox) == 0
    return found


def views(row: Mapping[str, Any]) -> set[str]:
    """Products that a row knows to have been viewed."""
    return {view[1] for view in row["profile"]["views"]}


async def _each_says_to_be_the_other(url: str) -> None:
    meetings = [asyncio.Barrier(2), asyncio.Barrier(2)]
    stores = [Meeting(url, "circle.", meetings) for _ in range(2)]
    processes = [process(store)[0] for store in stores]
    said = (batch(0, (ANNA, "p1", 1), (ANNA, f"is {BORIS}", 4)), batch(1, (BORIS, "p2", 2), (BORIS, f"is {ANNA}", 3)))
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*(each.batch(one) for each, one in zip(processes, said, strict=True)))
        await processes[0].batch(batch(0, (ANNA, "p3", 5)))
        await processes[1].batch(batch(1, (BORIS, "p4", 6)))
    for store in stores:
        await store.close()


def test_claims_in_a_circle_end_in_one_customer(redis_url: str) -> None:
    """Two processes each freeze the row that the other is writing to: the earlier claim holds, and nothing is lost."""
    OFFSETS.clear()
    asyncio.run(fixed(redis_url, "circle."))
    asyncio.run(_each_says_to_be_the_other(redis_url))
    found = rows(redis_url, "circle.")
    assert (found[BORIS].get("state", "live"), found[ANNA]["state"]) == ("live", "pointer")
    assert views(found[BORIS]) == {"p1", "p2", "p3", "p4"}
    assert found[BORIS]["merged"].keys() == {ANNA}


async def _alone(url: str, prefix: str, *said: Batch) -> None:
    store = Store(url, prefix, BUCKETS, {})
    processor, keeper = process(store)
    for each in said:
        await processor.batch(each)
    await processor.persistently(keeper._turn)
    await store.close()


def test_an_id_merged_over_many_steps_is_the_last_customers(redis_url: str) -> None:
    """Nine ids, each said to be the next one's: events under the first reach the last."""
    OFFSETS.clear()
    asyncio.run(fixed(redis_url, "chain."))
    ids = [named(n % BUCKETS, f"step{n}x") for n in range(9)]
    said = [(new, f"is {old}", n) for n, (old, new) in enumerate(pairwise(ids))]
    whole = [batch(bucket_of(who, BUCKETS) % PARTITIONS, (who, what, at)) for who, what, at in said]
    last = batch(bucket_of(ids[0], BUCKETS) % PARTITIONS, (ids[0], "p7", 30))
    asyncio.run(_alone(redis_url, "chain.", *whole, last))
    found = rows(redis_url, "chain.")
    assert views(found[ids[-1]]) == {"p7"}
    assert {found[each]["state"] for each in ids[:-1]} == {"pointer"}


def test_the_second_claim_moves_nothing(redis_url: str) -> None:
    """Two users of one id: events under it stay the first's, the second remembers that the id is not theirs."""
    OFFSETS.clear()
    asyncio.run(fixed(redis_url, "two."))
    shared = named(2, "shared")
    at = bucket_of(shared, BUCKETS) % PARTITIONS
    asyncio.run(
        _alone(
            redis_url, "two.",
            batch(at, (shared, "p1", 1)),
            batch(0, (ANNA, f"is {shared}", 3)),
            batch(1, (BORIS, f"is {shared}", 2), (BORIS, f"is {shared}", 4)),
            batch(at, (shared, "p5", 5)),
        )
    )  # fmt: skip
    found = rows(redis_url, "two.")
    assert (views(found[ANNA]), found[BORIS]["conflicts"]) == ({"p1", "p5"}, [shared])
    assert "conflicts" not in found[ANNA]
    assert "views" not in found[BORIS]["profile"]
