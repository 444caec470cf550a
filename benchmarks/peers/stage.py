"""What the systems of `streams.py` play on: Kafka, Redis, the topics with the traffic; and what each has put out."""

import hashlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from kafka import KafkaConsumer, TopicPartition
from redis import Redis

from benchmarks.doors import cpu_s
from benchmarks.peers.job import Job, Measured
from benchmarks.peers.traffic import catalog, traffic
from benchmarks.peers.work import ROWS
from services.clients import producer, topic_name, whole_topic_consumer
from services.local.process import MissingPart
from services.local.stack import LocalStack
from services.settings import AgentsSettings
from services.topics import ensure_topics
from streaming.contracts.codec import encode
from streaming.contracts.topics import CATALOG, REQUESTS, SHOP_EVENTS, TopicSpec
from streaming.control import bucket_count, read_books
from streaming.keys import BucketKeys

PARTITIONS = 4
PREFIX = "bench."
BATCH_BYTES = 131_072
LIMIT_S = 240.0
"""One run of the slowest system takes a quarter of it."""
ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".stratagem" / "cache"
EXTRA = {"quixstreams": "quixstreams", "confluent": "confluent_kafka"}
"""System → the package of the extra `bench` that it needs."""


class Output(msgspec.Struct, frozen=True):
    """What must be the same for all: fates, requests, a digest of the rows and of the requests."""

    applied: int
    duplicates: int
    malformed: int
    requests: int
    digest: str


class Outcome(msgspec.Struct, frozen=True):
    """One run.

    Args:
        redis_cpu_s: of the Redis process, over all records, its clients' start and end included; kafka_cpu_s likewise.
    """

    measured: Measured
    output: Output
    redis_cpu_s: float = 0.0
    kafka_cpu_s: float = 0.0


class Stage:
    """A context manager: the stack with the traffic in its topics."""

    def __init__(
        self, folder: Path, events: int, seed: int, warm: int, core: int | None, customers: int | None = None
    ) -> None:
        """Nothing is started yet."""
        self._customers = customers
        self._folder = folder
        self._events, self._seed, self._warm, self._core = events, seed, warm, core
        self._stack = LocalStack(folder / "stack", fresh=True, progress=_quiet, cache=CACHE)

    def __enter__(self) -> Self:
        """Start Kafka and Redis, publish catalog and traffic."""
        self._stack.__enter__()
        ends = self._stack.endpoints
        self.settings = AgentsSettings(
            kafka_bootstrap=ends.kafka_bootstrap, redis_url=ends.redis_url, topic_prefix=PREFIX, partitions=PARTITIONS
        )
        ensure_topics(self.settings)
        self._send((CATALOG, product.product_id.encode(), encode(product)) for product in catalog())
        self.publish(self._events)
        self.redis: Any = Redis.from_url(ends.redis_url)
        return self

    def publish(self, events: int) -> None:
        """Publish so much traffic."""
        self._send((SHOP_EVENTS, key, value) for key, value in traffic(events, self._seed, self._customers))

    def _send(self, records: Iterable[tuple[TopicSpec, bytes, bytes]]) -> None:
        sender = producer(self.settings, linger_ms=20, batch_size=BATCH_BYTES)
        for topic, key, value in records:
            sender.send(topic_name(self.settings, topic), key=key, value=value)
        sender.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop both."""
        self.redis.close()
        self._stack.__exit__(kind, error, traceback)

    def run(self, system: str, number: int) -> Outcome:
        """One run in a process of its own.

        Raises:
            MissingPart: the system's package is not installed.
            RuntimeError: the process failed; the message ends with what it said.
        """
        needed = EXTRA.get(system)
        if needed and importlib.util.find_spec(needed) is None:
            raise MissingPart(f"{system} needs the package {needed}: make bench-env")
        self.redis.flushdb()
        before, servers_s = self._ends(), self._servers_s()
        measured = self._child(self.job(system, number))
        redis_s, kafka_s = (after - was for after, was in zip(self._servers_s(), servers_s, strict=True))
        if system == "pure":
            counted = measured.fates
            return Outcome(measured, _output(counted, measured.requests, measured.digest))
        requests = self._requests(before)
        output = _output(self._fates(measured), len(requests), self._digest())
        return Outcome(measured, output, redis_s, kafka_s)

    def _servers_s(self) -> tuple[float, float]:
        """CPU seconds of Redis and of Kafka so far."""
        return tuple(cpu_s(server.process.pid) for server in (self._stack.database, self._stack.broker))  # type: ignore[return-value]  # two of them

    def job(self, system: str, number: int) -> Job:
        """A run of a system; its number makes its group and folder its own."""
        folder = self._folder / f"{system}-{number}"
        folder.mkdir(exist_ok=True)
        ends = self._stack.endpoints
        return Job(
            system=system,
            kafka_bootstrap=ends.kafka_bootstrap,
            redis_url=ends.redis_url,
            prefix=PREFIX,
            group=f"bench-{system}-{number}",
            folder=str(folder),
            records=self._events,
            warm=self._warm,
            seed=self._seed,
            partitions=PARTITIONS,
            core=self._core,
        )

    def _child(self, job: Job) -> Measured:
        try:
            done = subprocess.run(command(job), cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{job.system} was not done after {LIMIT_S:.0f} s: {_tail(error.stderr)}") from error
        if done.returncode:
            raise RuntimeError(f"{job.system} ended with {done.returncode}: {_tail(done.stderr)}")
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Measured)

    def _consumer(self) -> KafkaConsumer:
        return whole_topic_consumer(self.settings, REQUESTS)

    def _ends(self) -> dict[TopicPartition, int]:
        consumer = self._consumer()
        found: dict[TopicPartition, int] = consumer.end_offsets(list(consumer.assignment()))
        consumer.close()
        return found

    def _requests(self, since: dict[TopicPartition, int]) -> set[bytes]:
        """Distinct requests that were published since; a repeated one is the same bytes."""
        consumer = self._consumer()
        ends = consumer.end_offsets(list(since))
        for place, offset in since.items():
            consumer.seek(place, offset)
        found: set[bytes] = set()
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(500).values():
                found |= {record.value for record in records}
        consumer.close()
        return found

    def _fates(self, measured: Measured) -> dict[str, int]:
        if measured.fates:
            return measured.fates
        return read_books(self.redis, PREFIX).fates.get(SHOP_EVENTS.name, {})

    def _digest(self) -> str:
        """Of every row in Redis, by customer; wherever the system keeps them."""
        buckets = bucket_count(self.redis, PREFIX)
        keys = [ROWS] if buckets is None else [BucketKeys.of(PREFIX, bucket).rows for bucket in range(buckets)]
        rows: dict[bytes, bytes] = {}
        for key in keys:
            rows |= self.redis.hgetall(key)
        return hashlib.sha256(b"".join(rows[user] for user in sorted(rows))).hexdigest()


def command(job: Job) -> list[str]:
    """How a child is started."""
    return [sys.executable, "-m", "benchmarks.peers.child", msgspec.json.encode(job).decode()]


def _output(fates: dict[str, int], requests: int, digest: str) -> Output:
    return Output(fates.get("folded", 0), fates.get("duplicate", 0), fates.get("dead_lettered", 0), requests, digest)


def _tail(text: str | bytes | None) -> str:
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
    return said[-3000:]


def _quiet(_: str) -> None:
    """Starting the stack needs no words here."""
