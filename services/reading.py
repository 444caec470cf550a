"""Reading topics back for people: whole topics, live tails, and text that cannot harm a terminal."""

import time
import unicodedata
from collections.abc import Callable, Iterator

from kafka import KafkaConsumer

from services.clients import topic_name, whole_topic_consumer
from services.settings import Common
from streaming.contracts.topics import TopicSpec


class TopicRecord:
    """One record as read: key, value, headers and where it stood."""

    def __init__(self, raw: object) -> None:
        """Take over the client's record."""
        self.key: bytes | None = raw.key  # type: ignore[attr-defined]  # kafka-python is untyped
        self.value: bytes | None = raw.value  # type: ignore[attr-defined]
        self.headers: dict[str, bytes] = dict(raw.headers or ())  # type: ignore[attr-defined]
        self.topic: str = raw.topic  # type: ignore[attr-defined]
        self.partition: int = raw.partition  # type: ignore[attr-defined]
        self.offset: int = raw.offset  # type: ignore[attr-defined]
        self.timestamp_ms: int = raw.timestamp  # type: ignore[attr-defined]


def read_all(settings: Common, topic: TopicSpec) -> Iterator[TopicRecord]:
    """Every record of a topic up to the end offsets asked at the start.

    Raises:
        LookupError: the topic does not exist.
    """
    consumer = _consumer(settings, topic)
    try:
        ends = consumer.end_offsets(list(consumer.assignment()))
        while any(consumer.position(tp) < end for tp, end in ends.items()):
            for tp, records in consumer.poll(timeout_ms=500).items():
                yield from (TopicRecord(record) for record in records if record.offset < ends[tp])
    finally:
        consumer.close()


def follow(
    settings: Common, topic: TopicSpec, *, from_beginning: bool, stop: Callable[[], bool] = lambda: False
) -> Iterator[TopicRecord]:
    """Records as they come, from now on or from the beginning, until `stop()`.

    Raises:
        LookupError: the topic does not exist.
    """
    consumer = _consumer(settings, topic)
    try:
        if not from_beginning:
            consumer.seek_to_end(*consumer.assignment())
        while not stop():
            for records in consumer.poll(timeout_ms=300).values():
                yield from map(TopicRecord, records)
            time.sleep(0)
    finally:
        consumer.close()


def _consumer(settings: Common, topic: TopicSpec) -> KafkaConsumer:
    consumer: KafkaConsumer = whole_topic_consumer(settings, topic)
    if not consumer.assignment():
        consumer.close()
        name = topic_name(settings, topic)
        raise LookupError(f"topic {name!r} is not on the broker; create it with `stratagem topics`")
    return consumer


def printable(text: str, limit: int = 400) -> str:
    """Text from products and customers, safe for a terminal: no control or direction characters, bounded."""
    clean = "".join(
        c if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co"} else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return clean if len(clean) <= limit else clean[:limit] + "..."
