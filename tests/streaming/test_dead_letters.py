"""A dead letter says everything and always fits."""

import hashlib
from typing import Any

from streaming.dead_letters import KEEP_WHOLE_BYTES, dead_letter
from streaming.effects import Publish


def letter(value: bytes | None, key: bytes | None = b"u", **facts: Any) -> Publish:
    """A letter of the record at shop.events[1]@7."""
    return dead_letter(
        topic="shop.events", partition=1, offset=7, key=key, value=value, reason="bad_field", at_ms=1_000, **facts
    )


def test_the_original_bytes_and_the_reason_are_kept() -> None:
    """Value and key as received; reason, field, value, wanted, origin and time in headers."""
    made = letter(b'{"price": -1}', field="properties.price", found="-1", wanted=">= 0")
    headers = dict(made.headers)
    assert (made.topic, made.key, made.value) == ("dead-letters", b"u", b'{"price": -1}')
    assert headers["reason"] == b"bad_field"
    assert (headers["field"], headers["value"], headers["wanted"]) == (b"properties.price", b"-1", b">= 0")
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"shop.events", b"1", b"7")
    assert headers["at"] == b"1970-01-01T00:00:01+00:00"
    assert headers["blame"] == b"sender"
    assert "sha256" not in headers


def test_a_large_original_keeps_a_prefix_and_its_hash() -> None:
    """5 MB become 64 kB with the hash of the whole."""
    original = b"x" * 5_000_000
    made = letter(original)
    headers = dict(made.headers)
    assert made.value == original[:KEEP_WHOLE_BYTES]
    assert headers["sha256"] == hashlib.sha256(original).hexdigest().encode()
    assert headers["original_bytes"] == b"5000000"


def test_a_letter_fits_whatever_the_record_held() -> None:
    """A huge key, a huge traceback and text that is not UTF-8 do not make a letter that Kafka refuses."""
    made = letter(b"v", key=b"k" * 3_000_000, found="\ud800" * 90_000, traceback="t" * 1_000_000)
    size = len(made.key or b"") + len(made.value or b"") + sum(len(n) + len(v) for n, v in made.headers)
    assert size < 100_000


def test_the_same_record_makes_the_same_letter() -> None:
    """A replay repeats the letter byte by byte."""
    assert letter(b"v", found="a") == letter(b"v", found="a")
