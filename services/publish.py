"""`stratagem publish`: JSON lines to the topics they belong to, each validated by the product's own contract."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from services.settings import Common
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import UNREADABLE, Ignored, decode, decode_event, instant
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import ADS_EVENTS
from streaming.contracts.events import SHOP_EVENTS as SHOP_NAMES
from streaming.contracts.fitting import fitting
from streaming.contracts.topics import ADS_EVENTS as ADS_TOPIC
from streaming.contracts.topics import CAMPAIGNS, CATALOG, SHOP_EVENTS, TopicSpec

_ADS_ALONE = frozenset(ADS_EVENTS) - frozenset(SHOP_NAMES)


class Record(msgspec.Struct, frozen=True, gc=False):
    """A line ready to be published."""

    topic: TopicSpec
    key: bytes
    value: bytes
    message_id: str = ""
    """Of an event: what it is deduplicated by, with its key."""
    note: str = ""
    """What the agents would say of it although it is valid, e.g. an event name they ignore."""


class _Stamped(msgspec.Struct):
    """The part of an event that `shifted_to` moves."""

    timestamp: datetime
    type: str


class _Ids(msgspec.Struct, rename="camel"):
    """The part of an event of unknown name that is used."""

    message_id: str
    user_id: str | None = None
    anonymous_id: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What became of one line. Exactly one of `record` and `refusal` is set."""

    line: int
    record: Record | None
    refusal: str | None


def classify(line: bytes, now_ms: int) -> Record:
    """Which topic a line belongs to, and its key.

    An object with `type` is an event; one with `product_id` a product; one with `campaign_id` a campaign.

    Raises:
        BadEvent: naming field, value and what was wanted.
    """
    try:
        shape = msgspec.json.decode(line)
    except UNREADABLE as error:
        raise BadEvent("$", line[:200].decode("utf-8", "backslashreplace"), f"a JSON object ({error})") from None
    if not isinstance(shape, dict):
        raise BadEvent("$", shape, "a JSON object")
    if "type" in shape:
        return event_record(line, now_ms)
    if "product_id" in shape:
        return Record(CATALOG, decode(line, Product).product_id.encode(), line)
    if "campaign_id" in shape:
        return Record(CAMPAIGNS, decode(line, Campaign).campaign_id.encode(), line)
    raise BadEvent("$", sorted(shape), "an event (`type`), a product (`product_id`) or a campaign (`campaign_id`)")


def verdicts(lines: Iterable[bytes], now_ms: int) -> Iterator[Verdict]:
    """Judge every non-empty line, numbered from 1."""
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text:
            continue
        try:
            yield Verdict(number, classify(text, now_ms), None)
        except BadEvent as bad:
            yield Verdict(number, None, str(bad))


def shifted_to(lines: Iterable[bytes], now_ms: int) -> list[bytes]:
    """The lines with every event's timestamp moved by one span, so that the newest event happens at `now_ms`.

    Lines that are not events, or whose timestamp cannot be read, stay as they are and are judged as they are.
    """
    kept = list(lines)
    moments = {index: at for index, line in enumerate(kept) if (at := _timestamp(line)) is not None}
    if not moments:
        return kept
    span = instant(now_ms) - max(moments.values())
    for index, at in moments.items():
        shape = msgspec.json.decode(kept[index])
        kept[index] = msgspec.json.encode({**shape, "timestamp": at + span})
    return kept


def _timestamp(line: bytes) -> datetime | None:
    try:
        return msgspec.json.decode(line, type=_Stamped).timestamp.astimezone(UTC)
    except UNREADABLE:
        return None  # judged, and refused if it must be, by `classify`


def addressed(records: Iterable[Record], settings: Common) -> Iterator[tuple[str, bytes, bytes]]:
    """Topic with prefix, key and value of each."""
    return ((settings.topic_prefix + record.topic.name, record.key, record.value) for record in records)


def wall_ms() -> int:
    """The wall clock, for the commands that publish now."""
    return int(time.time() * 1000)


def event_record(line: bytes, now_ms: int) -> Record:
    """An event, by the contract of its topic, with its key.

    Raises:
        BadEvent: naming field, value and what was wanted.
    """
    event = decode_event(line, now_ms)
    if isinstance(event, Ignored):
        if event.reason == "empty":  # in a topic it is passed over; a publisher did not mean it
            raise BadEvent("$", "", "an event as JSON in UTF-8")
        return _ignored(line, event.name)
    topic = ADS_TOPIC if event.name in _ADS_ALONE else SHOP_EVENTS
    return Record(topic, event.user_id.encode(), line, event.message_id)


def fitting_record(line: bytes, until: datetime) -> Record | None:
    """As `event_record` of an event that plainly fits the contract; None where the contract has to say.

    Args:
        until: `fitting.latest`.
    """
    found = fitting(line, until)
    if found is None:
        return None
    return Record(ADS_TOPIC if found.ads else SHOP_EVENTS, found.user_id.encode(), line, found.message_id)


def _ignored(line: bytes, name: str) -> Record:
    known = ", ".join(sorted({*SHOP_NAMES, *ADS_EVENTS}))
    ids = msgspec.json.decode(line, type=_Ids)
    note = f"ignored: the event {name!r} is unknown; known are {known}"
    return Record(SHOP_EVENTS, (ids.user_id or ids.anonymous_id or "").encode(), line, ids.message_id, note)
