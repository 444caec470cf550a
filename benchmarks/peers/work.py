"""What all peers share: the pure functions of `streaming`, and plain writes to Redis. Nothing here knows a framework."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from benchmarks.peers.job import Job
from benchmarks.peers.traffic import catalog
from streaming.clock import ClockRules
from streaming.contracts.topics import SHOP_EVENTS
from streaming.core import Context, State, decode_state
from streaming.folding import Folding, count_without_customer, fold_item
from streaming.open_state import Windows
from streaming.reading import Incoming, Item, Layout, Reader
from streaming.reference import snapshot
from streaming.rules import Rules
from streaming.writes import ENTRY, Writes

HOUR_MS = 3_600_000
ROWS, OPEN, DUE, OUTBOX, WANTS, COUNTS = "rows", "open", "due", "outbox", "wants", "counts"
"""Keys in the run's own Redis database."""
BATCH = 2000
"""Records that a peer asks for at once: what our agents' setting is."""
CACHED = 100_000
"""Customers kept in memory by a peer that keeps some, as our agents do."""

States = OrderedDict[str, State | None]


class Record(Struct):
    """A record as `streaming.reading` reads it, for clients whose own has other names."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes]] = ()


def context() -> Context:
    """The catalog and the default rules; every system is given the same."""
    return Context(snapshot(catalog()), Rules(), Windows.of(72 * HOUR_MS, 24 * HOUR_MS))


class Work:
    """Decode, validate, deduplicate, fold, trigger rules, candidates, encode."""

    def __init__(self, job: Job) -> None:
        """One reader per partition."""
        layout = Layout(64, job.partitions, ClockRules("replay", 600_000))
        wall_ms = int(time.time() * 1000)
        self._context = context()
        self._readers = [Reader(SHOP_EVENTS.name, p, layout, None, wall_ms) for p in range(job.partitions)]

    def read(self, partition: int, records: Sequence[Incoming]) -> list[Item]:
        """Decode and validate."""
        return self._readers[partition].read(records)

    def fold(self, states: States, partition: int, items: Iterable[Item], records: Iterable[Incoming]) -> Folding:
        """Fold the items into states that were read before, and encode what has changed."""
        folding = Folding(states)
        for item, record in zip(items, records, strict=True):
            if item.message is not None:
                fold_item(folding, item, self._context, topic=SHOP_EVENTS.name, partition=partition, record=record)
            else:
                count_without_customer(folding, [item], SHOP_EVENTS.name, partition)
        folding.settle(self._context)
        return folding


def users_of(items: Iterable[Item]) -> set[str]:
    """The customers of these items."""
    return {item.user_id for item in items if item.user_id}


def fates_of(writes: Writes) -> dict[str, int]:
    """Fate → records."""
    found: dict[str, int] = {}
    for field, count in writes.counts.items():
        fate = field.rpartition("|")[2]
        found[fate] = found.get(fate, 0) + count
    return found


def ask(pipeline: Any, users: Sequence[str]) -> None:
    """Ask Redis for customers."""
    pipeline.hmget(ROWS, users)
    pipeline.hmget(OPEN, users)


def take(states: States, users: Sequence[str], answer: Sequence[Any]) -> None:
    """Put what Redis answered into the cache."""
    for user, row, open_ in zip(users, *answer, strict=True):
        states[user] = decode_state(row, open_)


def trim(states: States) -> None:
    """Forget who was read first."""
    while len(states) > CACHED:
        states.popitem(last=False)


def write(pipeline: Any, writes: Writes, outbox: Sequence[tuple[str, bytes]] = ()) -> None:
    """Everything of one batch, as commands of one MULTI/EXEC."""
    put(pipeline, ROWS, writes.rows)
    put(pipeline, OPEN, writes.open)
    due = {user: at_ms for user, at_ms in writes.due_ms.items() if at_ms is not None}
    if due:
        pipeline.zadd(DUE, due)
    gone = [user for user, at_ms in writes.due_ms.items() if at_ms is None]
    if gone:
        pipeline.zrem(DUE, *gone)
    if outbox:
        pipeline.hset(OUTBOX, mapping=dict(outbox))
    wanted = {member: 0 for member, there in writes.wants.items() if there}
    if wanted:
        pipeline.zadd(WANTS, wanted)
    unwanted = [member for member, there in writes.wants.items() if not there]
    if unwanted:
        pipeline.zrem(WANTS, *unwanted)
    for field, count in writes.counts.items():
        pipeline.hincrby(COUNTS, field, count)


def put(pipeline: Any, key: str, values: dict[str, bytes | None]) -> None:
    """Set and delete the fields of one hash."""
    there = {field: value for field, value in values.items() if value is not None}
    if there:
        pipeline.hset(key, mapping=there)
    gone = [field for field, value in values.items() if value is None]
    if gone:
        pipeline.hdel(key, *gone)


def outbox_of(writes: Writes, batch: str) -> list[tuple[str, bytes]]:
    """The batch's messages as entries of an outbox."""
    return [(f"{batch}.{number}", ENTRY.encode(entry)) for number, entry in enumerate(writes.outbox)]
