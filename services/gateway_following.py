"""Reads requests, strategies and suppressions as they come, outside any group, and tells the hub; reads strategies back for those who resume.

librdkafka reconnects by itself, and goes on where it stood.
"""

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from services import metrics
from services.gateway_hub import Hub
from services.gateway_intake import SERVICE
from services.records import Record
from services.settings_common import Common
from services.settings_gateway import rdkafka_options
from streaming.contracts.topics import REQUESTS, STRATEGIES, SUPPRESSIONS, TopicSpec

LOG = logging.getLogger(__name__)
FOLLOWED = (REQUESTS, STRATEGIES, SUPPRESSIONS)
AT_ONCE = 200
_POLL_S = 0.2
_ASK_S = 10.0
_TRY_AGAIN_S = 0.5
_GROWN_EVERY_S = 30.0
"""Between two looks for partitions that were added."""
_READ_BACK_S = 1.0


def reader(settings: Common, **more: str | int | bool) -> Consumer:
    """A consumer that commits nothing; the group is a name that librdkafka wants to have."""
    options: dict[str, str | int | float | bool] = {
        "group.id": f"{settings.group_prefix}gateway",
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "queued.max.messages.kbytes": 16 * 1024,
        "log_level": 3,
    }
    return Consumer({**rdkafka_options(settings), **options, **more}, logger=logging.getLogger("librdkafka"))


def _partitions(consumer: Consumer, name: str) -> list[int]:
    """Of a topic; none while there is no such topic.

    Raises:
        KafkaException: Kafka does not answer.
    """
    return sorted(consumer.list_topics(name, timeout=_ASK_S).topics[name].partitions)


def record_of(topic: TopicSpec, message: Message) -> Record:
    """As the worker knows records."""
    place = (message.partition() or 0, message.offset() or 0)
    return Record(topic.name, *place, message.key(), message.value(), message.timestamp()[1])


class Following(threading.Thread):
    """The thread that reads. What comes while the event loop is busy waits in Kafka."""

    def __init__(self, settings: Common, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        """Start with `.start()`."""
        super().__init__(name="following", daemon=True)
        self._settings, self._hub, self._loop = settings, hub, loop
        self._stop_asked = threading.Event()
        self._names = {settings.topic_prefix + topic.name: topic for topic in FOLLOWED}
        self._known: dict[str, list[int]] = {}

    def run(self) -> None:
        """Follow until closed. Our own bug ends the thread; the hub is told, and so is readiness."""
        try:
            self._follow()
        except Exception:  # noqa: BLE001 -- the last line of the thread: what it does alone can still be served without
            metrics.BUGS.labels(SERVICE).inc()
            LOG.critical("strategies are not followed any more: %s", traceback.format_exc())
            self._loop.call_soon_threadsafe(self._hub.lost)

    def _follow(self) -> None:
        consumer = reader(self._settings)
        try:
            while not self._stop_asked.is_set() and not self._began(consumer):
                self._stop_asked.wait(_TRY_AGAIN_S)
            looked_s = time.monotonic()
            while not self._stop_asked.is_set():
                first = consumer.poll(_POLL_S)
                if first is not None:
                    self._tell([first, *consumer.consume(AT_ONCE, 0.0)])
                if time.monotonic() - looked_s > _GROWN_EVERY_S:
                    looked_s = time.monotonic()
                    self._grown(consumer)
        finally:
            consumer.close()

    def close(self) -> None:
        """End, soon."""
        self._stop_asked.set()
        self.join()

    def _began(self, consumer: Consumer) -> bool:
        """Go to the end of every partition of every topic; False while that cannot be done."""
        try:
            known = {name: _partitions(consumer, name) for name in self._names}
            if not all(known.values()):
                return False
            ends = [
                TopicPartition(name, number, consumer.get_watermark_offsets(TopicPartition(name, number), _ASK_S)[1])
                for name, numbers in known.items()
                for number in numbers
            ]
            consumer.assign(ends)
        except KafkaException as error:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.info("the topics of strategies cannot be followed yet: %s", error)
            return False
        self._known = known
        strategies = self._settings.topic_prefix + STRATEGIES.name
        positions = {each.partition: each.offset for each in ends if each.topic == strategies}
        self._loop.call_soon_threadsafe(self._hub.begin, positions)
        return True

    def _grown(self, consumer: Consumer) -> None:
        """Read partitions that were added, from their beginning."""
        try:
            added = [
                TopicPartition(name, number, 0)
                for name, known in self._known.items()
                for number in set(_partitions(consumer, name)) - set(known)
            ]
            if added:
                consumer.incremental_assign(added)
        except KafkaException:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            return
        for each in added:
            self._known[each.topic].append(each.partition)

    def _tell(self, messages: Sequence[Message]) -> None:
        failed = [message for message in messages if message.error() is not None]
        if failed:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc(len(failed))
        records = [record_of(self._names[m.topic() or ""], m) for m in messages if m.error() is None]
        if records:
            asyncio.run_coroutine_threadsafe(self._hub.hear(records), self._loop).result()


class Backlog:
    """Strategies between two positions, for one client who resumes. Used in threads, one at a time.

    Args:
        begins: partition → the first offset that is read; one that is gone already stands for the first there is.
        ends: partition → where reading ends; for each of `begins`.
    """

    def __init__(self, settings: Common, begins: dict[int, int], ends: dict[int, int]) -> None:
        """Connect with the first `read`."""
        self._settings, self._begins, self._left = settings, begins, {number: ends[number] for number in begins}
        self._lock, self._closed = threading.Lock(), False
        self._consumer: Consumer | None = None

    def read(self) -> list[Record] | None:
        """Some more, perhaps none just now; None at the end."""
        with self._lock:
            if self._closed or not self._left:
                return None
            name = self._settings.topic_prefix + STRATEGIES.name
            if self._consumer is None:
                self._consumer = reader(self._settings, **{"enable.partition.eof": True})
                self._consumer.assign([TopicPartition(name, number, at) for number, at in self._begins.items()])
            return [
                record
                for message in self._consumer.consume(AT_ONCE, _READ_BACK_S)
                if (record := self._taken(message)) is not None
            ]

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._closed = True
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None

    def _taken(self, message: Message) -> Record | None:
        number, error = message.partition() or 0, message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 -- the library has no other name for it
                self._left.pop(number, None)
            return None
        if number not in self._left:
            return None
        record = record_of(STRATEGIES, message)
        if record.offset + 1 >= self._left[number]:
            del self._left[number]
        return record
