"""Raw records of one batch → items: who is meant, what was said, or why it cannot be processed. Pure."""

from collections.abc import Iterable
from typing import Literal, Protocol

from msgspec import Struct

from streaming.clock import CLOCK_EVENT, ClockRules, advanced, reader_clock_ms
from streaming.contracts.carrying import as_said
from streaming.contracts.codec import Ignored, decode, decode_event, to_ms
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Event
from streaming.contracts.partition import murmur2
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import STRATEGIES
from streaming.dead_letters import Origin, Original, refused
from streaming.effects import Publish

Fate = Literal["folded", "duplicate", "ignored", "dead_lettered", "clock"]
FATES: tuple[Fate, ...] = ("folded", "duplicate", "ignored", "dead_lettered", "clock")
Message = Event | Strategy
MAX_CLOCK_STEP_MS = 400 * 24 * 3600 * 1000
"""How far the shop's clock may jump at once in replay, e.g. over the horizons at its end; events may not."""


class Incoming(Original, Protocol):
    """The parts of a consumed record that are read."""

    @property
    def timestamp(self) -> int:
        """Kafka's, milliseconds."""
        ...


class Layout(Struct, frozen=True):
    """How records are spread: buckets of customers, partitions of the inputs, and the clock."""

    buckets: int
    partitions: int
    clock: ClockRules


class Item(Struct, gc=False):
    """One record, read.

    Args:
        fate: already known for a record without a customer, else None until it is folded.
        watermark_ms: of its own partition just before it; late is judged by it.
        user_id: empty without a customer.
        bucket: of the customer, -1 without one.
        letter: of a record that cannot be processed.
        mispartitioned: its key does not belong into its partition: another partitioner was used.
    """

    offset: int
    timestamp_ms: int
    watermark_ms: int | None
    fate: Fate | None = None
    message: Message | None = None
    user_id: str = ""
    bucket: int = -1
    letter: Publish | None = None
    reason: str = ""
    mispartitioned: bool = False


def mispartitioned_ms(items: Iterable[Item]) -> int | None:
    """When, event time, the last of the records was read that lie in partitions not theirs; None for no such record."""
    return max((_read_ms(item) for item in items if item.mispartitioned), default=None)


def _read_ms(item: Item) -> int:
    """The partition's time where it has one: what is late was read late."""
    message = item.message
    said_ms = message.at_ms if isinstance(message, Event) else to_ms(message.issued_at) if message else 0
    return max(said_ms, item.watermark_ms or 0)


class Reader:
    """Reads the records of one partition in order, and moves its watermark."""

    def __init__(self, topic: str, partition: int, layout: Layout, watermark_ms: int | None, wall_ms: int) -> None:
        """Begin at a stored watermark; `topic` is without prefix."""
        self.topic = topic
        self._strategies = topic == STRATEGIES.name
        self.partition = partition
        self.watermark_ms = watermark_ms
        self._layout = layout
        self._wall_ms = wall_ms

    def read(self, records: Iterable[Incoming]) -> list[Item]:
        """All records of a batch."""
        return [self._item(record) for record in records]

    def _item(self, record: Incoming) -> Item:
        watermark_ms = self.watermark_ms
        try:
            message = self._decoded(record)
            if isinstance(message, Event):
                if message.name == CLOCK_EVENT:
                    self.watermark_ms = advanced(self._layout.clock, watermark_ms, message)
                    return Item(record.offset, record.timestamp, watermark_ms, "clock")
            elif isinstance(message, Ignored):
                return Item(record.offset, record.timestamp, watermark_ms, "ignored", reason=message.reason)
            hashed = murmur2(_key(record, message.user_id))
        except BadEvent as error:
            return self._refused(record, watermark_ms, error)
        if isinstance(message, Event):
            self.watermark_ms = advanced(self._layout.clock, watermark_ms, message)
        astray = hashed % self._layout.partitions != self.partition
        bucket = hashed % self._layout.buckets
        return Item(
            record.offset, record.timestamp, watermark_ms, None, message, message.user_id, bucket, None, "", astray
        )

    def _refused(self, record: Incoming, watermark_ms: int | None, error: BadEvent) -> Item:
        reason = _reason(error)
        letter = refused(record, Origin(self.topic, self.partition, record.timestamp), reason, error)
        return Item(record.offset, record.timestamp, watermark_ms, "dead_lettered", letter=letter, reason=reason)

    def _decoded(self, record: Incoming) -> Message | Ignored:
        if self._strategies:
            return as_said(decode(record.value, Strategy), record.value) if record.value else Ignored("empty")
        now_ms = reader_clock_ms(self._layout.clock, self.watermark_ms, record.timestamp, self._wall_ms)
        try:
            return decode_event(record.value, now_ms)
        except BadEvent as error:
            if error.field != "timestamp" or self._layout.clock.mode != "replay":
                raise
            later = decode_event(record.value, now_ms + MAX_CLOCK_STEP_MS)
            if isinstance(later, Event) and later.name == CLOCK_EVENT:
                return later
            raise


def _key(record: Incoming, user_id: str) -> bytes:
    """The record's key, which must be the user id of its value."""
    raw = user_id.encode("utf-8", "surrogatepass")
    if record.key != raw:
        found = None if record.key is None else record.key[:200].decode("utf-8", "backslashreplace")
        raise BadEvent("key", found, f"the user id of the value, {user_id[:100]!r}")
    return raw


def _reason(error: BadEvent) -> str:
    """A closed set of words: they become a metric's label."""
    if error.field == "$":
        return "undecodable"
    if error.field in ("key", "timestamp"):
        return f"bad_{error.field}"
    return "bad_field"
