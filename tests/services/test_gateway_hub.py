"""Who is told of what, in one event loop without a broker: records in, what each waits for out."""

import asyncio

import pytest

from services.gateway_hub import Hub
from services.gateway_problems import Refused
from services.records import Record
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS, STRATEGIES, SUPPRESSIONS, TopicSpec


def record(topic: TopicSpec, value: bytes | None, offset: int = 0) -> Record:
    """A record of partition 0."""
    return Record(topic.name, 0, offset, b"user", value, 0)


def begun(streams: int = 2, buffer: int = 2) -> Hub:
    """One that follows."""
    hub = Hub(streams, buffer, 7)
    hub.begin({0: 0})
    return hub


def test_each_hears_of_its_own_request_alone() -> None:
    """Two callers with one request hear of it both; others and strangers' bytes say nothing to them."""

    async def run() -> None:
        hub = begun()
        with hub.expect("req_1") as one, hub.expect("req_1") as two, hub.expect("req_2") as other:
            asked, said = record(REQUESTS, b'{"request_id":"req_1"}'), b'{"suppression_id":"s","request_id":"req_1"}'
            noise = [record(topic, value) for topic in (STRATEGIES, REQUESTS) for value in (b"{", b"[]", b"\xff", None)]
            await hub.hear([*noise, asked, record(SUPPRESSIONS, said), record(SUPPRESSIONS, b'{"request_id":"req_1"}')])
            assert (one.request, one.answer.result()) == (two.request, two.answer.result()) == (asked, said)
            assert other.request is None
            assert not other.answer.done()

    asyncio.run(run())


def test_who_is_too_far_behind_is_ended_and_others_go_on() -> None:
    """A third strategy for a buffer of two: that one ends without it; who took the first two gets the third."""

    async def run() -> None:
        hub = begun()
        records = [record(STRATEGIES, b"{}", offset) for offset in range(3)]
        with hub.listen() as slow, hub.listen() as quick:
            await hub.hear(records[:2])
            assert [await quick.next(1.0), await quick.next(1.0)] == records[:2]
            await hub.hear(records[2:])
            assert await quick.next(1.0) == records[2]
            assert (await slow.next(1.0), slow.over, quick.over) == (None, True, False)
            with pytest.raises(Refused), hub.listen():
                pass
        with hub.listen() as later:
            assert later.begins == {0: 3}

    asyncio.run(run())


def test_where_nothing_is_followed_nobody_waits() -> None:
    """Before the topics are followed, and once they are not any more: unavailable, and streams end."""

    async def run() -> None:
        hub = Hub(1, 1, 7)
        for _ in range(2):
            with pytest.raises(Unavailable), hub.expect("req"):
                pass
            with pytest.raises(Unavailable), hub.listen():
                pass
            hub.begin({0: 5})
            with hub.listen() as listener:
                hub.lost()
                assert listener.over

    asyncio.run(run())
