"""How long things take with `stratagem agents` as a user runs it: latency, start, stop, restart after a kill, a rebalance.

Usage: python -m benchmarks.streams_delays [--json] [--seconds N] [--rate N] [--runs N]

Every event is a new customer's first, so each makes a request. Latency is the broker's time of the request (its topic
stamps records on arrival) minus the time the event was handed to the producer; both clocks are this machine's.
A start is measured from the process's start to the request of an event that was published before it; a stop under load
from SIGTERM to the end of the process.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from benchmarks.peers.job import Job
from benchmarks.peers.stage import PREFIX, ROOT, Stage
from benchmarks.telling import say
from services.clients import admin, producer, topic_name, whole_topic_consumer
from streaming.contracts.topics import REQUESTS, SHOP_EVENTS

COMMAND = [sys.executable, "-m", "services.cli", "agents"]
GOALS = {"p50_ms": 0.0, "p99_ms": 100.0, "start_s": 4.0, "stop_s": 5.0, "after_kill_s": 12.0, "rebalance_s": 5.0}
"""At most; 0: reported only."""
LIMIT_S = 120.0
POLL_S = 0.02
SETTLED_S = 10.0
"""Of events before and after what is measured: connections and code are warm then."""


class Delays(msgspec.Struct):
    """Medians of runs; latencies of all of them together."""

    p50_ms: float
    p99_ms: float
    start_s: float
    stop_s: float
    after_kill_s: float
    rebalance_s: float


class World:
    """Kafka, Redis and agents processes, none of them pinned."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        """Nothing runs yet."""
        self._stage, self._job = stage, stage.job("stratagem", 0)
        self._log = (folder / "agents.log").open("ab")
        self._sender: KafkaProducer = producer(stage.settings, linger_ms=0)
        self._number = 0
        self._children: list[subprocess.Popen[bytes]] = []
        self._environ = os.environ | _environ(self._job)
        self.sent_ms: dict[str, float] = {}
        self._consumer = whole_topic_consumer(stage.settings, REQUESTS)
        self.answered_ms: dict[str, float] = {}

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the agents as a user does."""
        self._children.append(
            subprocess.Popen(COMMAND, cwd=ROOT, env=self._environ, stdout=self._log, stderr=self._log)
        )
        return self._children[-1]

    def publish(self) -> str:
        """The first event of a customer who was never seen; the customer."""
        self._number += 1
        user = f"newcomer-{self._number}"
        event = {
            "messageId": f"delay-{self._number}",
            "type": "track",
            "event": "Product Viewed",
            "userId": user,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "properties": {"product_id": "p0000"},
        }
        self.sent_ms[user] = time.time() * 1000
        name = topic_name(self._stage.settings, SHOP_EVENTS)
        self._sender.send(name, key=user.encode(), value=msgspec.json.encode(event))
        return user

    def read(self) -> None:
        """Note the requests that have arrived."""
        for records in self._consumer.poll(0).values():
            for record in records:
                self.answered_ms.setdefault(record.key.decode(), float(record.timestamp))

    def wait_for(self, user: str) -> None:
        """Wait until a customer's request has arrived."""
        give_up_s = time.monotonic() + LIMIT_S
        while user not in self.answered_ms:
            self.read()
            if time.monotonic() > give_up_s:
                raise SystemExit(f"no request of {user}; see {self._log.name}")
            time.sleep(POLL_S)

    def stream(self, rate: float, seconds: float) -> list[str]:
        """Publish at a rate; the customers. Falls behind rather than bunching up."""
        users, next_s = [], time.monotonic()
        for number in range(round(rate * seconds)):
            users.append(self.publish())
            if number % 50 == 0:
                self.read()
            next_s += 1 / rate
            time.sleep(max(0.0, next_s - time.monotonic()))
        return users

    def latencies_ms(self, users: list[str]) -> list[float]:
        """Of these customers, once all have their request."""
        for user in users:
            self.wait_for(user)
        return [self.answered_ms[user] - self.sent_ms[user] for user in users]

    def close(self) -> None:
        """End what still runs, close the clients."""
        for child in self._children:
            child.kill()
            child.wait()
        self._sender.close()
        self._consumer.close()
        self._log.close()


