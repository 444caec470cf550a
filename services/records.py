"""A record as the worker and the updater consume it, whatever its topic. Pure."""

from typing import Any, Self

from msgspec import Struct

from streaming.contracts.topics import TopicSpec
from streaming.dead_letters import Origin


class Record(Struct, frozen=True):
    """A record as read. `topic` is without prefix; `timestamp_ms` is Kafka's, on the wall clock."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @classmethod
    def of(cls, topic: TopicSpec, consumed: Any) -> Self:
        """What kafka-python consumed of a topic."""
        r = consumed
        return cls(topic.name, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers or ()))

    @property
    def origin(self) -> Origin:
        """Where it came from, for its dead letter."""
        return Origin(self.topic, self.partition, self.timestamp_ms)
