"""Reads `strategy.rewards` from the offset that was learned to, and `model.adapters` whole, with one consumer outside any group."""

import logging
import threading
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from services import metrics
from services.clients import topic_name
from services.records import Record
from services.settings import SettingError, UpdaterSettings, kafka_options
from services.topics import Topic, topics_now
from services.updater_announcing import SERVICE
from services.worker_sending import patiently
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import ADAPTERS, REWARDS

LOG = logging.getLogger(__name__)

MAX_RECORDS = 200
"""Rewards learned between two turns: two refits, so that a turn stays short after an outage too."""

Pair = tuple[bytes | None, bytes | None]


class Reader:
    """One consumer on both topics; rewards are paused until what was announced is known.

    Attributes:
        topic: of the rewards, as it was when we began to read it; None before.
        owned: its one partition.
    """

    def __init__(self, settings: UpdaterSettings, stop: threading.Event) -> None:
        """Connect later."""
        self._settings, self._stop = settings, stop
        self._rewards = TopicPartition(topic_name(settings, REWARDS), 0)
        self._adapters = TopicPartition(topic_name(settings, ADAPTERS), 0)
        self._consumer: Any = None
        self._announced_end = 0
        self.topic: Topic | None = None
        self.owned = {0}

    def connect(self, next_offset: int, learned_from: str) -> int:
        """Wait for Kafka and both topics, and go to the first reward not learned yet.

        Args:
            learned_from: id of the topic that the offset belongs to; empty: not known.

        Returns:
            That offset: 0 when the topic is not the one that was learned from, by its id or because it ends before.

        Raises:
            SettingError: a topic has more than one partition, in words.
            Stopped: the service stops meanwhile.
        """
        self._consumer = patiently(self._assigned, "kafka", SERVICE, self._stop)
        assert self.topic is not None
        end = self._consumer.end_offsets([self._rewards])[self._rewards]
        if learned_from and self.topic.id and learned_from != self.topic.id:
            LOG.warning("%s was deleted and made again: it is read from its start", REWARDS.name)
            next_offset = 0
        elif next_offset > end:
            LOG.warning(
                "%s ends at %d, %d was learned: a new topic, read from its start", REWARDS.name, end, next_offset
            )
            next_offset = 0
        begin = self._consumer.beginning_offsets([self._rewards])[self._rewards]
        self._consumer.seek(self._rewards, max(next_offset, begin))
        self._consumer.seek_to_beginning(self._adapters)
        self._announced_end = self._consumer.end_offsets([self._adapters])[self._adapters]
        self._consumer.pause(self._rewards)
        return next_offset

    def caught_up(self) -> bool:
        """Whether everything announced before we connected has been read."""
        return bool(self._consumer.position(self._adapters) >= self._announced_end)

    def follow_rewards(self) -> None:
        """Begin to read rewards."""
        self._consumer.resume(self._rewards)

    def poll(self, timeout_ms: int) -> tuple[list[Record], list[Pair]]:
        """What came: rewards in order, and records of `model.adapters`. A failing Kafka is counted and waited for."""
        try:
            polled = self._consumer.poll(timeout_ms=timeout_ms, max_records=MAX_RECORDS)
        except KafkaError:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            self._stop.wait(1.0)
            return [], []
        rewards = [Record.of(REWARDS, r) for r in polled.get(self._rewards, ())]
        return rewards, [(r.key, r.value) for r in polled.get(self._adapters, ())]

    def close(self) -> None:
        """Leave."""
        if self._consumer is not None:
            self._consumer.close()

    def _assigned(self) -> Any:
        # First, so that a change meanwhile is seen as one.
        self.topic, adapters = topics_now(self._settings, REWARDS, ADAPTERS)
        for name, topic in ((self._rewards.topic, self.topic), (self._adapters.topic, adapters)):
            if not topic.partitions:
                raise Unavailable(f"kafka: topic {name} does not exist yet")
            if topic.partitions != 1:
                raise SettingError(
                    f"topic {name}: has {topic.partitions} partitions, wanted 1: its order is the topic's"
                )
        try:
            # What lies before the position was removed by retention, or is of another topic: go on with what is there.
            consumer = KafkaConsumer(
                **kafka_options(self._settings), enable_auto_commit=False, auto_offset_reset="earliest"
            )
            consumer.assign([self._rewards, self._adapters])
        except KafkaError as error:
            raise Unavailable(f"kafka: {error}") from error
        return consumer
