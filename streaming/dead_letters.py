"""A record that can never be processed, with everything needed to understand it and to send it again. Pure."""

import hashlib
import traceback as tracebacks
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streaming.contracts.codec import instant
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import derive
from streaming.contracts.topics import DEAD_LETTERS
from streaming.effects import Publish

KEEP_WHOLE_BYTES = 64 * 1024
"""Larger originals keep a prefix of this size, the hash of the whole and their origin: a letter always fits."""
HEADER_BYTES = 2000
"""Longest header; a traceback keeps its end, where the error is."""
KEY_BYTES = 1024
LETTER_HEADER = "stratagem-letter"
"""On a record that was sent again: the id of its letter, so that a letter about it says which one came before."""
ATTEMPT_HEADER = "stratagem-attempt"
"""Beside it: how often the record had failed by then."""
BUG = "bug"
"""Reason of a letter about what our own code could not do."""
REPLAYED = "replayed"
"""Reason of the marker that a letter was sent again, which stands in the same topic and names the letter."""

Blame = Literal["sender", "us", "broker"]
Headers = Iterable[tuple[str, bytes | None]]


def dead_letter(
    *,
    topic: str,
    partition: int,
    offset: int,
    key: bytes | None,
    value: bytes | None,
    reason: str,
    at_ms: int,
    field: str = "$",
    found: str = "",
    wanted: str = "",
    blame: Blame = "sender",
    traceback: str = "",
    headers: Headers = (),
) -> Publish:
    """The letter as an effect.

    Args:
        topic: where the record came from, without prefix.
        reason: a short word from a closed set; it becomes a metric's label.
        at_ms: the record's Kafka timestamp, so that a replay makes the same letter.
        found: what stood in the field.
        traceback: of our own bug.
        headers: of the record; those of a record that was sent again make its letter say so.
    """
    facts = {
        "reason": reason,
        "blame": blame,
        "field": field,
        "value": found,
        "wanted": wanted,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
        "at": _iso(at_ms),
        **_before(headers),
    }
    if traceback:
        facts["traceback"] = traceback[-HEADER_BYTES:]
    kept = value
    if value is not None and len(value) > KEEP_WHOLE_BYTES:
        kept = value[:KEEP_WHOLE_BYTES]
        facts |= {"sha256": hashlib.sha256(value).hexdigest(), "original_bytes": str(len(value))}
    if key is not None and len(key) > KEY_BYTES:
        facts |= {"key_sha256": hashlib.sha256(key).hexdigest(), "sha256": facts.get("sha256", "")}
        key = key[:KEY_BYTES]
    told = tuple((name, _header(text)) for name, text in facts.items())
    return Publish(DEAD_LETTERS.name, key, kept, f"{topic}|{partition}|{offset}", told)


class Original(Protocol):
    """A record as it was consumed, by any client."""

    @property
    def offset(self) -> int:
        """In its partition."""
        ...

    @property
    def key(self) -> bytes | None:
        """As it came."""
        ...

    @property
    def value(self) -> bytes | None:
        """As it came."""
        ...

    @property
    def headers(self) -> Headers:
        """Kafka's headers."""
        ...


class Origin(NamedTuple):
    """Where a record came from (topic without prefix), and its Kafka timestamp."""

    topic: str
    partition: int
    at_ms: int


def refused(record: Original, origin: Origin, reason: str, error: BadEvent) -> Publish:
    """The letter about a record that can never be processed."""
    return _of_record(record, origin, reason=reason, field=error.field, found=error.value, wanted=error.wanted)


def tripped(record: Original, origin: Origin, error: BaseException, wanted: str) -> Publish:
    """The letter about a record over which our own code fell, twice.

    Args:
        wanted: the code that could have handled it.
    """
    said = "".join(tracebacks.format_exception(error))
    found = f"{type(error).__name__}: {error}"
    return _of_record(record, origin, reason=BUG, found=found, wanted=wanted, blame="us", traceback=said)


