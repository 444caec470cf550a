"""Spans reach a collector by OpenTelemetry's own exporter, from all services, as one trace from an event to what was learned."""

import gzip
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaProducer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from services.reading import read_all
from services.settings import SettingError, WorkerSettings
from services.tracing import configure
from streaming.contracts.topics import REQUESTS, REWARDS, STRATEGIES
from streaming.contracts.tracing import TRACEPARENT, span_id
from tests.services.receiver import Receiver
from tests.services.test_up import QUICK
from tests.services.up_samples import Up, event, eventually, free_block, running, values

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CUSTOMER = "customer-1"


class Collector(Receiver):
    """Takes OTLP over HTTP, as collectors do."""

    def __init__(self) -> None:
        """Nothing was exported yet."""
        self.spans: list[tuple[str, Any]] = []
        super().__init__()

    def take(self, headers: Message, body: bytes) -> None:
        """Keep its spans, each with its service."""
        whole = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
        for each in ExportTraceServiceRequest.FromString(whole).resource_spans:
            service = {one.key: one.value.string_value for one in each.resource.attributes}["service.name"]
            self.spans.extend((service, span) for scope in each.scope_spans for span in scope.spans)

    def of(self, trace_id: str) -> dict[str, tuple[str, Any]]:
        """Span id → service and span, of one trace."""
        found = [(service, span) for service, span in list(self.spans) if span.trace_id.hex() == trace_id]
        return {span.span_id.hex(): (service, span) for service, span in found}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """One for all tests."""
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path, collector: Collector) -> Iterator[Up]:
    """All services, and an event whose publisher has a trace already: as far as a reward that is learned."""
    home = tmp_path_factory.mktemp("traced") / "home"
    ports = {"METRICS_PORT": str(free_block()), "OTLP_ENDPOINT": f"{collector.url}v1/traces"}
    with running(Up(home, stratagem_home / "cache", **ports, **QUICK)) as begun:
        begun.command("publish", "--now", "docs/examples/shop.jsonl")
        header = [(TRACEPARENT, f"00-{TRACE_ID}-{PARENT_ID}-01".encode())]
        producer = KafkaProducer(bootstrap_servers=begun.settings.kafka_bootstrap, acks="all")
        asking = event("Decision Requested", CUSTOMER, kind="recommendation")
        producer.send("shop.events", key=CUSTOMER.encode(), value=asking.encode(), headers=header)
        producer.close()

        def strategy() -> str:
            asked = [each for each in values(begun, STRATEGIES) if each["request"].get("traceparent")]
            return str(asked[0]["strategy_id"]) if asked else ""

        found = eventually(strategy, "the strategy that was asked for")
        begun.command("publish", text=event("Promotion Viewed", CUSTOMER, strategy_id=found))
        eventually(lambda: values(begun, REWARDS, strategy_id=found, stage="final"), "its final reward")
        yield begun


def traced(up: Up, topic: Any) -> dict[str, str]:
    """Of a topic's records: the id that names the span → the header, of our trace."""
    name = {REQUESTS.name: "request_id", STRATEGIES.name: "strategy_id", REWARDS.name: "reward_id"}[topic.name]
    found = {}
    for record in read_all(up.settings, topic):
        headers = dict(record.headers)
        assert headers[TRACEPARENT]
        if TRACE_ID.encode() in headers[TRACEPARENT]:
            found[str(msgspec.json.decode(record.value or b"")[name])] = headers[TRACEPARENT].decode()
    return found


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_events_trace_goes_on_to_its_reward(up: Up) -> None:
    """In Kafka's headers, each message with the span of its own id."""
    for topic in (REQUESTS, STRATEGIES, REWARDS):
        found = traced(up, topic)
        assert found, topic.name
        assert all(header == f"00-{TRACE_ID}-{span_id(name)}-01" for name, header in found.items())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_collector_sees_one_trace_over_all_services(up: Up, collector: Collector) -> None:
    """From the event's own span to what the updater learned: each span has its parent, and nobody is named."""

    def whole() -> list[tuple[str, Any]]:
        """Services and spans from the updater's up to the event's own; none while one of them is still to come: each service exports when it likes."""
        spans = collector.of(TRACE_ID)
        way = [each for each in spans.values() if each[0] == "stratagem-updater"][:1]
        while way and way[-1][1].parent_span_id.hex() != PARENT_ID:
            parent = spans.get(way[-1][1].parent_span_id.hex())
            if parent is None:
                return []
            way.append(parent)
        return way

    found = eventually(whole, "every span up to the updater's")
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for _, span in found)
    spans, way = collector.of(TRACE_ID), [service for service, _ in found[1:]]
    assert way == ["stratagem-agents", "stratagem-worker", "stratagem-agents"]
    ours = [one for _, each in spans.values() for one in each.attributes if one.key != "stratagem.event_id"]
    assert ours
    assert CUSTOMER not in str(ours)  # the event's id is the shop's own choice
    up.command("pause")  # the services still work


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, with what to do."""
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingError, match="needs the extra `tracing`"):
        configure(WorkerSettings(otlp_endpoint="http://127.0.0.1:1/v1/traces"), "worker")
