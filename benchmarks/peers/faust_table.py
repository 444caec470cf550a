"""Faust the usual way: one event at a time, a Table with its changelog, `topic.send`, rows in Redis as they change."""

import asyncio
from collections import OrderedDict
from typing import Any

import faust
from redis.asyncio import Redis

from benchmarks.peers.job import Job, Measured, Meter
from benchmarks.peers.work import Record, Work, fates_of, write
from streaming.contracts.topics import DEAD_LETTERS, REQUESTS, SHOP_EVENTS, SUPPRESSIONS
from streaming.core import decode_state

POLL_S = 0.05
BETWEEN = b"\n"
"""Between a row and its open state: no JSON of ours holds one."""


def run(job: Job) -> Measured:
    """Run the app until all records were processed."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    meter = Meter(job)
    app = faust.App(
        job.group,
        broker=f"kafka://{job.kafka_bootstrap}",
        store="memory://",
        datadir=job.folder,
        web_enabled=False,
        topic_disable_leader=True,
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        topic_partitions=job.partitions,
        producer_compression_type="lz4",
    )
    redis = Redis.from_url(job.redis_url)
    declare(app, job, redis, meter)
    await app.start()
    while not meter.done:  # noqa: ASYNC110 -- the meter is asked, so that counting costs every system the same
        await asyncio.sleep(POLL_S)
    await app.stop()
    await redis.aclose()
    return meter.measured()


def declare(app: faust.App, job: Job, redis: Any, meter: Meter) -> None:
    """The table, the topics and the agent."""
    work = Work(job)
    raw = faust.Schema(key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    table = app.Table("profiles", partitions=job.partitions, schema=raw)
    events = app.topic(job.name(SHOP_EVENTS), key_serializer="raw", value_serializer="raw")
    outputs = {
        topic.name: app.topic(job.name(topic), key_serializer="raw", value_serializer="raw")
        for topic in (REQUESTS, SUPPRESSIONS, DEAD_LETTERS)
    }

    async def fold(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            record = Record(message.offset, message.key, message.value, int(message.timestamp * 1000))
            items = work.read(message.partition, [record])
            user, key = items[0].user_id, message.key
            row, _, open_ = (table.get(key) or b"").partition(BETWEEN) if user else (b"", b"", b"")
            before = decode_state(row or None, open_ or None)
            folding = work.fold(OrderedDict({user: before}), message.partition, items, [record])
            if folding.changed:
                changed = folding.writes
                table[key] = (changed.rows.get(user) or row) + BETWEEN + (changed.open.get(user, open_) or b"")
            pipeline = redis.pipeline(transaction=True)
            write(pipeline, folding.writes)
            await pipeline.execute()
            for entry in folding.writes.outbox:
                await outputs[entry.topic].send(key=entry.key, value=entry.value, headers=dict(entry.headers))
            meter.fates.update(fates_of(folding.writes))
            meter.add(1)

    app.agent(events)(fold)
