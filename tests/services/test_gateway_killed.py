"""What was answered 202 is in the topic, whatever stands still or ends: on a Kafka of the test's own, which is halted."""

import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from services.local.stack import LocalStack
from tests.services.gateway_bench import PATIENCE_S, Bench
from tests.services.gateway_samples import event

BATCH = 20
CALLERS = 4


@pytest.fixture(scope="module")
def own_stack(stratagem_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A Kafka that may be halted, and its Redis."""
    home, cache = tmp_path_factory.mktemp("own-stack"), stratagem_home / "cache"
    with LocalStack(home, fresh=True, progress=lambda _: None, cache=cache) as running:
        yield running


@contextmanager
def halted(stack: LocalStack) -> Iterator[None]:
    """Kafka keeps its connections and answers nothing."""
    os.kill(stack.broker.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(stack.broker.process.pid, signal.SIGCONT)


def body_of(name: str, number: int) -> bytes:
    """A batch whose ids are nobody else's; all are equally long."""
    return json.dumps([event(at, messageId=f"{name}-{number:06d}-{at:02d}") for at in range(10, 10 + BATCH)]).encode()


def ids(body: bytes) -> set[str]:
    """The ids in a batch."""
    return {each["messageId"] for each in json.loads(body)}


class Caller(threading.Thread):
    """Sends batches until nobody answers, and keeps which ids were sent and which were answered 202."""

    def __init__(self, bench: Bench, name: str) -> None:
        """Not yet begun."""
        super().__init__(name=name)
        self._bench, self.sent, self.acknowledged = bench, set[str](), set[str]()

    def run(self) -> None:
        """Send."""
        with self._bench.client() as client:
            for number in range(100_000):
                body = body_of(self.name, number)
                self.sent |= ids(body)
                try:
                    answer = client.post("/v1/events", content=body)
                except httpx.TransportError:
                    return
                if answer.status_code == 202:
                    self.acknowledged |= ids(body)


def topic_ids(bench: Bench) -> set[str]:
    """The ids that lie in the topic."""
    return {json.loads(record.value)["messageId"] for record in bench.published()["shop.events"]}


def test_what_was_answered_202_is_in_the_topic_after_a_kill(own_stack: LocalStack, tmp_path: Path) -> None:
    """Killed while Kafka is halted and callers wait: every event of an answered request lies in the topic."""
    bench = Bench(own_stack.endpoints, f"killed-{uuid.uuid4().hex[:8]}.", tmp_path, gateway_ack_s=60.0)
    waiting_bytes = CALLERS * len(body_of("c0", 0))
    with bench.process():
        callers = [Caller(bench, f"c{number}") for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        bench.until(lambda: all(len(caller.acknowledged) >= 10 * BATCH for caller in callers))
        with halted(own_stack):
            many = [len(caller.acknowledged) + 20 * BATCH for caller in callers]
            # All wait for Kafka, or (a gateway that does not wait) all have been told of success again and again.
            bench.until(
                lambda: (
                    bench.metric("stratagem_gateway_in_flight_bytes") == waiting_bytes
                    or all(len(caller.acknowledged) > most for caller, most in zip(callers, many, strict=True))
                )
            )
            bench.running.send_signal(signal.SIGKILL)
            for caller in callers:
                caller.join(PATIENCE_S)
    acknowledged = set[str]().union(*(caller.acknowledged for caller in callers))
    sent = set[str]().union(*(caller.sent for caller in callers))
    assert len(sent - acknowledged) == CALLERS * BATCH  # those that waited
    assert acknowledged <= topic_ids(bench) <= sent


def test_a_slow_kafka_is_said_and_the_same_events_are_taken_later(own_stack: LocalStack, tmp_path: Path) -> None:
    """Halted for longer than it is given: 503 with Retry-After, not ready; once it goes on, the same events are answered 202."""
    bench = Bench(own_stack.endpoints, f"slow-{uuid.uuid4().hex[:8]}.", tmp_path, gateway_ack_s=2.0)
    body = body_of("c0", 0)
    with bench.process(), bench.client() as client:
        assert client.post("/v1/events", content=body_of("c0", 1)).status_code == 202
        with halted(own_stack):
            answer = client.post("/v1/events", content=body)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            bench.until(lambda: "kafka: " in bench.health("ready")[1])
            assert bench.health("healthy")[0] == 200
        bench.until(lambda: client.post("/v1/events", content=body).status_code == 202)
        bench.until(lambda: bench.health("ready")[0] == 200)
        bench.running.send_signal(signal.SIGTERM)
        assert bench.running.wait(PATIENCE_S) == 0
    assert topic_ids(bench) == ids(body) | ids(body_of("c0", 1))
