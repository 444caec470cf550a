"""`stratagem dead-letters`: what could not be processed and why, each letter once, and which were sent again already.

A letter that was sent again is followed, in the same topic, by a marker that names it (`streaming/dead_letters.py`): two
readings of the topic, the first for the markers alone, keep memory bounded by ids, however large letters are.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from services.reading import TopicRecord, printable
from streaming.dead_letters import REPLAYED, letter_id

Read = Callable[[], Iterable[TopicRecord]]
"""Reads `dead-letters` from its beginning."""


class Letter(Struct, frozen=True, kw_only=True):
    """One dead letter: the original bytes and the reason's facts, as its headers have them.

    Args:
        id: derived from the letter's content, so that a letter published twice is one.
        written_ms: when it was written, wall clock; `at` is the original record's own time.
        sha256: of the original where a prefix of it was kept; empty where only the key was too long.
        truncated: the original was too large to be kept whole.
        attempt: 1, or more when the record had been sent again; `replay_of` is the letter before.
        replayed: sent again already.
    """

    id: str
    reason: str
    blame: str
    field: str
    value: str
    wanted: str
    topic: str
    partition: int
    offset: int
    at: str
    written_ms: int
    truncated: bool
    sha256: str
    key_sha256: str
    attempt: int
    replay_of: str
    replayed: bool
    key: bytes | None
    original: bytes | None


class Choice(Struct, frozen=True):
    """Which letters are meant; an empty word means any.

    Args:
        topic: where they came from, without prefix.
        since_ms: written since then, wall clock.
        replayed: those that were sent again too.
    """

    reason: str = ""
    topic: str = ""
    since_ms: int = 0
    replayed: bool = False


def letter(record: TopicRecord, replayed: Iterable[str] = ()) -> Letter:
    """A record of `dead-letters` as a letter; a missing header reads as empty."""

    def text(name: str) -> str:
        return (record.headers.get(name) or b"").decode("utf-8", "backslashreplace")

    origin = "|".join((text("topic"), text("partition"), text("offset")))
    identity = letter_id(origin, text("at"), record.key, record.value)
    return Letter(
        id=identity,
        reason=text("reason"),
        blame=text("blame"),
        field=text("field"),
        value=text("value"),
        wanted=text("wanted"),
        topic=text("topic"),
        partition=_number(text("partition"), -1),
        offset=_number(text("offset"), -1),
        at=text("at"),
        written_ms=record.timestamp_ms,
        truncated="sha256" in record.headers,
        sha256=text("sha256"),
        key_sha256=text("key_sha256"),
        attempt=_number(text("attempt"), 1),
        replay_of=text("replay_of"),
        replayed=identity in replayed,
        key=record.key,
        original=record.value,
    )


def chosen(read: Read, choice: Choice) -> Iterator[Letter]:
    """The letters that are meant, each once, in the order of the topic's partitions."""
    replayed = {(record.headers.get("letter") or b"").decode() for record in read() if is_marker(record)}
    told: set[str] = set()
    for record in read():
        if is_marker(record):
            continue
        found = letter(record, replayed)
        if found.id not in told and _is_meant(found, choice):
            told.add(found.id)
            yield found


def is_marker(record: TopicRecord) -> bool:
    """Whether a record is no letter, but says that one was sent again."""
    return record.headers.get("reason") == REPLAYED.encode()


def line(found: Letter) -> str:
    """A letter in one line for a terminal: when it was written, where the record stood, why."""
    said = f"{found.field}: got {found.value}, wanted {found.wanted}" if found.field else found.wanted
    again = f" [failure {found.attempt}, after {found.replay_of}]" if found.replay_of else ""
    sent = " [sent again]" if found.replayed else ""
    return printable(f"{_iso(found.written_ms)} {where(found)} {found.reason} ({found.blame}) {said}{again}{sent}")


def where(found: Letter) -> str:
    """Where the record stood."""
    if not found.topic:
        return "(no record)"
    return f"{found.topic}[{found.partition}]@{found.offset}"


def as_json(found: Letter) -> str:
    """A letter as one JSON object: everything but the original's bytes."""
    told = msgspec.structs.asdict(found)
    original, key, written_ms = told.pop("original"), told.pop("key"), told.pop("written_ms")
    told["written_at"] = _iso(written_ms)
    told["key"] = None if key is None else key.decode("utf-8", "backslashreplace")
    told["kept_bytes"] = len(original or b"")
    return msgspec.json.encode(told).decode()


def _is_meant(found: Letter, choice: Choice) -> bool:
    return (
        choice.reason in ("", found.reason)
        and choice.topic in ("", found.topic)
        and found.written_ms >= choice.since_ms
        and (choice.replayed or not found.replayed)
    )


def _number(text: str, default: int) -> int:
    """A header's number; anybody may write to the topic."""
    return int(text) if text.removeprefix("-").isascii() and text.removeprefix("-").isdigit() else default


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
