"""A world for the agents: topics and keys of its own on the real stack, events in, everything that comes out."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from kafka import KafkaProducer

from services.clients import admin, producer, redis_client, topic_name, whole_topic_consumer
from services.settings import AgentsSettings
from services.topics import ensure_topics
from streaming.contracts.codec import encode
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import ADS_EVENTS, CATALOG, SHOP_EVENTS, STRATEGIES, TopicSpec
from streaming.control import Books, bucket_count, read_books
from streaming.keys import BucketKeys, namespace
from tests.streaming import attribution_samples

ROOT = Path(__file__).parent.parent.parent
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
"""A Monday noon in the worlds' event time."""
LIMIT_S = 60.0
POLL_S = 0.1

_RUN = """
import os, sys
from services.agents import main
from services.settings import AgentsSettings, load
{trap}
sys.exit(main(load(AgentsSettings, os.environ)))
"""


class World:
    """Topics and keys under one prefix, and the agents processes that work on them."""

    limit_s = LIMIT_S
    """How long anything is waited for."""

    def __init__(self, settings: AgentsSettings, log: Path) -> None:
        """Make the topics."""
        self.settings = settings
        self.log = log
        self.processes: list[subprocess.Popen[bytes]] = []
        self._producers: dict[str, KafkaProducer] = {}
        self._number = 0
        self.client: redis.Redis = redis_client(settings)
        ensure_topics(settings)

    # -- in

    def event(self, user: str, name: str = "Product Viewed", at: datetime = START, **fields: Any) -> dict[str, Any]:
        """An event as a shop publishes it; `properties` default to product p1."""
        self._number += 1
        made = {
            "messageId": f"m{self._number}",
            "type": "identify" if name == "identify" else "track",
            "userId": user,
            "timestamp": at.isoformat(),
            "properties": {"product_id": "p1"},
        }
        return made | ({} if name == "identify" else {"event": name}) | fields

    def publish(self, *events: dict[str, Any], topic: TopicSpec = SHOP_EVENTS, codec: str | None = None) -> None:
        """Publish events under their user's key and wait until they are acknowledged."""
        for event in events:
            user = event.get("userId") or event.get("anonymousId") or ""
            self.send(topic, user.encode(), json.dumps(event).encode(), codec=codec)
        self.flush()

    def send(
        self,
        topic: TopicSpec,
        key: bytes | None,
        value: bytes | None,
        *,
        codec: str | None = None,
        partition: int | None = None,
    ) -> None:
        """Publish raw bytes."""
        sender = self._producers.get(codec or "")
        if sender is None:
            sender = self._producers[codec or ""] = producer(self.settings, compression_type=codec, linger_ms=20)
        sender.send(topic_name(self.settings, topic), key=key, value=value, partition=partition)

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        for sender in self._producers.values():
            sender.flush()

    def strategy(self, user: str, number: int, at: datetime = START, valid_h: float = 1.0) -> Strategy:
        """Publish a strategy that recommends p1 to a customer, as the model worker would, and return it."""
        made = attribution_samples.moved(attribution_samples.strategy(number), user, at, at + timedelta(hours=valid_h))
        self.send(STRATEGIES, user.encode(), encode(made))
        self.flush()
        return made

    def clock(self, at: datetime) -> None:
        """Advance the shop's clock on every partition of both event topics."""
        for topic in (SHOP_EVENTS, ADS_EVENTS):
            for partition in range(self.settings.partitions):
                event = self.event("clock", "Clock Advanced", at, properties={})
                self.send(topic, b"clock", json.dumps(event).encode(), partition=partition)
        self.flush()

    def product(self, product_id: str = "p1", price_minor: int = 1000) -> None:
        """Put a product into the catalog."""
        record = {
            "product_id": product_id,
            "name": f"Tea {product_id}",
            "category": ["grocery", "tea"],
            "brand": "Leaf",
            "price_minor": price_minor,
            "currency": "USD",
            "unit_cost_minor": 400,
            "stock": 9,
            "launched_at": "2026-01-01T00:00:00Z",
        }
        self.send(CATALOG, product_id.encode(), json.dumps(record).encode())
        self.flush()

    # -- the agents

    def start(self, trap: str = "", **environ: str) -> "subprocess.Popen[bytes]":
        """Start an agents process; `trap` is code that runs before it."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _RUN.format(trap=trap)],
                cwd=ROOT,
                env=os.environ | self.environ(**environ),
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def environ(self, **more: str) -> dict[str, str]:
        """The settings of an agents process as variables; `more` by their names without `STRATAGEM_`."""
        usual = AgentsSettings()
        given = {name: getattr(self.settings, name) for name in usual.__struct_fields__}
        names = {"SESSION_TIMEOUT_S": "6", "SHARE_HOLDOUT": "0"}
        names |= {name.upper(): str(value) for name, value in given.items() if value != getattr(usual, name)}
        return {f"STRATAGEM_{name}": value for name, value in (names | more).items()}

    def stop(self) -> list[int]:
        """End every process by SIGTERM and return the exit codes."""
        codes = []
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                codes.append(process.wait(40))
            except subprocess.TimeoutExpired:
                process.kill()
                codes.append(process.wait(10))
        self.processes.clear()
        return codes

    def wait(self, met: Callable[[], Any], what: str = "") -> Any:
        """Wait until something holds, and return it."""
        give_up_s = time.monotonic() + self.limit_s
        while not (found := met()):
            if time.monotonic() > give_up_s:
                tail = self.log.read_text("utf-8", "replace")[-6000:] if self.log.exists() else ""
                pytest.fail(f"{what or met} did not come true; books {self.books()}; the agents' log ends:\n{tail}")
            time.sleep(POLL_S)
        return found

    def applied(self) -> bool:
        """Whether every record of the inputs has been applied to the store."""
        sealed = self.books().offsets
        ends = self.ends(SHOP_EVENTS) | self.ends(ADS_EVENTS) | self.ends(STRATEGIES)
        return all(sealed.get(topic, {}).get(partition, 0) >= end for (topic, partition), end in ends.items())

    def ends(self, topic: TopicSpec) -> dict[tuple[str, int], int]:
        """End offsets by (topic, partition) where there are records."""
        consumer = whole_topic_consumer(self.settings, topic)
        found = consumer.end_offsets(list(consumer.assignment()))
        consumer.close()
        return {(topic.name, place.partition): end for place, end in found.items() if end}

    def members(self) -> int:
        """Processes that are members of the agents' group now, none of them amid a rebalance."""
        client = admin(self.settings)
        group = self.settings.group_prefix + "agents"
        found = client.describe_groups([group])
        client.close()
        described = found[group] if isinstance(found, dict) else found[0]
        stable = described["group_state"] == "Stable"
        return len(described["members"]) if stable else 0

    # -- out

    def books(self) -> Books:
        """The stored books."""
        return read_books(self.client, self.settings.topic_prefix)

    def fates(self, topic: TopicSpec = SHOP_EVENTS) -> dict[str, int]:
        """The fates of a topic's records."""
        return self.books().fates.get(topic.name, {})

    def rows(self) -> dict[str, Any]:
        """Every row by user id, decoded generically."""
        found = {}
        for bucket in range(bucket_count(self.client, self.settings.topic_prefix) or 0):
            rows = self.client.hgetall(BucketKeys.of(self.settings.topic_prefix, bucket).rows)
            for user, row in cast("dict[bytes, bytes]", rows).items():  # the client decodes nothing
                found[user.decode()] = json.loads(row)
        return found

    def open_states(self) -> dict[str, Any]:
        """What attribution keeps of every customer, decoded generically."""
        found: dict[str, Any] = {}
        for bucket in range(bucket_count(self.client, self.settings.topic_prefix) or 0):
            states = self.client.hgetall(BucketKeys.of(self.settings.topic_prefix, bucket).open)
            found |= {user.decode(): json.loads(state) for user, state in cast("dict[bytes, bytes]", states).items()}
        return found

    def read(self, topic: TopicSpec) -> list[Any]:
        """All records of a topic now."""
        consumer = whole_topic_consumer(self.settings, topic)
        places = list(consumer.assignment())
        ends = consumer.end_offsets(places)
        records: list[Any] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for batch in consumer.poll(500).values():
                records += batch
        consumer.close()
        return records

    def messages(self, topic: TopicSpec) -> list[dict[str, Any]]:
        """All JSON messages of a topic now."""
        return [json.loads(record.value) for record in self.read(topic) if record.value]

    def close(self) -> None:
        """End processes and clients, remove the keys."""
        self.stop()
        for sender in self._producers.values():
            sender.close()
        with contextlib.suppress(redis.ConnectionError):  # a test's own Redis is gone by now
            for key in self.client.scan_iter(f"*{namespace(self.settings.topic_prefix)}*"):
                self.client.delete(key)
        self.client.close()
