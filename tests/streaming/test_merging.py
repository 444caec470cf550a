"""Killed between any two steps of a merge and started again in any way: one profile of all that was said (law 1)."""

import asyncio
import json
from collections.abc import Awaitable, Iterable, Mapping
from datetime import datetime
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from msgspec import Struct

from streaming import control
from streaming.batch import Batch
from streaming.clock import ClockRules
from streaming.contracts.codec import to_ms
from streaming.contracts.partition import bucket_of
from streaming.contracts.topics import SHOP_EVENTS
from streaming.core import Context, State, next_due_ms, on_time
from streaming.dead_letters import Headers
from streaming.effects import Publish, merge_intent
from streaming.facts import Silent
from streaming.keeper import Keeper
from streaming.keys import BucketKeys
from streaming.open_state import Echo, OpenState, Windows
from streaming.outbox import Outbox
from streaming.processor import Processor
from streaming.reading import Layout
from streaming.recall import Recall
from streaming.reference import Reference
from streaming.row import Row
from streaming.rules import Rules
from streaming.store import Store
from streaming.timers import Timers
from streaming.writes import Writes

BUCKETS, PARTITIONS = 4, 2
AT_MS = 1_772_452_800_000
CONTEXT = Context(Reference(), Rules(), Windows())


def named(bucket: int, name: str) -> str:
    """An id that lies in a bucket."""
    return next(f"{name}{n}" for n in count() if bucket_of(f"{name}{n}", BUCKETS) == bucket)


USER, PHONE, TABLET = named(0, "user"), named(1, "phone"), named(3, "tablet")
LAPTOP, WATCH = named(1, "laptop"), named(3, "watch")
ANONYMOUS = (PHONE, TABLET, LAPTOP, WATCH)
SAID: dict[int, list[list[tuple[str, str]]]] = {
    0: [
        [(USER, "p1"), (USER, f"is {LAPTOP}"), (USER, "p2")],
        [(USER, f"is {PHONE}"), (USER, "p3")],
    ],
    1: [
        [(PHONE, "p4"), (TABLET, "p5"), (LAPTOP, "p6"), (WATCH, "p7")],
        [(PHONE, f"is {TABLET}"), (TABLET, "p8"), (LAPTOP, f"is {WATCH}"), (WATCH, "p9")],
        [(TABLET, "p10"), (PHONE, "p11"), (LAPTOP, "p12"), (WATCH, "p13")],
    ],
}
"""Partition → batches of what customers viewed, or who they are."""
ORDER = ((1, 0), (0, 0), (1, 1), (0, 1), (1, 2))
"""Partition and number of each batch, as an undisturbed process reads them."""


class Killed(Exception):
    """The process ends here."""


class Mortal(Store):
    """A store that ends the process before its n-th step: the write of one bucket, or a clearing."""

    def __init__(self, url: str, prefix: str, steps: int) -> None:
        """Live so many steps."""
        super().__init__(url, prefix, BUCKETS, {})
        self.left = steps

    def _step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    async def write(self, all_writes: Mapping[int, Writes]) -> dict[int, list[tuple[str, Publish]]]:
        """Write bucket by bucket."""
        added: dict[int, list[tuple[str, Publish]]] = {}
        for number, writes in all_writes.items():
            self._step()
            added |= await super().write({number: writes})
        return added

    async def clear(self, published: Mapping[int, Iterable[str]]) -> None:
        """Clear, unless it ends here."""
        self._step()
        await super().clear(published)


class Taking:
    """A producer that takes everything at once."""

    async def send(self, *_: Any) -> Awaitable[None]:
        """Acknowledge."""
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(None)
        return answer


class Said(Struct):
    """A consumed record."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = AT_MS
    headers: Headers = ()


def batches() -> dict[tuple[int, int], Batch]:
    """What was said, as it is fetched."""
    made, times = {}, count()
    for partition, said in SAID.items():
        offsets = count()
        for number, each in enumerate(said):
            records = [Said(next(offsets), user.encode(), event(user, what, next(times))) for user, what in each]
            made[partition, number] = Batch(SHOP_EVENTS.name, partition, records)
    return made


def event(user: str, what: str, second: int) -> bytes:
    """A view, or who somebody is."""
    said: dict[str, Any] = {"messageId": f"m{second}", "userId": user, "timestamp": f"2026-03-02T12:00:{second:02}Z"}
    if what.startswith("is "):
        said |= {"type": "identify", "anonymousId": what.removeprefix("is "), "properties": {}}
    else:
        said |= {"type": "track", "event": "Product Viewed", "properties": {"product_id": what}}
    return json.dumps(said).encode()


def claimed_ms() -> dict[str, int]:
    """Anonymous id → event time at which it is said to be somebody's."""
    records = [record for batch in batches().values() for record in batch.records]
    said = [json.loads(record.value or b"") for record in records]
    known = [each for each in said if each["type"] == "identify"]
    return {each["anonymousId"]: to_ms(datetime.fromisoformat(each["timestamp"])) for each in known}


