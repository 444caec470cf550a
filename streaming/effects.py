"""What the core wants done, as data: messages to publish and facts to count. Pure."""

from msgspec import Struct

from streaming.contracts.codec import encode
from streaming.contracts.topics import TopicSpec


class Publish(Struct, frozen=True):
    """A message to be published through the outbox. `topic` is without prefix; `id` is derived from inputs."""

    topic: str
    key: bytes | None
    value: bytes | None
    id: str = ""
    headers: tuple[tuple[str, bytes], ...] = ()


class Fact(Struct, frozen=True):
    """Something to count, e.g. `requests` with the labels of its metric; `value` is 1 where things are counted."""

    name: str
    labels: dict[str, str] = {}
    value: float = 1.0


def publish(topic: TopicSpec, key: str, message: Struct, id_: str) -> Publish:
    """A contract's message as an effect."""
    return Publish(topic.name, key.encode("utf-8", "surrogatepass"), encode(message), id_)
