"""A record that can never be processed, with everything needed to understand it and to send it again. Pure."""

import hashlib
from datetime import datetime
from typing import Literal

from streaming.contracts.codec import instant
from streaming.contracts.topics import DEAD_LETTERS
from streaming.effects import Publish

KEEP_WHOLE_BYTES = 64 * 1024
"""Larger originals keep a prefix of this size, the hash of the whole and their origin: a letter always fits."""
HEADER_BYTES = 2000
"""Longest header; a traceback keeps its end, where the error is."""
KEY_BYTES = 1024

Blame = Literal["sender", "us", "broker"]


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
) -> Publish:
    """The letter as an effect.

    Args:
        topic: where the record came from, without prefix.
        reason: a short word from a closed set; it becomes a metric's label.
        at_ms: the record's Kafka timestamp, so that a replay makes the same letter.
        found: what stood in the field.
        traceback: of our own bug.
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
    headers = tuple((name, _header(text)) for name, text in facts.items())
    return Publish(DEAD_LETTERS.name, key, kept, f"{topic}|{partition}|{offset}", headers)


def _header(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")[:HEADER_BYTES]


def _iso(at_ms: int) -> str:
    try:
        moment: datetime = instant(at_ms)
    except (ValueError, OverflowError, OSError):  # a producer may stamp anything; the letter says so
        return str(at_ms)
    return moment.isoformat()