def _of_record(record: Original, origin: Origin, **said: Any) -> Publish:
    return dead_letter(
        topic=origin.topic,
        partition=origin.partition,
        offset=record.offset,
        at_ms=origin.at_ms,
        key=record.key,
        value=record.value,
        headers=record.headers,
        **said,
    )


def _before(headers: Headers) -> dict[str, str]:
    """What a letter says of the one before it; anybody may write headers, so nothing is believed of them but its form."""
    found = dict(headers)
    letter = found.get(LETTER_HEADER)
    if not letter:
        return {}
    attempt = (found.get(ATTEMPT_HEADER) or b"")[:4]
    return {
        "replay_of": letter[:KEY_BYTES].decode("utf-8", "backslashreplace"),
        "attempt": str(int(attempt) + 1 if attempt.isdigit() else 2),
    }


def letter_id(origin: str, at: str, key: bytes | None, kept: bytes | None) -> str:
    """The same for a letter that was published twice, another for every other record.

    Args:
        origin: topic, partition and offset; they repeat where a topic was made anew, and are void without a record.
        kept: the letter's value.
    """
    return derive("let", origin, at, *(hashlib.sha256(part or b"").hexdigest() for part in (key, kept)))


def replay_marker(letter: str, key: bytes | None, origin: Mapping[str, str]) -> Publish:
    """Says that a letter was sent again: an empty value, the letter's key, its id in the header `letter`.

    Args:
        origin: the letter's `topic`, `partition`, `offset` and `at`.
    """
    about = {"reason": REPLAYED, "blame": "us", "field": "", "value": "", "wanted": "", **origin, "letter": letter}
    return Publish(
        DEAD_LETTERS.name, key, b"", f"{REPLAYED}|{letter}", tuple((n, _header(t)) for n, t in about.items())
    )


class Deed(Struct, frozen=True):
    """Something done to a customer that no record asked for.

    Args:
        name: a trigger, or another word of a closed set.
        cause: what makes it this one and no other: a due time, a product and its price, a campaign and its start.
        at_ms: event time.
    """

    name: str
    cause: str
    at_ms: int


def bug_letter(user_id: str, deed: Deed, error: Exception) -> Publish:
    """Our own bug in a deed: which, with whom, and the traceback."""
    return without_record(
        user_id=user_id,
        about={"userId": user_id, "deed": deed.name, "cause": deed.cause, "at": _iso(deed.at_ms)},
        reason=BUG,
        at_ms=deed.at_ms,
        field=deed.name,
        found=repr(error)[:200],
        wanted="code that can do this to this customer",
        blame="us",
        traceback="".join(tracebacks.format_exception(error)),
    )


def without_record(
    *, user_id: str, about: Mapping[str, object], reason: str, at_ms: int, field: str, found: str, wanted: str,
    blame: Blame = "sender", traceback: str = "",
) -> Publish:  # fmt: skip
    """A letter about what is no record, or whose record is gone by now: it can be understood, and not be sent again.

    Its value is a small JSON object; `topic` is empty, `partition` and `offset` are -1.

    Args:
        about: what the value says; with what happened and the customer it makes the letter's id.
        at_ms: event time of what the letter is about, so that a replay makes the same letter.
    """
    value = msgspec.json.encode(about, order="deterministic")
    key = user_id.encode("utf-8", "surrogatepass")
    letter = dead_letter(
        topic="", partition=-1, offset=-1, key=key, value=value, reason=reason, at_ms=at_ms,
        field=field, found=found, wanted=wanted, blame=blame, traceback=traceback,
    )  # fmt: skip
    return replace(letter, id=f"{reason}|{user_id}|{hashlib.sha256(value).hexdigest()[:16]}")


def _header(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")[:HEADER_BYTES]


def _iso(at_ms: int) -> str:
    try:
        moment: datetime = instant(at_ms)
    except (ValueError, OverflowError, OSError):  # a producer may stamp anything; the letter says so
        return str(at_ms)
    return moment.isoformat()