async def nothing_to_read(places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """The end offsets of topics without records."""
    return dict.fromkeys(places, 0)


def processor_of(store: Store, recall: Recall | None = None, producer: Any = None) -> Processor:
    """A processor that publishes to a producer that takes everything, unless another is given."""
    layout = Layout(BUCKETS, PARTITIONS, ClockRules("replay", 0))
    outbox = Outbox(producer or Taking(), "", Silent())
    return Processor(store, outbox, layout, lambda: CONTEXT, Silent(), lambda: AT_MS, recall or Recall(dict, ""))


def process(store: Store) -> tuple[Processor, Keeper]:
    """A processor and its keeper, as a process has them at its start."""
    processor = processor_of(store)
    catalog: Any = SimpleNamespace(bad=[])
    consumer: Any = None
    keeper = Keeper(processor, Timers(processor), catalog, "", lambda: consumer, SimpleNamespace(now=nothing_to_read))
    keeper.owned = set(range(PARTITIONS))
    return processor, keeper


async def live(
    url: str, prefix: str, order: Iterable[tuple[int, int]], *, steps: int = -1, swept: bool = False
) -> None:
    """Run a process that reads batches in an order and ends before the step after so many, if they are counted."""
    store = Mortal(url, prefix, steps)
    processor, keeper = process(store)
    try:
        if swept:
            await processor.persistently(keeper._turn)
        for place in order:
            await processor.batch(batches()[place])
        await processor.persistently(keeper._turn)
    finally:
        await store.close()


def outcome(url: str, prefix: str) -> dict[str, Any]:
    """The user's profile, what was left of the others, merges caused by no message, the books."""
    with redis.Redis.from_url(url) as client:
        books = control.read_books(client, prefix)
        rows: dict[str, Any] = {}
        for number in range(BUCKETS):
            found: Any = client.hgetall(BucketKeys.of(prefix, number).rows)
            rows |= {user.decode(): json.loads(row) for user, row in found.items()}
    left = {user: (row.get("state"), row.get("profile")) for user, row in rows.items() if user != USER}
    times = set(claimed_ms().values())
    strange = {alias: at_ms for alias, at_ms in rows[USER].get("merged", {}).items() if at_ms not in times}
    return {"profile": rows[USER]["profile"], "left": left, "strange": strange, "fates": books.fates}


async def fixed(url: str, prefix: str) -> None:
    """Fix the number of buckets, as a process does at its start."""
    store = Store(url, prefix, BUCKETS, {})
    await store.fix_buckets()
    await store.close()


def alone(url: str, prefix: str) -> dict[str, Any]:
    """The outcome of a process that nobody disturbs."""
    asyncio.run(fixed(url, prefix))
    asyncio.run(live(url, prefix, ORDER))
    return outcome(url, prefix)


def test_merged_in_one_process(redis_url: str) -> None:
    """Undisturbed, the user has every view and every id, and of the anonymous rows pointers are left."""
    found = alone(redis_url, "whole.")
    viewed = {view[1] for view in found["profile"]["views"]}
    assert viewed == {what for said in SAID.values() for each in said for _, what in each if what.startswith("p")}
    assert set(found["profile"]["aliases"]) == set(ANONYMOUS)
    assert found["strange"] == {}
    assert found["left"] == dict.fromkeys(ANONYMOUS, ("pointer", None))
    assert found["fates"] == {SHOP_EVENTS.name: {"folded": sum(len(each) for said in SAID.values() for each in said)}}


RETURNS = {
    "as before": {"order": ORDER},
    "outboxes first": {"order": ORDER, "swept": True},
    "the other partition first": {"order": tuple(sorted(ORDER, key=lambda place: -place[0]))},
}


@pytest.mark.parametrize("way", RETURNS)
def test_killed_before_any_step(redis_url: str, way: str) -> None:
    """Whatever step the kill comes before, and whatever is done first after it: the undisturbed outcome."""
    expected = alone(redis_url, "whole.")
    differing = []
    for steps in count():
        prefix = f"killed{steps}."
        asyncio.run(fixed(redis_url, prefix))
        try:
            asyncio.run(live(redis_url, prefix, ORDER, steps=steps))
        except Killed:
            asyncio.run(live(redis_url, prefix, **RETURNS[way]))  # type: ignore[arg-type]
        else:
            break
        if outcome(redis_url, prefix) != expected:
            differing.append(steps)
    assert steps > 20
    assert differing == []


def test_an_intent_to_merge_is_not_cleared_as_a_message() -> None:
    """Publishing says of messages alone that they may be cleared: a merge is done when its rows are."""
    outbox = Outbox(Taking(), "", Silent())
    entries = [("1", Publish("strategy.requests", b"k", b"v")), ("2", merge_intent("u", "a", "m", AT_MS))]
    assert asyncio.run(outbox.publish({0: entries})) == {0: ["1"]}


def test_nothing_is_due_in_a_row_that_is_being_merged() -> None:
    """The windows of a frozen row close in the user's row: closed in both, one reward would have two contents."""
    open_ = OpenState(early=(Echo("s1", "m1", "Promotion Clicked", AT_MS),))
    context = Context(Reference(), Rules(), Windows(), watermark_ms=AT_MS + 10**10)
    alone_, frozen = Row("anon", "fused"), Row("anon", "fused", alias_of="u", state="frozen")
    assert next_due_ms(State(alone_, open_), context) is not None
    assert next_due_ms(State(frozen, open_), context) is None
    assert on_time(State(alone_, open_), context).state.open.empty
    assert on_time(State(frozen, open_), context).state == State(frozen, open_)
