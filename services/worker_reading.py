"""Reads `strategy.requests` as a member of the workers' group, and commits what was answered.

Kafka forgets a group's offsets with a topic that is deleted, but takes one that a worker commits a moment later for the topic
made in its place, where other requests lie before it. So each commit carries the topic's id, and an offset of another
topic is void: its partition is read from the beginning. A request that comes again has its answer already.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from services import metrics
from services.clients import group_consumer, topic_name
from services.group_joining import Joining
from services.records import Record
from services.settings import WorkerSettings
from services.topics import Topic, topics_now
from services.watchdog import STANDS_AFTER_S, WORKERS
from services.worker_sending import patiently
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS

LOG = logging.getLogger(__name__)
SERVICE = "worker"
SESSION_MS = 6_000
"""After a killed worker the others wait this long for its partitions."""
SLOWEST_BATCH_MS = round(1.2 * STANDS_AFTER_S * 1000)
"""A member that is busy for longer leaves its group; by then the watchdog has ended it, so that no slow worker is left out."""
POLL_MS = 200
COMMITTED_MS = 2_000


class RequestReader:
    """One consumer, of one thread.

    Attributes:
        topic: as it was when we began to read it; None before.
        owned: our partitions, as of the last read.
    """

    def __init__(self, settings: WorkerSettings, stop: threading.Event) -> None:
        """Connect later."""
        self._settings, self._stop = settings, stop
        self._consumer: Any = None
        self._joining: Joining
        self._checked: set[TopicPartition] = set()
        self._forgetting = _Forgetting(self._checked)
        self.topic: Topic | None = None
        self.owned: set[int] = set()

    def connect(self) -> None:
        """Wait for Kafka and the topic.

        Raises:
            Stopped: the service stops meanwhile.
        """
        self._consumer = patiently(self._subscribed, "kafka", SERVICE, self._stop)
        self._joining = Joining(self._consumer, self._forgetting)

    def read(self) -> list[Record]:
        """What has come, filled up for at most `batch_wait_ms`.

        Raises:
            Stopped: the service stops while Kafka is asked in vain what was committed.
        """
        size = self._settings.batch_size
        records = self._poll(POLL_MS, size)
        if records and len(records) < size and self._settings.batch_wait_ms:
            ends = time.monotonic() + self._settings.batch_wait_ms / 1000
            while len(records) < size and (left_s := ends - time.monotonic()) > 0:
                records += self._poll(max(1, round(left_s * 1000)), size - len(records))
        return records

    def commit(self, records: Sequence[Record]) -> None:
        """After the acknowledgement. A commit lost to a rebalance or a broker only means that answers repeat."""
        name, topic = topic_name(self._settings, REQUESTS), self.topic
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        for record in records:
            place = TopicPartition(name, record.partition)
            offsets[place] = OffsetAndMetadata(record.offset + 1, topic.id if topic else "", -1)
        try:
            self._consumer.commit(offsets)
        except KafkaError as error:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.warning("commit refused, the batch may come again: %s", error)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _poll(self, timeout_ms: int, limit: int) -> list[Record]:
        found = self._consumer.poll(timeout_ms=timeout_ms, max_records=limit)
        if self._joining.polled():
            self._checked.clear()
        void = self._begun_anew()
        self.owned = {place.partition for place in self._consumer.assignment()}
        return [Record.of(REQUESTS, r) for place, records in found.items() if place not in void for r in records]

    def _begun_anew(self) -> set[TopicPartition]:
        """Of the partitions that were assigned since the last look, those that were sent back to their beginning."""
        fresh = self._consumer.assignment() - self._checked
        void = {place for place in fresh if self._is_void(place)}
        if void:
            numbers = sorted(place.partition for place in void)
            LOG.warning(
                "%s was deleted and made again: partitions %s are read from their start", REQUESTS.name, numbers
            )
            self._consumer.seek_to_beginning(*void)
        self._checked |= fresh
        return void

    def _is_void(self, place: TopicPartition) -> bool:
        """Whether what was committed is an offset of a topic that is gone; one without an id counts as ours."""
        assert self.topic is not None
        committed = patiently(lambda: self._committed(place), "kafka", SERVICE, self._stop)
        written = committed.metadata if committed is not None else ""
        return bool(written and self.topic.id and written != self.topic.id)

    def _committed(self, place: TopicPartition) -> Any:
        try:
            return self._consumer.committed(place, metadata=True, timeout_ms=COMMITTED_MS)
        except KafkaError as error:
            raise Unavailable(f"kafka: {error}") from error

    def _subscribed(self) -> Any:
        [self.topic] = topics_now(self._settings, REQUESTS)  # first, so that a change meanwhile is seen as one
        try:
            return group_consumer(
                self._settings,
                WORKERS,
                [REQUESTS],
                listener=self._forgetting,
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 4,
                max_poll_interval_ms=SLOWEST_BATCH_MS,
            )
        except KafkaError as error:
            raise Unavailable(f"kafka: {error}") from error


class _Forgetting(ConsumerRebalanceListener):  # type: ignore[misc]  # it has no types
    """What is assigned again goes on from what was committed by then, perhaps by somebody else: it is looked at again."""

    def __init__(self, checked: set[TopicPartition]) -> None:
        self._checked = checked

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        self._checked.clear()

    def on_partitions_assigned(self, _assigned: set[TopicPartition]) -> None:
        """The next poll looks at them; here the client's own loop would have to wait for itself."""
        metrics.REBALANCES.labels(SERVICE).inc()
