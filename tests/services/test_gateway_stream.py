"""The stream of strategies: from now on or from where a client stood, whole and in order; bounded for those who do not read."""

import json
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple

import httpx
import pytest

from services.clients import producer, topic_name
from services.gateway_problems import Refused
from services.gateway_stream import frame, id_of, positions_of
from services.local.stack import Endpoints
from services.records import Record
from streaming.contracts.topics import STRATEGIES
from tests.services.gateway_bench import PATIENCE_S, Bench

BUFFER = 20
STREAMS = "stratagem_gateway_streams"


class Seen(NamedTuple):
    """An event of the stream."""

    id: str
    number: int


@pytest.fixture(scope="module")
def gateway(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One whose clients may be little behind, for a short time."""
    prefix, home = f"stream-{uuid.uuid4().hex[:8]}.", tmp_path_factory.mktemp("stream")
    bounds = {"gateway_stream_buffer": BUFFER, "gateway_stall_s": 2.0, "gateway_streams": 12}
    with Bench(stack, prefix, home, **bounds).process() as bench:
        bench.until(lambda: bench.health("ready")[0] == 200)
        yield bench


class Shop:
    """Publishes numbered strategies of some customers; the stream looks into none."""

    def __init__(self, gateway: Bench) -> None:
        """Connect."""
        self._topic, self._producer = topic_name(gateway.settings, STRATEGIES), producer(gateway.settings)

    def publish(self, first: int, count: int, pad: int = 0) -> None:
        """So many, each longer by `pad`."""
        for number in range(first, first + count):
            value = json.dumps({"strategy_id": f"s-{number}", "pad": "x" * pad}).encode()
            self._producer.send(self._topic, value=value, key=b"user-%d" % (number % 7))
        self._producer.flush(PATIENCE_S)

    def close(self) -> None:
        """Give the connection back."""
        self._producer.close(PATIENCE_S)


@pytest.fixture(scope="module")
def shop(gateway: Bench) -> Iterator[Shop]:
    """One for all tests."""
    made = Shop(gateway)
    yield made
    made.close()


@contextmanager
def listening(gateway: Bench, last_id: str = "") -> Iterator[tuple[str, Iterator[Seen]]]:
    """Where the stream begins, and its events."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with gateway.client("read") as client, client.stream("GET", "/v1/strategies/stream", headers=headers) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        lines = response.iter_lines()
        assert next(lines) == "retry: 1000"
        begins = next(lines).removeprefix("id: ")
        yield begins, _events(lines)


def _events(lines: Iterator[str]) -> Iterator[Seen]:
    last_id = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            last_id = value
        elif name == "data":
            yield Seen(last_id, int(json.loads(value)["strategy_id"].removeprefix("s-")))


def test_a_client_that_comes_again_misses_nothing_and_sees_nothing_twice(gateway: Bench, shop: Shop) -> None:
    """Live; away for longer than its buffer; again, what it missed first, then live: each once, each customer's in order."""
    seen: list[Seen] = []
    with listening(gateway) as (_, events):
        shop.publish(0, BUFFER // 2)
        seen += [next(events) for _ in range(BUFFER // 2)]
    shop.publish(100, 10 * BUFFER)
    with listening(gateway, seen[-1].id) as (_, events):
        seen += islice(events, 10 * BUFFER)
        shop.publish(1000, BUFFER // 2)
        seen += islice(events, 11 * BUFFER - len(seen))
    while (
        len(seen) < 11 * BUFFER
    ):  # a slow machine is cut off as one that does not read, and comes again like any client
        with listening(gateway, seen[-1].id) as (_, events):
            seen += islice(events, 11 * BUFFER - len(seen))
    numbers = [each.number for each in seen]
    assert sorted(numbers) == [*range(BUFFER // 2), *range(100, 100 + 10 * BUFFER), *range(1000, 1000 + BUFFER // 2)]
    for customer in range(7):
        own = [number for number in numbers if number % 7 == customer]
        assert own == sorted(own)


def test_a_client_may_go_before_its_first_strategy(gateway: Bench, shop: Shop) -> None:
    """The stream says where it begins, so that nothing is missed in between; 0 is the beginning of the topic."""
    with listening(gateway) as (begins, _):
        pass
    shop.publish(2000, 3)
    with listening(gateway, begins) as (_, events):
        assert sorted(next(events).number for _ in range(3)) == [2000, 2001, 2002]
    with listening(gateway, "0:0") as (_, events):
        assert {next(events).number for _ in range(3)}


def test_a_client_that_does_not_read_is_cut_off(gateway: Bench, shop: Shop) -> None:
    """More than its buffer and the connection's hold: it is ended, the others go on, and the memory is bounded."""
    before = gateway.peak_bytes()
    with socket.socket() as deaf, listening(gateway) as (_, events):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(PATIENCE_S)
        deaf.connect(("127.0.0.1", gateway.settings.gateway_port))
        head = f"GET /v1/strategies/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.keys['read']}\r\n\r\n"
        deaf.sendall(head.encode())
        gateway.until(lambda: gateway.metric(STREAMS) == 2)
        for first in range(3000, 3300, 2):  # steps that wait for nobody who reads
            shop.publish(first, 2, pad=30_000)
            assert sorted(next(events).number for _ in range(2)) == [first, first + 1]
        gateway.until(lambda: gateway.metric(STREAMS) == 1)
    cut = ('stratagem_gateway_connections_cut_total{why="stalled"}', "stratagem_gateway_streams_cut_total")
    assert sum(gateway.metric(name) for name in cut) >= 1
    assert gateway.peak_bytes() - before < 100_000_000
    gateway.until(lambda: gateway.metric(STREAMS) == 0)


def test_clients_are_bounded_in_number_and_a_gone_one_makes_room(gateway: Bench) -> None:
    """One too many is told when to come again; once another is gone there is room."""
    most = gateway.settings.gateway_streams
    with gateway.client("read") as client:
        open_streams = [client.stream("GET", "/v1/strategies/stream") for _ in range(most)]
        for stream in open_streams:
            assert stream.__enter__().status_code == 200
        refused = client.get("/v1/strategies/stream")
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/busy")
        assert int(refused.headers["retry-after"]) >= 1
        for stream in open_streams:
            stream.__exit__(None, None, None)
        gateway.until(lambda: gateway.metric(STREAMS) == 0)
        assert client.get("/v1/strategies/stream", headers={"Last-Event-ID": "0:x"}).status_code == 400
        assert client.head("/v1/strategies/stream").status_code == 200


@pytest.mark.parametrize("wrong", ["x", "0", "0:", "0:-1", "0:1,", "999999:1", "0:1;1:2", "0:1" * 3])
def test_an_id_that_is_none_is_refused(wrong: str) -> None:
    """Only what the stream says is taken back."""
    with pytest.raises(Refused):
        positions_of(wrong)


def test_an_event_holds_one_strategy_whatever_its_bytes() -> None:
    """An id that is read back; a value with line ends of either kind stays one event."""
    positions = {3: 8, 0: 10**15}
    assert positions_of(id_of(positions)) == positions
    made = frame(Record("strategies", 3, 7, b"k", b'{"a":\r\n1,\n"b":2}', 0), positions)
    assert made == b'id: 0:1000000000000000,3:8\nevent: strategy\ndata: {"a":\ndata: 1,\ndata: "b":2}\n\n'
    assert httpx.Response(200, content=made).text.endswith("\n\n")
