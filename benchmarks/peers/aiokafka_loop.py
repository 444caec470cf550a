"""A plain aiokafka loop, as its documentation has it for batches: `getmany`, work, `commit`; Redis by one pipeline.

Customers are cached, the outbox lies in Redis until its messages are acknowledged, offsets are committed last.
"""

import asyncio
from collections import OrderedDict
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from redis.asyncio import Redis

from benchmarks.peers.job import Job, Measured, Meter
from benchmarks.peers.work import BATCH, OUTBOX, States, Work, ask, fates_of, outbox_of, take, trim, users_of, write
from streaming.contracts.topics import SHOP_EVENTS

POLL_MS = 1000


def run(job: Job) -> Measured:
    """Consume until all records were processed."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    meter = Meter(job)
    consumer = AIOKafkaConsumer(
        job.name(SHOP_EVENTS),
        bootstrap_servers=job.kafka_bootstrap,
        group_id=job.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    producer = AIOKafkaProducer(bootstrap_servers=job.kafka_bootstrap, acks="all", compression_type="lz4")
    redis = Redis.from_url(job.redis_url)
    loop = Loop(job, redis, producer)
    await consumer.start()
    await producer.start()
    while not meter.done:
        fetched = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH)
        for place, records in fetched.items():
            meter.fates.update(await loop.batch(place.partition, records))
        await consumer.commit()
        meter.add(sum(map(len, fetched.values())))
    await consumer.stop()
    await producer.stop()
    await redis.aclose()
    return meter.measured()


class Loop:
    """One batch after the other."""

    def __init__(self, job: Job, redis: Any, producer: AIOKafkaProducer) -> None:
        """Nothing is cached."""
        self._work = Work(job)
        self._prefix = job.prefix
        self._redis = redis
        self._producer = producer
        self._states: States = OrderedDict()

    async def batch(self, partition: int, records: list[Any]) -> dict[str, int]:
        """Read, fold, write, publish, clear; the fates."""
        items = self._work.read(partition, records)
        await self._load([user for user in users_of(items) if user not in self._states])
        folding = self._work.fold(self._states, partition, items, records)
        outbox = outbox_of(folding.writes, f"{partition}.{records[-1].offset}")
        pipeline = self._redis.pipeline()
        write(pipeline, folding.writes, outbox)
        await pipeline.execute()
        self._states.update(folding.states)
        trim(self._states)
        sent = [
            await self._producer.send(self._prefix + e.topic, e.value, e.key, headers=list(e.headers))
            for e in folding.writes.outbox
        ]
        await asyncio.gather(*sent)
        if outbox:
            await self._redis.hdel(OUTBOX, *(id_ for id_, _ in outbox))
        return fates_of(folding.writes)

    async def _load(self, users: list[str]) -> None:
        if users:
            pipeline = self._redis.pipeline(transaction=False)
            ask(pipeline, users)
            take(self._states, users, await pipeline.execute())
