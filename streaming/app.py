"""The Faust app: one agent per input topic, each handing whole batches to one processor."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import faust
from aiokafka.errors import KafkaError
from faust.types import TP
from faust.types.auth import AuthProtocol
from msgspec import Struct
from yarl import URL

from streaming.batch import Batch, Rewind
from streaming.batches import BatchApp, BatchConsumer
from streaming.catalog_reader import CatalogReader
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import INPUTS, SHOP_EVENTS
from streaming.core import Context
from streaming.ends import EndOffsets
from streaming.facts import Facts
from streaming.forgetting import Forgetting
from streaming.keeper import Keeper
from streaming.open_state import Windows
from streaming.outbox import Outbox
from streaming.popularity import Popularity
from streaming.processor import Processor
from streaming.reaching import Reaching
from streaming.reading import Layout
from streaming.recall import Recall
from streaming.rules import Rules
from streaming.store import Store
from streaming.timers import Timers

MAX_RECORD_BYTES = 6 * 1024 * 1024
MAX_BATCHES_WAITING = 1
"""Per input: what waits in Kafka's own buffers instead comes as one larger batch, which costs hardly more than a small one."""

TURN_LIMIT_S = 2.0
"""A stop waits so long for the keeper's turn, which may be waiting for Redis or Kafka itself."""

_log = logging.getLogger(__name__)


class Security(Struct, frozen=True):
    """How brokers are reached; plain text by default."""

    protocol: str = "PLAINTEXT"
    mechanism: str = ""
    username: str = ""
    password: str = ""
    ssl_context: ssl.SSLContext | None = None


class StreamSettings(Struct, frozen=True, kw_only=True):
    """All that the agents need to know of the world.

    Args:
        group: consumer group and application id.
        bootstrap: `host:port` of brokers.
        prefix: of topic names and, with `stratagem:` before it, of keys in Redis.
        topic_ids: topic (unprefixed) → id of the topic now.
        cached_customers: kept in memory at most, evenly over the buckets.
    """

    group: str
    bootstrap: tuple[str, ...]
    prefix: str
    redis_url: str
    layout: Layout
    topic_ids: Mapping[str, str]
    data_dir: Path
    security: Security = Security()
    session_timeout_s: float = 8.0
    max_poll_records: int = 2000
    cached_customers: int = 100_000


