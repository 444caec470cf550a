"""Events per core through `POST /v1/events`: our gateway beside the usual FastAPI, pydantic and aiokafka, in turns.

Each server is a process pinned to one core; Kafka, Redis and the callers have the others. Work is counted in CPU seconds of the server's
process, all its threads included, so that it does not matter how fast the callers are.
"""

import http.client
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path

import msgspec

from benchmarks.doors import Door, cpu_s, free_port, gateway_door, measured_core, pinned
from benchmarks.peers.traffic import traffic
from services.clients import topic_name, whole_topic_consumer
from services.local.process import ChildProcess
from services.local.stack import LocalStack
from services.publish import event_record
from services.settings_gateway import GatewaySettings
from services.topics import ensure_topics
from streaming.contracts.errors import BadEvent
from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS, TopicSpec

BATCH = 100
CALLERS = 8
WARM_SHARE = 0.2
NOW_MS = 1_800_000_000_000
"""After every event of the traffic."""


class Throughput(msgspec.Struct, frozen=True):
    """Medians of the rounds.

    Args:
        ratio: of our events per CPU second over the peer's, the median of the rounds; lowest and highest beside it.
    """

    batch: int
    ours_per_cpu_s: float
    peer_per_cpu_s: float
    ours_per_s: float
    peer_per_s: float
    ratio: float
    lowest: float
    highest: float
    load: float


def measured(stack: LocalStack, folder: Path, events: int, rounds: int, seed: int) -> Throughput:
    """Both servers, in turns on the same core.

    Raises:
        AssertionError: a server took fewer events than it was sent, or Kafka holds another number.
    """
    settings = GatewaySettings(
        home=folder, kafka_bootstrap=stack.endpoints.kafka_bootstrap, redis_url=stack.endpoints.redis_url
    )
    ensure_topics(settings)
    per_cpu: dict[str, list[float]] = {"ours": [], "peer": []}
    per_s: dict[str, list[float]] = {"ours": [], "peer": []}
    for number in range(rounds):
        bodies = list(_bodies(events, seed + number))
        for name in ("ours", "peer") if number % 2 == 0 else ("peer", "ours"):
            with _server(name, settings, folder) as door:
                cpu, wall, taken = _played(door, bodies, settings)
            per_cpu[name].append(taken / cpu)
            per_s[name].append(taken / wall)
    ratios = [ours / peer for ours, peer in zip(per_cpu["ours"], per_cpu["peer"], strict=True)]
    middle = statistics.median
    return Throughput(
        BATCH, middle(per_cpu["ours"]), middle(per_cpu["peer"]), middle(per_s["ours"]), middle(per_s["peer"]),
        middle(ratios), min(ratios), max(ratios), os.getloadavg()[0],
    )  # fmt: skip


def _played(door: Door, bodies: Sequence[bytes], settings: GatewaySettings) -> tuple[float, float, int]:
    """CPU seconds, seconds and events of what comes after the warm-up."""
    warm = round(len(bodies) * WARM_SHARE)
    _post(door, bodies[:warm])
    before, cpu, begun = _records(settings), cpu_s(door.process.pid), time.monotonic()
    taken = _post(door, bodies[warm:])
    wall, cpu = time.monotonic() - begun, cpu_s(door.process.pid) - cpu
    arrived = _records(settings) - before
    assert arrived == taken, f"{taken} events were taken, {arrived} are in the topic"
    return cpu, wall, taken


def _bodies(events: int, seed: int) -> Iterator[bytes]:
    """Batches of a shop's traffic, without its malformed and repeated records: both servers shall do the same."""
    seen: set[bytes] = set()
    batch: list[bytes] = []
    for _, value in traffic(events, seed):
        if value in seen or not _whole(value):
            continue
        seen.add(value)
        batch.append(value)
        if len(batch) == BATCH:
            yield b"[" + b",".join(batch) + b"]"
            batch = []


def _whole(value: bytes) -> bool:
    try:
        event_record(value, NOW_MS)
    except BadEvent:
        return False
    return True


def _post(door: Door, bodies: Sequence[bytes]) -> int:
    """All of them, by several callers at once; the events that were accepted."""

    def call(share: Sequence[bytes]) -> int:
        connection, taken = http.client.HTTPConnection("127.0.0.1", door.port, timeout=60), 0
        for body in share:
            connection.request("POST", "/v1/events", body, door.headers)
            answer = connection.getresponse()
            content = answer.read()
            assert answer.status == HTTPStatus.ACCEPTED, content[:500]
            taken += msgspec.json.decode(content)["accepted"]
        connection.close()
        return taken

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(call, [bodies[at::CALLERS] for at in range(CALLERS)]))


def _records(settings: GatewaySettings) -> int:
    """In the topics of events: our gateway parts them by name."""
    return sum(map(partial(_held, settings), (SHOP_EVENTS, ADS_EVENTS)))


def _held(settings: GatewaySettings, topic: TopicSpec) -> int:
    consumer = whole_topic_consumer(settings, topic)
    ends = consumer.end_offsets(consumer.assignment())
    consumer.close()
    return sum(ends.values())


@contextmanager
def _server(name: str, settings: GatewaySettings, folder: Path) -> Iterator[Door]:
    if name == "ours":
        with gateway_door(settings, folder, core=measured_core()) as door:
            yield door
        return
    port = free_port()
    command = [
        sys.executable, "-m", "benchmarks.peers.fastapi_events",
        settings.kafka_bootstrap, topic_name(settings, SHOP_EVENTS), str(port),
    ]  # fmt: skip
    with pinned(measured_core(), lambda: ChildProcess("fastapi", command, log=folder / "fastapi.log")) as process:
        door = Door(process, port, {"Content-Type": "application/json"})
        door.wait("/docs")
        yield door
