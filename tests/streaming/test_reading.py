"""Raw records → items: who is meant, what was said, or why not."""

import json
from typing import Any

import pytest

from streaming.clock import ClockRules
from streaming.contracts.partition import bucket_of, partition_of
from streaming.dead_letters import Headers
from streaming.reading import Item, Layout, Reader

NOW_MS = 1_772_452_800_000
LAYOUT = Layout(8, 2, ClockRules("replay", 0))
PARTITION = partition_of(b"ann", 2)
DAY_MS = 24 * 3600 * 1000


class Record:
    """A consumed record."""

    def __init__(self, key: bytes | None, value: bytes | None, offset: int = 0) -> None:
        """Stamp it with the worlds' time."""
        self.key, self.value, self.offset, self.timestamp = key, value, offset, NOW_MS
        self.headers: Headers = ()


def said(name: str = "Products Searched", user: str = "ann", timestamp: str = "2026-03-02T12:00:00Z") -> bytes:
    """An event's bytes."""
    properties: dict[str, Any] = {"query": "tea"} if name == "Products Searched" else {}
    event = {"messageId": "m", "type": "track", "event": name, "userId": user, "timestamp": timestamp}
    return json.dumps({**event, "properties": properties}).encode()


def read(*records: Record, topic: str = "shop.events", partition: int = PARTITION) -> tuple[list[Item], int | None]:
    """Items and the watermark after them; the shop's clock stands at noon."""
    reader = Reader(topic, partition, LAYOUT, NOW_MS, NOW_MS)
    return reader.read(records), reader.watermark_ms


def test_a_customers_event_goes_to_their_bucket() -> None:
    """User, bucket and message are known; the fate is still to come."""
    [item], _ = read(Record(b"ann", said()))
    assert (item.user_id, item.bucket, item.fate) == ("ann", bucket_of("ann", 8), None)
    assert not item.mispartitioned


def test_another_partition_than_the_keys_is_noticed() -> None:
    """Still the same bucket: the row does not depend on the partitioner."""
    [item], _ = read(Record(b"ann", said()), partition=1 - PARTITION)
    assert item.mispartitioned
    assert item.bucket == bucket_of("ann", 8)


@pytest.mark.parametrize(
    ("key", "value", "fate", "reason"),
    [
        (b"ann", None, "ignored", "empty"),
        (b"ann", b"", "ignored", "empty"),
        (b"ann", said("Page Scrolled"), "ignored", "unknown_event"),
        (b"ann", b"{", "dead_lettered", "undecodable"),
        (b"bob", said(), "dead_lettered", "bad_key"),
        (None, said(), "dead_lettered", "bad_key"),
        (b"ann", said(timestamp="2026-03-04T12:00:00Z"), "dead_lettered", "bad_timestamp"),
        (b"ann", said(user=""), "dead_lettered", "bad_field"),
    ],
)
def test_records_without_a_customer_have_their_fate(
    key: bytes | None, value: bytes | None, fate: str, reason: str
) -> None:
    """Ignored with a count, or dead-lettered with the reason; never an exception."""
    [item], _ = read(Record(key, value))
    assert (item.fate, item.reason, item.bucket) == (fate, reason, -1)
    assert (item.letter is not None) == (fate == "dead_lettered")


def test_the_shops_clock_may_jump_over_horizons_but_events_may_not() -> None:
    """A clock five days ahead moves the watermark; one two years ahead is absurd."""
    [item], watermark_ms = read(Record(b"clock", said("Clock Advanced", timestamp="2026-03-07T12:00:00Z")))
    assert (item.fate, watermark_ms) == ("clock", NOW_MS + 5 * DAY_MS)
    [item], watermark_ms = read(Record(b"clock", said("Clock Advanced", timestamp="2028-03-07T12:00:00Z")))
    assert (item.fate, watermark_ms) == ("dead_lettered", NOW_MS)


def test_each_record_is_judged_by_the_watermark_before_it() -> None:
    """Within one batch the watermark moves record by record."""
    items, _ = read(
        Record(b"ann", said(), 0),
        Record(b"clock", said("Clock Advanced", timestamp="2026-03-03T12:00:00Z"), 1),
        Record(b"ann", said(), 2),
    )
    assert [item.watermark_ms for item in items] == [NOW_MS, NOW_MS, NOW_MS + DAY_MS]


def test_a_strategy_that_cannot_be_read_is_dead_lettered() -> None:
    """The agents' third input is decoded by its own contract."""
    [item], _ = read(Record(b"ann", b'{"strategy_id": 1}'), topic="strategies")
    assert item.fate == "dead_lettered"
