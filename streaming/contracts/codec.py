"""Bytes → typed messages, naming field, value and what was wanted; typed messages → canonical bytes."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct, field

from streaming.contracts.errors import BadEvent, BadPart
from streaming.contracts.events import EVENTS, MONEY_FIELDS, Context, Event, Id, Line, OrderProperties, Properties
from streaming.contracts.money import to_minor

T = TypeVar("T")

MAX_AHEAD_MS = 24 * 3600 * 1000
"""An event further than this ahead of the reader's clock is absurd, not early."""
EARLIEST_MS = 946_684_800_000
"""2000-01-01: an older event is a unit error (seconds for milliseconds), not a late one."""


class _Envelope(Struct, frozen=True, gc=False, rename="camel"):
    message_id: Id
    type: Literal["track", "identify"]
    timestamp: datetime
    event: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    user_id: Id | None = None
    anonymous_id: Id | None = None
    properties: Raw = Raw(b"{}")
    context: Context = field(default_factory=Context)


class _Kind(NamedTuple):
    """How the properties of an event are read: amounts with their paths, and whether there are lines that have some."""

    decoder: "msgspec.json.Decoder[Properties]"
    money: tuple[tuple[str, str], ...]
    lines: bool


def _kind(properties: type[Properties]) -> _Kind:
    fields = properties.__struct_fields__
    money = tuple((name, f"properties.{name}") for name in MONEY_FIELDS if name in fields)
    return _Kind(msgspec.json.Decoder(properties), money, "products" in fields)


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_KINDS = {name: _kind(properties) for name, properties in EVENTS.items()}
_DECODERS: dict[object, msgspec.json.Decoder[object]] = {}


class Ignored(Struct, frozen=True):
    """A record that is counted and passed over: an unknown event name, a tombstone, an empty value."""

    reason: Literal["unknown_event", "empty"]
    name: str = ""


def decode_event(value: bytes | None, now_ms: int) -> Event | Ignored:
    """A record of `shop.events` or `ads.events`.

    Args:
        value: the record's value, as read.
        now_ms: the reader's clock (the watermark in replay, the wall live), milliseconds.

    Raises:
        BadEvent: with field, value and what was wanted.
    """
    if not value:
        return Ignored("empty")
    try:
        envelope = _ENVELOPE.decode(value)
    except UNREADABLE as error:
        raise _explained(error, value, "$") from None
    name = "identify" if envelope.type == "identify" else envelope.event
    if name is None:
        raise BadEvent("event", None, "the event's name")
    kind = _KINDS.get(name)
    if kind is None:
        return Ignored("unknown_event", name)
    anonymous = envelope.anonymous_id
    user_id = envelope.user_id or anonymous
    if user_id is None:
        raise BadEvent("userId", None, "userId or anonymousId")
    try:
        properties = kind.decoder.decode(envelope.properties)
    except UNREADABLE as error:
        raise _explained(error, bytes(envelope.properties), "properties") from None
    if kind.money or kind.lines:
        _check_money(properties, kind)
    at_ms = _checked_time(envelope.timestamp, now_ms)
    if anonymous == user_id:
        anonymous = None
    return Event(envelope.message_id, name, user_id, anonymous, at_ms, properties, envelope.context)


def decode(value: bytes, kind: type[T]) -> T:
    """A record of any other topic, as the given contract.

    Raises:
        BadEvent: with field, value and what was wanted.
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(value)  # type: ignore[return-value]  # the decoder was made for `kind`
    except UNREADABLE as error:
        raise _explained(error, value, "$") from None


def encode(message: object) -> bytes:
    """Canonical JSON bytes: declaration order, no spaces, UTF-8."""
    return msgspec.json.encode(message)


def instant(at_ms: int) -> datetime:
    """Milliseconds since the epoch as a UTC datetime."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def to_ms(moment: datetime) -> int:
    """A datetime as milliseconds since the epoch; a naive one is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _checked_time(moment: datetime, now_ms: int) -> int:
    if moment.tzinfo is None:
        raise BadEvent("timestamp", moment.isoformat(), "ISO 8601 with a time zone, e.g. 2026-01-31T12:00:00Z")
    at_ms = round(moment.timestamp() * 1000)
    if at_ms > now_ms + MAX_AHEAD_MS:
        raise BadEvent("timestamp", moment.isoformat(), "a time at most one day ahead of the stream")
    if at_ms < EARLIEST_MS:
        raise BadEvent("timestamp", moment.isoformat(), "a time after 2000-01-01")
    return at_ms


def check_money(properties: Properties, name: str) -> None:
    """Check the amounts in the properties of an event of this name.

    Raises:
        BadEvent: with field, value and what was wanted.
    """
    kind = _KINDS[name]
    if kind.money or kind.lines:
        _check_money(properties, kind)


def _check_money(properties: Properties, kind: _Kind) -> None:
    currency = getattr(properties, "currency", None)
    for name, path in kind.money:
        amount = getattr(properties, name)
        if amount is not None:
            if currency is None:
                raise BadEvent("properties.currency", None, "an ISO 4217 code wherever there is money")
            to_minor(amount, currency, path)
    if kind.lines:
        priced = isinstance(properties, OrderProperties)
        _check_lines(properties.products, currency or "USD", priced=priced)  # type: ignore[union-attr]  # `lines` says so


def _check_lines(lines: tuple[Line, ...], currency: str, *, priced: bool) -> None:
    for index, line in enumerate(lines):
        if line.price is not None:
            to_minor(line.price, currency, f"properties.products[{index}].price")
        elif priced:
            raise BadEvent(
                f"properties.products[{index}].price", None, "the price of one unit in every line of an order"
            )
        if line.discount is not None:
            to_minor(line.discount, currency, f"properties.products[{index}].discount")


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are no JSON, or (`ValidationError`) not the JSON that was wanted."""
_AT = re.compile(r"^(?P<wanted>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def _explained(error: Exception, value: bytes, root: str) -> BadEvent:
    """What was wrong with bytes that could not be decoded: the sender's to put right."""
    if not isinstance(error, msgspec.ValidationError):
        return BadEvent(root, value[:200].decode("utf-8", "backslashreplace"), f"JSON in UTF-8 ({error})")
    match = _AT.match(str(error))
    wanted, path = (match["wanted"], match["path"] or "$") if match else (str(error), "$")
    missing = re.search(r"missing required field `([^`]+)`", wanted)
    where = path.removeprefix("$").removeprefix(".")
    if isinstance(error.__cause__, BadPart):
        part = error.__cause__
        return BadEvent(".".join(filter(None, (where, part.field))), part.value, part.wanted)
    if missing:
        where = f"{where}.{missing[1]}" if where else missing[1]
    name = where if root == "$" else f"{root}.{where}" if where else root
    found = "nothing" if missing else _value_at(value, path)
    return BadEvent(name or "$", found, wanted)


def _value_at(value: bytes, path: str) -> object:
    """The offending value, read again generically; only on the error path."""
    try:
        at: object = json.loads(value)
    except (ValueError, RecursionError):
        return value[:200].decode("utf-8", "backslashreplace")
    for key, index in _STEP.findall(path.removeprefix("$")):
        if key and isinstance(at, dict):
            at = at.get(key)
        elif index and isinstance(at, list) and int(index) < len(at):
            at = at[int(index)]
    return at
