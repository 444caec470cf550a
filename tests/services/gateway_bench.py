"""A gateway in a process of its own, on the real Kafka and Redis, and those who call it."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from services.clients import redis_client, whole_topic_consumer
from services.gateway_keys import SCOPES, Scope, add, issue
from services.local.stack import Endpoints
from services.settings_gateway import GatewaySettings
from services.topics import ensure_topics
from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS, TopicSpec
from tests.installation import installation

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120.0


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Bench:
    """One installation's gateway.

    Args:
        running: the process, once it is started.
        keys: a key of each scope.
    """

    running: "subprocess.Popen[bytes]"

    def __init__(self, endpoints: Endpoints, prefix: str, home: Path, **more: Any) -> None:
        """Make the keys, and the topics where Kafka is the stack's own."""
        ports = {"gateway_port": free_port(), "metrics_port": free_port()}
        self.settings = installation(GatewaySettings, endpoints, prefix, home, **ports, **more)
        if self.settings.kafka_bootstrap == endpoints.kafka_bootstrap:
            ensure_topics(self.settings)
        self.log = home / "gateway.log"
        self.url = f"http://127.0.0.1:{self.settings.gateway_port}"
        self.keys = {scope: self.key((scope,)) for scope in SCOPES}

    def key(self, scopes: Sequence[Scope], *, rate_per_s: float = 1e6) -> str:
        """A fresh key."""
        issued = issue("test", tuple(scopes), datetime.now(UTC), rate_per_s=rate_per_s)
        with redis_client(self.settings) as client:
            add(client, self.settings.topic_prefix, issued.key)
        return issued.text

    @contextmanager
    def process(self) -> Iterator["Bench"]:
        """`stratagem gateway`, until the end of the context or before."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STRATAGEM_")}
        environ = {
            f"STRATAGEM_{name.upper()}": str(getattr(self.settings, name)) for name in GatewaySettings.__struct_fields__
        }
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "gateway"], cwd=ROOT, env=clean | environ, stdout=out, stderr=out
            )
        try:
            self.until(lambda: self.health("healthy")[0] == 200 and self.connects())
            yield self
        finally:
            self.running.kill()
            self.running.wait(PATIENCE_S)

    def connects(self) -> bool:
        """Whether it listens."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.settings.gateway_port)) == 0

    def health(self, what: str) -> tuple[int, str]:
        """Status and text of `/-/healthy` or `/-/ready`; 0 while nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.settings.metrics_port}/-/{what}", timeout=PATIENCE_S)
        except httpx.TransportError:
            return 0, ""
        return answer.status_code, answer.text

    def metric(self, name: str) -> float:
        """A metric's sample by its whole name, labels included; 0 before it is there."""
        text = httpx.get(f"http://127.0.0.1:{self.settings.metrics_port}/metrics", timeout=PATIENCE_S).text
        found = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == name]
        return float(found[0]) if found else 0.0

    def until(self, condition: Any) -> None:
        """Wait for it, generously, as long as the process lives."""
        give_up = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.running.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up, self.log.read_text()
            time.sleep(0.05)

    def client(self, scope: Scope = "publish") -> httpx.Client:
        """A caller with a key of this scope."""
        headers = {"Authorization": f"Bearer {self.keys[scope]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)

    def peak_bytes(self) -> int:
        """The most memory that the process ever held."""
        status = Path(f"/proc/{self.running.pid}/status").read_text(encoding="utf-8")
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    def published(self) -> dict[str, list[Any]]:
        """Every record of the two topics that events go to, by topic."""
        return {topic.name: self._records(topic) for topic in (SHOP_EVENTS, ADS_EVENTS)}

    def _records(self, topic: TopicSpec) -> list[Any]:
        with whole_topic_consumer(self.settings, topic) as consumer:
            ends = consumer.end_offsets(consumer.assignment())
            found: list[Any] = []
            while len(found) < sum(
                ends.values()
            ):  # nothing is ever removed from these topics; the test's time-out bounds it
                for records in consumer.poll(timeout_ms=500).values():
                    found += records
            return found


__all__ = ["PATIENCE_S", "ROOT", "Bench", "free_port"]
