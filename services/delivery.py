"""What a command publishes: acknowledged record by record, or an error that says what was not."""

from collections.abc import Iterable

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from services.clients import command_producer
from services.settings import Common


def deliver(settings: Common, records: Iterable[tuple[str, bytes, bytes]]) -> int:
    """Publish (topic with prefix, key, value) and wait for every acknowledgement. Returns how many.

    Raises:
        LookupError: a topic does not exist.
        KafkaError: a record that is not acknowledged; those before it are.
    """
    producer = command_producer(settings)
    known: set[str] = set()
    waiting = []
    try:
        for topic, key, value in records:
            if topic not in known:
                _must_exist(producer, topic)
                known.add(topic)
            waiting.append(producer.send(topic, value=value, key=key))
        producer.flush()
    finally:
        producer.close()
    for future in waiting:
        future.get(timeout=0)  # done since the flush: only the failed ones raise
    return len(waiting)


def _must_exist(producer: KafkaProducer, topic: str) -> None:
    try:
        producer.partitions_for(topic)
    except KafkaTimeoutError:
        raise LookupError(f"topic {topic!r} is not on the broker; create it with `stratagem topics`") from None
