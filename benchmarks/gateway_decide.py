"""`/v1/decide` under an open loop: agents, worker and gateway as they are started, on two cores together with the callers.

From the moment a call is due to its answer's last byte, so that a stall shows in everything that came meanwhile.
"""

import http.client
import os
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.doors import Door, gateway_door
from benchmarks.live import Live
from benchmarks.peers.traffic import catalog
from benchmarks.telling import say
from services.clients import topic_name
from services.settings_gateway import GatewaySettings
from streaming.contracts.codec import encode
from streaming.contracts.topics import CATALOG

WARM_S = 10.0
PATIENCE_S = 120.0
CALLERS = 64


class Decided(msgspec.Struct, frozen=True):
    """How calls ended.

    Args:
        statuses: `decided`, `suppressed`, `fallback`, `default` → calls.
        decided_p99_ms: of those that the worker answered.
    """

    rate: float
    deadline_ms: int
    asked: int
    statuses: dict[str, int]
    p50_ms: float
    p99_ms: float
    longest_ms: float
    decided_p99_ms: float
    load: float


def measured(folder: Path, rate: float, seconds: float, deadlines_ms: tuple[int, ...], seed: int) -> list[Decided]:
    """One run for each deadline, on one stack."""
    with Live(folder, seed=seed) as live:
        for product in catalog():
            live.producer.send(
                topic_name(live.settings, CATALOG), key=product.product_id.encode(), value=encode(product)
            )
        live.producer.flush()
        live.processes["agents"] = live.start("agents", {})
        given = live.settings
        settings = GatewaySettings(home=given.home, kafka_bootstrap=given.kafka_bootstrap, redis_url=given.redis_url)
        with gateway_door(settings, folder) as door:
            _until_decided(door, live)
            calls = Calls(door, seed)
            calls.open_loop(rate, WARM_S, 5000)
            return [calls.open_loop(rate, seconds, deadline_ms) for deadline_ms in deadlines_ms]


def _until_decided(door: Door, live: Live) -> None:
    say("waiting for the first decision")
    give_up, calls = time.monotonic() + PATIENCE_S, Calls(door, 0)
    while calls.call(time.monotonic(), 5000, f"first-{time.time_ns()}")[0] not in ("decided", "suppressed"):
        live.check()
        assert time.monotonic() < give_up, "nothing was decided"


class Calls:
    """Callers of one door, each call by a customer who has not asked before."""

    def __init__(self, door: Door, seed: int) -> None:
        """Nobody has called."""
        self._door, self._seed, self._next = door, seed, 0

    def open_loop(self, rate: float, seconds: float, deadline_ms: int) -> Decided:
        """At this rate for so long."""
        begun, found = time.monotonic(), []
        with ThreadPoolExecutor(CALLERS) as pool:
            for number in range(round(rate * seconds)):
                due_s = begun + number / rate
                time.sleep(max(0.0, due_s - time.monotonic()))
                self._next += 1
                found.append(pool.submit(self.call, due_s, deadline_ms, f"customer-{self._seed}-{self._next}"))
            ended = [future.result() for future in found]
        took_ms = [ms for _, ms in ended]
        decided_ms = [ms for status, ms in ended if status == "decided"] or [0.0, 0.0]
        return Decided(
            rate, deadline_ms, len(ended), dict(Counter(status for status, _ in ended)), statistics.median(took_ms),
            statistics.quantiles(took_ms, n=100)[98], max(took_ms), statistics.quantiles(decided_ms, n=100)[98],
            os.getloadavg()[0],
        )  # fmt: skip

    def call(self, due_s: float, deadline_ms: int, user: str) -> tuple[str, float]:
        """What its answer says, and after how many milliseconds."""
        body: dict[str, Any] = {"user_id": user, "kind": "recommendation", "deadline_ms": deadline_ms}
        connection = http.client.HTTPConnection("127.0.0.1", self._door.port, timeout=60)
        connection.request("POST", "/v1/decide", msgspec.json.encode(body), self._door.headers)
        answer = connection.getresponse()
        content = answer.read()
        took_ms = 1000 * (time.monotonic() - due_s)
        connection.close()
        assert answer.status == HTTPStatus.OK, content[:500]
        return msgspec.json.decode(content)["status"], took_ms
