"""From a record to what is done with it, without Kafka."""

import msgspec
import pytest

from services.records import Record
from services.worker_intake import Ask, Pace, bug_letter, is_late, refusal, suppression, take
from streaming.contracts.codec import encode
from streaming.effects import Publish
from tests.model.sample import request_of

NOW_MS = 1_800_000_000_000


def record(value: bytes | None, timestamp_ms: int = NOW_MS) -> Record:
    """A record of `strategy.requests`."""
    return Record("strategy.requests", 1, 42, b"user-1", value, timestamp_ms)


def ask(timestamp_ms: int = NOW_MS, deadline_s: float = 10.0) -> Ask:
    """A request that can be answered."""
    taken = take(record(encode(msgspec.structs.replace(request_of(1), deadline_s=deadline_s)), timestamp_ms))
    assert isinstance(taken, Ask)
    return taken


def test_nothing_in_nothing_out() -> None:
    """Tombstones and empty values are passed over."""
    assert take(record(None)) is None
    assert take(record(b"")) is None


def test_a_bad_request_becomes_a_letter_with_its_origin() -> None:
    """The letter holds the original bytes, the field, and where it came from."""
    value = encode(msgspec.structs.replace(request_of(1), slots=request_of(1).slots[1:]))
    letter = take(record(value))
    assert isinstance(letter, Publish)
    headers = dict(letter.headers)
    assert letter.value == value
    assert (headers["field"], headers["partition"], headers["offset"]) == (b"slots", b"1", b"42")
    assert letter == take(record(value))  # a redelivery makes the same letter


@pytest.mark.parametrize(
    ("waited_s", "paused", "reason"),
    [(0, False, None), (0, True, "paused"), (49.9, False, None), (50.1, False, "stale"), (50.1, True, "stale")],
)
def test_stale_is_past_half_the_life_of_stored_answers(waited_s: float, paused: bool, reason: str | None) -> None:  # noqa: FBT001 -- a table
    """Half of 100 s; stale wins over paused, because it will not pass."""
    found = refusal(ask(NOW_MS - round(waited_s * 1000)), now_ms=NOW_MS, strategy_ttl_s=100.0, paused=paused)
    assert found == reason


@pytest.mark.parametrize(
    ("waited_s", "expected_s", "late"), [(0.0, 0.5, False), (9.6, 0.5, True), (9.4, 0.5, False), (10.0, 0.0, True)]
)
def test_late_is_foreseen(waited_s: float, expected_s: float, late: bool) -> None:  # noqa: FBT001 -- a table
    """A deadline of 10 s is missed when waiting and a batch's usual time together pass it."""
    assert is_late(ask(NOW_MS - round(waited_s * 1000)), now_ms=NOW_MS, expected_s=expected_s) is late


def test_suppressions_repeat_their_ids() -> None:
    """The same request and reason make the same record."""
    assert suppression(ask(), "paused", "x") == suppression(ask(), "paused", "x")
    assert suppression(ask(), "paused", "x").suppression_id != suppression(ask(), "stale", "x").suppression_id


def test_a_bug_is_blamed_on_us() -> None:
    """The letter of our own bug has the traceback and the original."""
    letter = bug_letter(record(b"{}"), ValueError("planted"))
    headers = dict(letter.headers)
    assert (headers["reason"], headers["blame"]) == (b"bug", b"us")
    assert headers["traceback"].strip().endswith(b"ValueError: planted")
    assert letter.value == b"{}"


def test_one_slow_batch_does_not_make_everything_late_for_ever() -> None:
    """A batch of two minutes makes requests late by expectation; while they are, the expectation falls."""
    pace, fresh = Pace(), ask()
    pace.took(120.0)
    rounds = 0
    while is_late(fresh, now_ms=NOW_MS, expected_s=pace.expected_s):
        pace.skipped()
        rounds += 1
    assert 0 < rounds < 10
    for _ in range(50):
        pace.took(0.5)
    assert pace.expected_s == pytest.approx(0.5, abs=0.01)
