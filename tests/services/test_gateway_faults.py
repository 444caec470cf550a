"""The gateway when something ends: its process, its caller's patience, Kafka."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.gateway import listening
from services.gateway_intake import Intake
from services.local.stack import Endpoints
from services.settings import SettingError, load
from services.settings_gateway import GatewaySettings, rdkafka_options
from services.topics import ensure_topics
from tests.services.gateway_bench import PATIENCE_S, Bench, free_port
from tests.services.gateway_samples import event

Make = Callable[..., Bench]


@pytest.fixture
def make(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Make:
    """Gateways of the test's own installation, by other settings than the usual ones."""

    def made(**more: Any) -> Bench:
        return Bench(stack, topic_prefix, tmp_path, redis_url=redis_url, **more)

    return made


def test_a_polite_stop_finishes_what_was_accepted(make: Make) -> None:
    """Told to stop amid a body: it takes no new caller, answers this one 202, and ends with 0."""
    bench = make()
    body = json.dumps(event(1)).encode()
    head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bench.keys['publish']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with bench.process():
        with socket.create_connection(("127.0.0.1", bench.settings.gateway_port), timeout=PATIENCE_S) as connection:
            connection.sendall(head.encode() + b"%x\r\n" % len(body) + body[:10])
            bench.until(lambda: bench.metric("stratagem_gateway_in_flight_bytes") == 10)
            bench.running.send_signal(signal.SIGTERM)
            bench.until(lambda: not bench.connects())
            connection.sendall(body[10:] + b"\r\n0\r\n\r\n")
            with connection.makefile("rb") as file:
                assert file.readline().split()[1] == b"202"
        assert bench.running.wait(PATIENCE_S) == 0, bench.log.read_text()
    assert [record.value for record in bench.published()["shop.events"]] == [body]


def test_a_polite_stop_ends_streams(make: Make) -> None:
    """A client that listens to strategies holds nothing up: its stream ends whole, and the process with 0."""
    bench = make()
    with bench.process(), bench.client("read") as client:
        bench.until(lambda: bench.health("ready")[0] == 200)
        with client.stream("GET", "/v1/strategies/stream") as response:
            lines = response.iter_lines()
            assert next(lines).startswith("retry: ")
            bench.running.send_signal(signal.SIGTERM)
            assert [line for line in lines if line.startswith("event: ")] == []
        assert bench.running.wait(PATIENCE_S) == 0, bench.log.read_text()


def test_without_kafka_callers_are_told_to_come_again_before_memory_grows(make: Make) -> None:
    """An absent broker: 503 with Retry-After when its time is over, at once for those for whom there is no room; never 202."""
    limit = 200_000
    bench = make(
        kafka_bootstrap=f"127.0.0.1:{free_port()}",
        gateway_ack_s=3.0,
        gateway_in_flight_bytes=limit,
        gateway_retry_after_s=7,
    )
    body = json.dumps([event(number) for number in range(400)]).encode()
    assert limit / 3 < len(body) < limit / 2
    answers: list[tuple[int, str, str]] = []

    def call() -> None:
        with bench.client() as client:
            answer = client.post("/v1/events", content=body)
            answers.append((answer.status_code, answer.json()["type"], answer.headers["retry-after"]))

    with bench.process():
        bench.until(lambda: "kafka: " in bench.health("ready")[1])
        assert bench.health("ready")[0] == 503
        callers = [threading.Thread(target=call) for _ in range(12)]
        for caller in callers:
            caller.start()
        most = 0.0
        while any(caller.is_alive() for caller in callers):
            most = max(most, bench.metric("stratagem_gateway_in_flight_bytes"))
            time.sleep(0.05)
        assert {(status, after) for status, _, after in answers} == {(503, "7")}
        assert {kind for _, kind, _ in answers} == {"/problems/busy", "/problems/unavailable"}
        assert len(answers) == 12
        assert most <= limit
        assert bench.metric("stratagem_gateway_in_flight_bytes") == 0
        assert bench.health("healthy")[0] == 200


def test_a_missing_topic_is_said_and_is_no_success(make: Make) -> None:
    """Kafka is there, the topic is not: not ready, 503, and ready once the topic is made."""
    bench = make(gateway_ack_s=3.0)
    elsewhere = msgspec.structs.replace(bench.settings, topic_prefix=bench.settings.topic_prefix + "new.")
    bench.settings = elsewhere
    bench.keys["publish"] = bench.key(("publish",))
    with bench.process():
        bench.until(lambda: "no topic" in bench.health("ready")[1])
        with bench.client() as client:
            assert client.post("/v1/events", json=event()).status_code == 503
            ensure_topics(elsewhere)
            bench.until(lambda: bench.health("ready")[0] == 200)
            bench.until(lambda: client.post("/v1/events", json=event(1)).status_code == 202)


def test_without_redis_nobody_comes_in_and_the_way_back_is_open(make: Make, tmp_path: Path) -> None:
    """Keys cannot be looked up: 503, not 401, and not ready."""
    bench = make()
    bench.settings = msgspec.structs.replace(bench.settings, redis_url=f"unix://{tmp_path}/none.sock")
    with bench.process(), bench.client() as client:
        answer = client.post("/v1/events", json=event())
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        bench.until(lambda: "redis: does not answer" in bench.health("ready")[1])


def test_a_taken_port_is_named() -> None:
    """Somebody else listens there: one line, before anything is served."""
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(SettingError, match="STRATAGEM_GATEWAY_PORT"):
        listening("127.0.0.1", other.getsockname()[1])


def test_security_settings_reach_librdkafka(tmp_path: Path) -> None:
    """SASL and TLS by librdkafka's names, which it takes; nothing of them where they are not asked for."""
    plain = GatewaySettings(kafka_bootstrap="a:1")
    assert set(rdkafka_options(plain)) == {"bootstrap.servers", "security.protocol"}
    authority = tmp_path / "ca.pem"
    authority.touch()
    said = {
        "KAFKA_BOOTSTRAP": "a:1,b:2", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p", "KAFKA_SSL_CAFILE": str(authority),
        "KAFKA_SSL_CHECK_HOSTNAME": "false",
    }  # fmt: skip
    settings = load(GatewaySettings, {f"STRATAGEM_{name}": value for name, value in said.items()})
    options = rdkafka_options(settings)
    assert (options["sasl.username"], options["ssl.ca.location"]) == ("u", str(authority))
    assert options["ssl.endpoint.identification.algorithm"] == "none"
    unencrypted = msgspec.structs.replace(settings, kafka_security_protocol="SASL_PLAINTEXT", kafka_ssl_cafile="")
    Intake(unencrypted)  # librdkafka itself refuses an option that it does not know
