"""Reads `strategies` while a trial stands: how answers were given, long before anything is known of what they brought."""

import logging
import threading
from datetime import datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from msgspec import Struct

from model.trial import Item
from services import metrics
from services.clients import topic_name, whole_topic_consumer
from services.settings import UpdaterSettings
from services.updater_announcing import SERVICE
from streaming.contracts.codec import decode, to_ms
from streaming.contracts.errors import BadEvent
from streaming.contracts.kinds import Arm
from streaming.contracts.strategies import Message
from streaming.contracts.topics import STRATEGIES

LOG = logging.getLogger(__name__)
MAX_RECORDS = 500
"""Strategies read between two turns."""
MODEL_ARMS = ("fused", "lm")
"""Arms whose customers an adapter decides for; the others are in no trial."""


class _Policy(Struct, frozen=True):
    adapter: str
    assigned_arm: Arm
    late: bool = False


class _Request(Struct, frozen=True):
    mixed_arms: bool = False


class _Answer(Struct, frozen=True):
    """Of a strategy, what a trial wants to know; the rest is not even decoded."""

    strategy_id: str
    user_id: str
    issued_at: datetime
    policy: _Policy
    request: _Request
    message: Message


def answer_of(value: bytes) -> Item | None:
    """The item of a trial's answers, (fallback, late), each 0 or 1; None when the customer is evidence for no adapter.

    A fallback is a plain template in place of a text that failed its checks; late answers have templates anyway.

    Raises:
        BadEvent: no strategy.
    """
    answer = decode(value, _Answer)
    if answer.policy.assigned_arm not in MODEL_ARMS or answer.request.mixed_arms:
        return None
    late = answer.policy.late
    fallback = not late and answer.message.source == "template"
    values = (float(fallback), float(late))
    return Item(to_ms(answer.issued_at), answer.strategy_id, answer.user_id, answer.policy.adapter, values)


class StrategyReader:
    """One consumer outside any group, while it is wanted."""

    def __init__(self, settings: UpdaterSettings, stop: threading.Event) -> None:
        """Connect when first wanted."""
        self._settings, self._stop = settings, stop
        self._consumer: KafkaConsumer | None = None

    def poll(self, offsets: dict[int, int]) -> list[Item]:
        """What came, and where it was read to, by partition, in `offsets`.

        Partitions that have no offset yet are read from their end: nothing before it is of a trial that begins. A failing
        Kafka is counted, and asked again with the next turn.
        """
        try:
            if self._consumer is None:
                self._consumer = self._connected(offsets)
            if not self._consumer.assignment():  # no such topic yet: ask again
                self.close()
                return []
            polled: dict[Any, Any] = self._consumer.poll(timeout_ms=0, max_records=MAX_RECORDS)
        except KafkaError as error:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.warning("%s cannot be read now: %s", STRATEGIES.name, error)
            self.close()
            self._stop.wait(1.0)
            return []
        found = []
        for partition, records in polled.items():
            for record in records:
                offsets[partition.partition] = record.offset + 1
                if (item := self._item(record.value)) is not None:
                    found.append(item)
        return found

    def close(self) -> None:
        """Let go of Kafka; the next `poll` connects again."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _connected(self, offsets: dict[int, int]) -> KafkaConsumer:
        """At the offsets; where retention has overtaken one, at what is left."""
        consumer = whole_topic_consumer(self._settings, STRATEGIES, auto_offset_reset="earliest")
        places = sorted(consumer.assignment())
        for place, end in consumer.end_offsets(places).items() if places else ():
            offsets.setdefault(place.partition, end)
            consumer.seek(
                TopicPartition(topic_name(self._settings, STRATEGIES), place.partition), offsets[place.partition]
            )
        return consumer

    @staticmethod
    def _item(value: bytes | None) -> Item | None:
        try:
            return answer_of(value) if value else None
        except BadEvent as error:  # the agents, who read every strategy, dead-letter it
            LOG.warning("a record of %s is passed over: %s", STRATEGIES.name, error)
            return None
