"""What the core wants done, as data: messages to publish and facts to count. Pure."""

import msgspec
from msgspec import Struct

from streaming.contracts.codec import encode
from streaming.contracts.topics import TopicSpec
from streaming.contracts.tracing import Headers


class Publish(Struct, frozen=True, gc=False):
    """A message to be published through the outbox. `topic` is without prefix; `id` is derived from inputs."""

    topic: str
    key: bytes | None
    value: bytes | None
    id: str = ""
    headers: Headers = ()


class Fact(Struct, frozen=True, gc=False):
    """Something to count, e.g. `requests` with the labels of its metric; `value` is 1 where things are counted."""

    name: str
    labels: dict[str, str] = {}
    value: float = 1.0


def publish(topic: TopicSpec, key: str, message: Struct, id_: str, headers: Headers = ()) -> Publish:
    """A contract's message as an effect."""
    return Publish(topic.name, key.encode("utf-8", "surrogatepass"), encode(message), id_, headers)


MERGE = "@merge"
"""Not a topic: an outbox entry that is carried out, not published. The outbox makes it survive a crash."""


class Merge(Struct, frozen=True, array_like=True):
    """An anonymous id was said to be a user's: their rows are to become one."""

    user_id: str
    alias: str
    message_id: str
    at_ms: int


def merge_intent(user_id: str, alias: str, message_id: str, at_ms: int) -> Publish:
    """The intent as an outbox entry."""
    return Publish(MERGE, None, msgspec.json.encode(Merge(user_id, alias, message_id, at_ms)), message_id)


def merge_of(entry: Publish) -> Merge:
    """The intent of an outbox entry."""
    return msgspec.json.decode(entry.value or b"", type=Merge)