def main() -> int:
    """Run, print."""
    asked = _asked()
    with tempfile.TemporaryDirectory(prefix="stratagem-delays-") as folder, Stage(Path(folder), 0, 7, 1, None) as stage:
        _stamp_on_arrival(stage)
        world = World(stage, Path(folder))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the agents end with this program
        try:
            found = _measured(world, asked)
        finally:
            world.close()
    for name, goal in GOALS.items():
        say(f"{name}: {getattr(found, name):,.2f}" + (f" (goal: at most {goal:g})" if goal else ""))
    if asked.json:
        print(msgspec.json.encode(found).decode())
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams_delays")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--rate", type=float, default=200.0, help="events per second")
    parser.add_argument("--seconds", type=float, default=30.0, help="of events at that rate")
    parser.add_argument("--runs", type=int, default=3, help="of starts, kills and rebalances")
    return parser.parse_args()


def _measured(world: World, asked: argparse.Namespace) -> Delays:
    child = world.start()
    world.wait_for(world.publish())
    world.latencies_ms(world.stream(asked.rate, SETTLED_S))
    say("latency")
    latencies = sorted(world.latencies_ms(world.stream(asked.rate, asked.seconds)))
    starts, stops, kills, pauses = [], [], [], []
    for number in range(asked.runs):
        say(f"stop, start, kill, rebalance: run {number + 1} of {asked.runs}")
        world.stream(asked.rate, 2.0)
        stops.append(_end(child, signal.SIGTERM))
        child, took_s = _started(world)
        starts.append(took_s)
        world.stream(20.0, 2.0)
        _end(child, signal.SIGKILL)
        child, took_s = _started(world)
        kills.append(took_s)
        pauses.append(_paused_s(world))
    _end(child, signal.SIGTERM)
    return Delays(
        p50_ms=round(latencies[len(latencies) // 2], 1),
        p99_ms=round(latencies[int(len(latencies) * 0.99)], 1),
        start_s=round(statistics.median(starts), 2),
        stop_s=round(statistics.median(stops), 2),
        after_kill_s=round(statistics.median(kills), 2),
        rebalance_s=round(statistics.median(pauses), 2),
    )


def _started(world: World) -> tuple["subprocess.Popen[bytes]", float]:
    """A process, and the seconds until an event published before it has its request."""
    user = world.publish()
    began_s = time.monotonic()
    child = world.start()
    world.wait_for(user)
    return child, time.monotonic() - began_s


def _paused_s(world: World) -> float:
    """The longest any event waited while a second process joined and left again."""
    users = world.stream(50.0, 3.0)
    second = world.start()
    users += world.stream(50.0, SETTLED_S)
    _end(second, signal.SIGTERM)
    users += world.stream(50.0, 5.0)
    return max(world.latencies_ms(users)) / 1000


def _end(child: "subprocess.Popen[bytes]", number: signal.Signals) -> float:
    """The seconds from a signal to the end of the process."""
    began_s = time.monotonic()
    child.send_signal(number)
    child.wait(LIMIT_S)
    return time.monotonic() - began_s


def _environ(job: Job) -> dict[str, str]:
    return {
        "STRATAGEM_KAFKA_BOOTSTRAP": job.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": job.redis_url,
        "STRATAGEM_TOPIC_PREFIX": PREFIX,
        "STRATAGEM_GROUP_PREFIX": f"{job.group}-",
        "STRATAGEM_PARTITIONS": str(job.partitions),
        "STRATAGEM_HOME": job.folder,
        "STRATAGEM_SHARE_HOLDOUT": "0",
        "STRATAGEM_LOG_LEVEL": "WARNING",
    }


def _stamp_on_arrival(stage: Stage) -> None:
    """The broker's clock for requests."""
    client = admin(stage.settings)
    name = topic_name(stage.settings, REQUESTS)
    client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"message.timestamp.type": "LogAppendTime"})])
    client.close()


if __name__ == "__main__":
    sys.exit(main())
