"""A plain confluent-kafka loop, as its documentation has it for batches: `consume(n)`, work, `commit`; Redis by one pipeline.

The same order as in `aiokafka_loop.py`, with librdkafka's threads fetching and sending meanwhile.
"""

from collections import OrderedDict, defaultdict
from typing import Any

from confluent_kafka import Consumer, Message, Producer
from redis import Redis

from benchmarks.peers.job import Job, Measured, Meter
from benchmarks.peers.work import (
    BATCH,
    OUTBOX,
    Record,
    States,
    Work,
    ask,
    fates_of,
    outbox_of,
    take,
    trim,
    users_of,
    write,
)
from streaming.contracts.topics import SHOP_EVENTS

POLL_S = 0.1


def run(job: Job) -> Measured:
    """Consume until all records were processed."""
    meter = Meter(job)
    consumer = Consumer(
        {
            "bootstrap.servers": job.kafka_bootstrap,
            "group.id": job.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    loop = Loop(job)
    consumer.subscribe([job.name(SHOP_EVENTS)])
    while not meter.done:
        messages = consumer.consume(BATCH, timeout=POLL_S)
        if messages:
            meter.fates.update(loop.batch(messages))
            consumer.commit(asynchronous=False)
            meter.add(len(messages))
    consumer.close()
    return meter.measured()


class Loop:
    """One batch after the other."""

    def __init__(self, job: Job) -> None:
        """Nothing is cached."""
        self._work = Work(job)
        self._prefix = job.prefix
        self._redis: Any = Redis.from_url(job.redis_url)
        self._producer = Producer(
            {
                "bootstrap.servers": job.kafka_bootstrap,
                "acks": "all",
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "linger.ms": 5,
            }
        )
        self._states: States = OrderedDict()

    def batch(self, messages: list[Message]) -> dict[str, int]:
        """Read, fold, write, publish, clear; the fates."""
        parts: dict[int, list[Record]] = defaultdict(list)
        for message in messages:
            if message.error() is None:
                record = Record(message.offset(), message.key(), message.value(), message.timestamp()[1])
                parts[message.partition()].append(record)
        found: dict[str, int] = defaultdict(int)
        for partition, records in parts.items():
            for fate, count in self._partition(partition, records).items():
                found[fate] += count
        return found

    def _partition(self, partition: int, records: list[Record]) -> dict[str, int]:
        items = self._work.read(partition, records)
        self._load([user for user in users_of(items) if user not in self._states])
        folding = self._work.fold(self._states, partition, items, records)
        outbox = outbox_of(folding.writes, f"{partition}.{records[-1].offset}")
        pipeline = self._redis.pipeline()
        write(pipeline, folding.writes, outbox)
        pipeline.execute()
        self._states.update(folding.states)
        trim(self._states)
        for entry in folding.writes.outbox:
            self._producer.produce(self._prefix + entry.topic, entry.value, entry.key, headers=list(entry.headers))
        if outbox:
            self._producer.flush()
            self._redis.hdel(OUTBOX, *(id_ for id_, _ in outbox))
        return fates_of(folding.writes)

    def _load(self, users: list[str]) -> None:
        if users:
            pipeline = self._redis.pipeline(transaction=False)
            ask(pipeline, users)
            take(self._states, users, pipeline.execute())
