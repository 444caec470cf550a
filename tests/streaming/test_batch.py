"""A batch that begins behind what was applied: passed where nothing lies between, read again where something does."""

import asyncio

import pytest

from streaming.batch import Batch, Rewind
from streaming.contracts.topics import SHOP_EVENTS
from streaming.store import Store
from tests.streaming.test_merging import BUCKETS, USER, Said, event, processor_of
from tests.streaming.test_older_redis import NothingSaid


def batch(offset: int, since: int | None = None) -> Batch:
    """One record."""
    return Batch(SHOP_EVENTS.name, 0, [Said(offset, USER.encode(), event(USER, f"p{offset}", offset))], since)


async def applied(url: str, prefix: str, batches: list[Batch], next_record: int | None) -> tuple[list[int], int]:
    """Where reading was asked to go back to, and how far the partition is sealed."""

    async def asked(topic: str, partition: int, offset: int) -> int | None:
        assert (topic, partition) == (SHOP_EVENTS.name, 0)
        assert offset <= (next_record or offset)
        return next_record

    store, back = Store(url, prefix, BUCKETS, {}), []
    processor = processor_of(store, NothingSaid(dict, ""))
    processor.next_record = asked
    for each in batches:
        try:
            await processor.batch(each)
        except Rewind as error:
            back.append(error.offset)
    await processor.load([0])
    sealed = store.bucket(0).sealed(SHOP_EVENTS.name, 0)
    await store.close()
    return back, sealed


@pytest.mark.parametrize(
    ("second", "next_record", "found"),
    [
        (batch(5, since=1), 1, ([], 6)),  # read without a break: a marker lies between, nobody has to ask
        (batch(5), 5, ([], 6)),  # a marker or expired records, and where reading began is not known
        (batch(5), None, ([], 6)),  # what lay there has expired meanwhile
        (batch(5), 1, ([1], 1)),
        (batch(5, since=3), 3, ([1], 1)),  # without a break, but from beyond what was applied
    ],
)
def test_a_gap_is_passed_only_where_no_record_is(
    redis_url: str, second: Batch, next_record: int | None, found: tuple[list[int], int]
) -> None:
    """Kafka says what lies between, if the consumer does not know."""
    prefix = f"gap{second.since}{next_record}."
    assert asyncio.run(applied(redis_url, prefix, [batch(0), second], next_record)) == found


def test_no_number_of_tries_makes_records_a_gap(redis_url: str) -> None:
    """What was fetched before a seek may come more than once; the record between is folded all the same."""
    batches = [batch(0), batch(5), batch(5), batch(6), batch(1), batch(5, since=2)]
    assert asyncio.run(applied(redis_url, "tries.", batches, 1)) == ([1, 1, 1], 6)
