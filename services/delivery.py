"""What a command publishes: acknowledged record by record, or an error that says what was not."""

from collections.abc import Iterable, Sequence
from typing import Self

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from services.clients import admin, command_producer
from services.settings import Common
from streaming.effects import Publish


def deliver(settings: Common, records: Iterable[tuple[str, bytes, bytes]]) -> int:
    """Publish (topic with prefix, key, value) and wait for every acknowledgement. Returns how many.

    Raises:
        LookupError: a topic does not exist.
        KafkaError: a record that is not acknowledged; those before it are.
    """
    with Delivery(settings) as delivery:
        return delivery.send([(topic, Publish(topic, key, value, "")) for topic, key, value in records])


class Delivery:
    """One producer for several rounds; each round waits for its acknowledgements."""

    def __init__(self, settings: Common) -> None:
        """Connect."""
        self._settings = settings
        self._producer: KafkaProducer = command_producer(settings)
        self._known: set[str] = set()

    def effects(self, effects: Iterable[Publish]) -> int:
        """Publish effects, whose topics are without prefix; as `send`."""
        return self.send([(self._settings.topic_prefix + effect.topic, effect) for effect in effects])

    def send(self, named: Sequence[tuple[str, Publish]]) -> int:
        """Publish under these names and wait for every acknowledgement. Returns how many.

        Raises:
            LookupError: a topic does not exist.
            KafkaError: a record that is not acknowledged; those before it are.
        """
        waiting = []
        for topic, effect in named:
            self._must_exist(topic)
            headers = list(effect.headers)
            waiting.append(self._producer.send(topic, value=effect.value, key=effect.key, headers=headers))
        self._producer.flush()
        for future in waiting:
            future.get(timeout=0)  # done since the flush: only the failed ones raise
        return len(waiting)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of Kafka."""
        self._producer.close()

    def _must_exist(self, topic: str) -> None:
        if topic in self._known:
            return
        try:
            self._producer.partitions_for(topic)
        except KafkaTimeoutError:  # so it says of a missing topic, of a slow broker and of none
            if topic not in self._topics():
                raise LookupError(f"topic {topic!r} is not on the broker; create it with `stratagem topics`") from None
        self._known.add(topic)

    def _topics(self) -> set[str]:
        """Names of all topics, by the broker itself.

        Raises:
            KafkaError: it does not answer.
        """
        client = admin(self._settings)
        try:
            return set(client.list_topics())
        finally:
            client.close()
