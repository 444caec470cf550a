"""Records → Kafka, each acknowledged by all replicas, with a bound on the bytes under way.

librdkafka does the work in threads of its own; one thread of ours collects its reports. A record ends within the time that
Kafka is given: acknowledged, or refused with the reason. Of a refused one nobody knows whether it is in the topic; it may be
sent again, because agents skip what they know.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from confluent_kafka import KafkaException, Producer

from services import metrics
from services.gateway_problems import refusal
from services.publish import Record
from services.settings_gateway import GatewaySettings, rdkafka_options
from services.topic_configs import MAX_RECORD_BYTES
from streaming.contracts.errors import Unavailable
from streaming.contracts.tracing import Headers

LOG = logging.getLogger(__name__)
SERVICE = "gateway"
_POLL_S = 0.1
ANY_PARTITION = -1
"""librdkafka's word for: by the key."""


class Room:
    """The bytes that all requests together may hold; for one thread, the event loop's.

    Args:
        limit_bytes: at most so many.
        retry_after_s: what a request is told for which there is no room.
    """

    def __init__(self, limit_bytes: int, retry_after_s: int) -> None:
        """Empty."""
        self._limit_bytes, self._retry_after_s, self.used_bytes = limit_bytes, retry_after_s, 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """What one request takes; given back at the end, whatever the end is."""
        taken = Share(self)
        try:
            yield taken
        finally:
            self._move(-taken.bytes)

    def grow(self, share: "Share", more_bytes: int) -> None:
        """Give a share more.

        Raises:
            Refused: there is not so much room now.
        """
        if self.used_bytes + more_bytes > self._limit_bytes:
            detail = f"{self._limit_bytes} bytes of other requests wait for Kafka"
            raise refusal("busy", detail, retry_after_s=self._retry_after_s)
        share.bytes += more_bytes
        self._move(more_bytes)

    def _move(self, by_bytes: int) -> None:
        self.used_bytes += by_bytes
        metrics.GATEWAY_BYTES.set(self.used_bytes)


class Share:
    """What one request holds of the room."""

    def __init__(self, room: Room) -> None:
        """Nothing yet."""
        self._room, self.bytes = room, 0

    def take(self, more_bytes: int) -> None:
        """Take more; `Room.grow`."""
        self._room.grow(self, more_bytes)


class _Round:
    """The records of one request: counts their reports, then tells the event loop. Used from two threads."""

    def __init__(self, expected: int, loop: asyncio.AbstractEventLoop) -> None:
        self._left, self._loop, self._lock = expected, loop, threading.Lock()
        self._error: str | None = None
        self.done: asyncio.Future[str | None] = loop.create_future()

    def reported(self, error: Any, _message: object = None, *, count: int = 1) -> None:
        """So many have ended, well where there is no error."""
        with self._lock:
            self._left -= count
            if error is not None and self._error is None:
                self._error = str(error)
            if self._left:
                return
        self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self.done.done():
            self.done.set_result(self._error)


class Intake:
    """The producer of one gateway process."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Nothing is connected to before `start`; librdkafka then connects by itself, again and again."""
        self._prefix = settings.topic_prefix
        patience_ms = round(settings.gateway_ack_s * 1000)
        self._producer = Producer(
            {
                **rdkafka_options(settings),
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # as Java's and kafka-python's; librdkafka's own is another
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.timeout.ms": patience_ms,
                "message.max.bytes": MAX_RECORD_BYTES,
                "queue.buffering.max.kbytes": max(1, 2 * settings.gateway_in_flight_bytes // 1024),
                "topic.metadata.propagation.max.ms": min(patience_ms, 5000),
                "log_level": 3,
            },
            logger=logging.getLogger("librdkafka"),
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="reports", daemon=True)

    def start(self) -> None:
        """Begin to collect reports."""
        self._thread.start()

    async def publish(self, records: Sequence[Record], headers: Headers = ()) -> None:
        """Publish, each with these headers, and wait for every acknowledgement.

        Raises:
            Unavailable: at least one was not acknowledged in time, or there is no room for it; it is worth trying again.
        """
        if not records:
            return
        round_ = _Round(len(records), asyncio.get_running_loop())
        produce, prefix, reported = self._producer.produce, self._prefix, round_.reported
        told = {"headers": list(headers)} if headers else {}
        for number, record in enumerate(records):
            try:
                produce(prefix + record.topic.name, record.value, record.key, ANY_PARTITION, reported, **told)
            except (BufferError, KafkaException) as error:
                round_.reported(error, count=len(records) - number)
                break
        if (why := await round_.done) is not None:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            raise Unavailable(f"Kafka: {why}")

    def missing(self, topics: Sequence[str], timeout_s: float) -> str:
        """Why nothing can be published just now, in words; empty when Kafka answers and has the topics."""
        try:
            there = self._producer.list_topics(timeout=timeout_s).topics
        except KafkaException as error:
            return str(error)
        absent = [self._prefix + name for name in topics if self._prefix + name not in there]
        return f"no topic {', '.join(absent)}" if absent else ""

    def close(self) -> None:
        """Let every record come to its end, then end."""
        left = self._producer.flush()
        self._stop.set()
        self._thread.join()
        if left:
            LOG.error("%d records were still under way", left)

    def _collect(self) -> None:
        while not self._stop.is_set():
            self._producer.poll(_POLL_S)