class Agents:
    """The app with its parts.

    Attributes:
        app: to be started and stopped.
        failed: set with the error that must end the process: a bug of the edges, not of a record.
    """

    def __init__(self, settings: StreamSettings, rules: Rules, windows: Windows, facts: Facts) -> None:
        """Declare agents and tasks; nothing is connected yet."""
        self.settings = settings
        self.facts = facts
        self.app = _faust_app(settings)
        self.catalog = CatalogReader(_aiokafka_options(settings), settings.prefix, facts)
        buckets = settings.layout.buckets
        self.store = Store(
            settings.redis_url,
            settings.prefix,
            buckets,
            settings.topic_ids,
            max(1, settings.cached_customers // buckets),
        )
        self.recall = Recall(lambda: _aiokafka_options(settings), settings.prefix)
        self.outbox = Outbox(self.app.producer, settings.prefix, facts, self.recall.said)
        self.processor = Processor(
            self.store, self.outbox, settings.layout, self._context(rules, windows), facts, wall_ms, self.recall
        )
        self.processor.rewind = self._rewind
        self.timers = Timers(self.processor)
        self.processor.after_batch = self.timers.after_batch
        self.ends = EndOffsets(_aiokafka_options(settings), settings.prefix)
        self.processor.next_record = self.ends.next_record
        self.keeper = Keeper(self.processor, self.timers, self.catalog, settings.prefix, self._consumer, self.ends)
        self.processor.before_batch = self.keeper.sure
        self.reaching = Reaching(self.processor, self.timers, self.catalog)
        self.keeper.turns = [
            self.reaching.turn,
            Popularity(self.store, self.catalog).turn,
            Forgetting(self.processor, self.timers).turn,
        ]
        self.failed: asyncio.Future[BaseException] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        for topic in INPUTS:
            self._declare(topic.name)
        self.app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]  # its signature is too wide
        self.app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]  # the same

    def _context(self, rules: Rules, windows: Windows) -> Callable[[], Context]:
        live = self.settings.layout.clock.mode == "live"
        return lambda: Context(
            self.catalog.reference, rules, windows, wall_ms=wall_ms() if live else None, said=self.recall.fates
        )

    def _declare(self, name: str) -> None:
        topic = self.app.batch_topic(self.settings.prefix + name, maxsize=MAX_BATCHES_WAITING)

        async def handle(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._handle(name, event)

        self.app.agent(topic, name=f"agent-{name}", concurrency=1)(handle)

    async def _handle(self, name: str, event: Any) -> None:
        """One batch. What fails here is a bug of ours that concerns no single record: the process must end."""
        place = TP(event.message.topic, event.message.partition)
        consumer = self._consumer()
        if event.value.epoch != consumer.epochs[place]:
            return  # fetched before a seek
        if place.partition >= self.settings.layout.partitions:
            return  # added while we run: nobody's customers yet, and read again by whoever starts with them
        try:
            await self.processor.batch(Batch(name, place.partition, event.value, event.value.since))
        except Rewind as error:
            _log.warning("%s: reading again from %d, which Redis has not applied", place, error.offset)
            with contextlib.suppress(Unavailable):  # amid a rebalance, whose end seeks to what is committed
                await self._rewind(name, place.partition, error.offset)
        except Exception as error:
            self._fail(error)
            raise
        else:
            event.ack()

    def in_flight(self) -> dict[str, int]:
        """Per input the batches that were fetched and are not applied."""
        found = self._consumer().in_flight()
        return {topic.removeprefix(self.settings.prefix): count for topic, count in found.items()}

    async def _rewind(self, topic: str, partition: int, offset: int) -> None:
        """Read a partition of an input again."""
        self.facts.count("rewinds", topic=topic)
        try:
            await self._consumer().rewind(TP(self.settings.prefix + topic, partition), offset)
        except KafkaError as error:  # amid a rebalance it is not ours just now
            raise Unavailable(f"Kafka: {error!r}") from error

    def _consumer(self) -> "BatchConsumer":
        return cast("BatchConsumer", self.app.consumer)

    def _fail(self, error: BaseException) -> None:
        _log.error("the agents cannot go on", exc_info=error)
        if self.failed is not None and not self.failed.done():
            self.failed.set_result(error)

    async def _assigned(self, _app: Any, assigned: set[TP], **_: Any) -> None:
        name = self.settings.prefix + SHOP_EVENTS.name
        self.reaching.forget()
        known = range(self.settings.layout.partitions)
        self.keeper.assigned({p.partition for p in assigned if p.topic == name and p.partition in known})

    async def _revoked(self, _app: Any, _revoked: set[TP], **_: Any) -> None:
        self.keeper.revoked()

    async def start(self) -> None:
        """Read the catalog, then start Faust, then keep.

        Raises:
            Unavailable: Kafka or Redis does not answer.
            ValueError: the store was begun with another number of buckets, or would lose what it is given.
        """
        self.failed = asyncio.get_running_loop().create_future()
        if refusal := await self.store.evicts():
            raise ValueError(refusal)
        await self.store.another_process()  # remembers which one it is
        await self.store.fix_buckets()
        await self.ends.start()
        await self.catalog.start()
        await self.app.start()
        for run in (self.keeper.run, self.catalog.follow):
            task = asyncio.create_task(run())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    async def crashed(self) -> None:
        """Return when Faust has given up by itself, e.g. because a thread of its consumer died."""
        while not (self.app.should_stop or self.app.crashed):  # noqa: ASYNC110 -- Faust offers flags, no event
            await asyncio.sleep(1.0)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    async def stop(self) -> None:
        """Finish what is in flight, commit it, leave the group, close the connections."""
        self.keeper.end()  # its turn may ask the consumer, which goes with the app
        if self._tasks:  # else it was stopped before it had started
            await asyncio.wait(self._tasks[:1], timeout=TURN_LIMIT_S)
        await self.app.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # a task that failed has told so when it ended
        await self.catalog.stop()
        await self.ends.stop()
        await self.store.close()


def wall_ms() -> int:
    """The wall clock."""
    return int(time.time() * 1000)


def _faust_app(settings: StreamSettings) -> BatchApp:
    security = settings.security
    credentials: Any = None
    if security.mechanism:
        credentials = faust.SASLCredentials(
            mechanism=security.mechanism,
            username=security.username,
            password=security.password,
            ssl_context=security.ssl_context,
        )
        credentials.protocol = AuthProtocol(security.protocol)  # the constructor offers two of them only
    elif security.ssl_context is not None:
        credentials = faust.SSLCredentials(context=security.ssl_context)
    return BatchApp(
        settings.group,
        broker=[URL(f"kafka://{each}") for each in settings.bootstrap],
        broker_credentials=credentials,
        datadir=settings.data_dir,
        web_enabled=False,
        topic_disable_leader=True,
        autodiscover=False,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=MAX_RECORD_BYTES,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=max(1.0, settings.session_timeout_s / 6),
        broker_request_timeout=30.0,
        broker_max_poll_records=settings.max_poll_records,
        broker_commit_interval=1.0,
        producer_acks=-1,
        producer_compression_type="lz4",
        producer_max_request_size=MAX_RECORD_BYTES,
        producer_request_timeout=20.0,
        stream_buffer_maxsize=MAX_BATCHES_WAITING,  # an agent's own buffer does not take its topic's
        stream_wait_empty=True,
        worker_redirect_stdouts=False,
    )


def _aiokafka_options(settings: StreamSettings) -> dict[str, Any]:
    security = settings.security
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap),
        "security_protocol": security.protocol,
        "ssl_context": security.ssl_context,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
    }
    if security.mechanism:
        options |= {
            "sasl_mechanism": security.mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
    return options
