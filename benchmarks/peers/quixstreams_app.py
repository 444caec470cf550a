"""Quix Streams as its documentation has it: a stateful `apply` over RocksDB with a changelog, a batching sink, `to_topic`.

Exactness is the framework's own: state, changelog, sink and messages are flushed at each checkpoint, then offsets are
committed. So there is no outbox in Redis; the rows lie there all the same, because others read them.
"""

from collections import OrderedDict
from typing import Any

from quixstreams import Application, State
from quixstreams.models import Serializer
from quixstreams.sinks import BatchingSink, SinkBatch
from redis import Redis

from benchmarks.peers.job import Job, Measured, Meter
from benchmarks.peers.work import Record, Work, fates_of, write
from streaming.contracts.topics import DEAD_LETTERS, REQUESTS, SHOP_EVENTS, SUPPRESSIONS
from streaming.core import decode_state
from streaming.effects import Publish
from streaming.writes import Writes


class Outgoing(Serializer):
    """A message's bytes."""

    def __call__(self, value: Publish, ctx: Any) -> bytes | None:  # noqa: ARG002 -- the interface's
        """The value as it is."""
        return value.value


class Rows(BatchingSink):
    """Rows and indexes in Redis, written at each checkpoint: of several writes of a customer the last."""

    def __init__(self, url: str, meter: Meter) -> None:
        """Connect when the application starts."""
        super().__init__()
        self._url = url
        self._meter = meter
        self._redis: Any = None

    def setup(self) -> None:
        """Connect."""
        self._redis = Redis.from_url(self._url)

    def write(self, batch: SinkBatch) -> None:
        """One pipeline for the whole batch."""
        last = Writes()
        for item in batch:
            one: Writes = item.value
            last.rows |= one.rows
            last.open |= one.open
            last.due_ms |= one.due_ms
            last.wants |= one.wants
            last.counts.update(one.counts)
        pipeline = self._redis.pipeline(transaction=True)
        write(pipeline, last)
        pipeline.execute()

    def flush(self) -> None:
        """At a checkpoint; the last one is the end of the work."""
        super().flush()
        if self._meter.done:
            self._meter.end()


def run(job: Job) -> Measured:
    """Run the application until all records were processed."""
    meter, work = Meter(job), Work(job)
    app = Application(
        broker_address=job.kafka_bootstrap,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        state_dir=job.folder,
        loglevel="WARNING",
        auto_create_topics=True,  # the changelog's
        producer_extra_config={"partitioner": "murmur2_random", "compression.type": "lz4"},
    )
    outputs = {
        topic.name: app.topic(job.name(topic), value_serializer=Outgoing(), key_serializer="bytes")
        for topic in (REQUESTS, SUPPRESSIONS, DEAD_LETTERS)
    }
    folded = app.dataframe(app.topic(job.name(SHOP_EVENTS), value_deserializer="bytes", key_deserializer="bytes"))
    folded = folded.apply(Step(app, work, meter).fold, stateful=True, metadata=True)
    folded.sink(Rows(job.redis_url, meter))
    messages = folded.apply(lambda writes: writes.outbox, expand=True)
    messages.to_topic(lambda message, *_: outputs[message.topic], key=lambda message: message.key)
    app.run()
    return meter.measured()


class Step:
    """The stateful function."""

    def __init__(self, app: Application, work: Work, meter: Meter) -> None:
        """Keep what it needs."""
        self._app = app
        self._work = work
        self._meter = meter

    def fold(self, value: bytes, key: bytes, timestamp: int, headers: Any, state: State) -> Writes:  # noqa: ARG002
        """Fold one event into the state of its key."""
        record = Record(0, key, value, timestamp)
        items = self._work.read(0, [record])
        user = items[0].user_id
        before = decode_state(state.get_bytes("row"), state.get_bytes("open")) if user else None
        folding = self._work.fold(OrderedDict({user: before}), 0, items, [record])
        if (row := folding.writes.rows.get(user)) is not None:
            state.set_bytes("row", row)
        if (open_ := folding.writes.open.get(user)) is not None:
            state.set_bytes("open", open_)
        self._meter.fates.update(fates_of(folding.writes))
        self._meter.add(1)
        if self._meter.done:
            self._app.stop()
        return folding.writes
