"""The customer's own clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.contracts.codec import to_ms
from streaming.contracts.events import Context
from streaming.local_time import after_quiet, is_quiet, local, quiet_send_times, same_day
from streaming.profile import EMPTY, Profile
from streaming.rules import HOUR_MS, Rules
from tests.streaming import customer_samples as shop


def living_in(name: str) -> Profile:
    """A customer of a time zone."""
    return shop.folded(shop.viewed(1, context=Context(timezone=name)))


def utc(*parts: int) -> int:
    """UTC milliseconds."""
    return to_ms(datetime(*parts, tzinfo=UTC))  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("name", "hour"),
    [("Asia/Shanghai", 20), ("America/New_York", 7), ("Nowhere/Atlantis", 12), ("../etc/passwd", 12), ("Europe", 12)],
)
def test_hours_are_local(name: str, hour: int) -> None:
    """Noon UTC is 20:00 in Shanghai; what is no time zone is UTC."""
    assert local(living_in(name), utc(2026, 3, 2, 12)).hour == hour


def test_quiet_hours_may_span_midnight() -> None:
    """21 to 8 holds the night, 9 to 17 the day, 5 to 5 nothing."""
    assert [hour for hour in range(24) if is_quiet(hour, Rules())] == [0, 1, 2, 3, 4, 5, 6, 7, 21, 22, 23]
    assert [hour for hour in range(24) if is_quiet(hour, Rules(quiet_start_hour=9, quiet_end_hour=17))] == list(
        range(9, 17)
    )
    assert not any(is_quiet(hour, Rules(quiet_start_hour=5, quiet_end_hour=5)) for hour in range(24))


def test_waiting_ends_with_the_quiet_hours() -> None:
    """23:30 and 03:00 wait until 08:00, 12:00 does not wait; in Shanghai the local morning counts."""
    assert after_quiet(EMPTY, utc(2026, 3, 2, 23, 30), Rules()) == utc(2026, 3, 3, 8)
    assert after_quiet(EMPTY, utc(2026, 3, 3, 3), Rules()) == utc(2026, 3, 3, 8)
    assert after_quiet(EMPTY, utc(2026, 3, 3, 12), Rules()) == utc(2026, 3, 3, 12)
    assert after_quiet(living_in("Asia/Shanghai"), utc(2026, 3, 2, 15), Rules()) == utc(2026, 3, 3, 0)


def test_send_times_within_quiet_hours() -> None:
    """Evening is 19:00: quiet where the quiet hours begin at 18."""
    assert quiet_send_times(Rules()) == ()
    assert quiet_send_times(Rules(quiet_start_hour=18, quiet_end_hour=10)) == ("morning", "evening")


def test_days_are_local() -> None:
    """15:00 and 17:00 UTC are one day in UTC and two in Shanghai; a week apart is never one day."""
    one, other = utc(2026, 3, 2, 15), utc(2026, 3, 2, 17)
    assert same_day(EMPTY, one, other)
    assert not same_day(living_in("Asia/Shanghai"), one, other)
    assert not same_day(EMPTY, one, one + 7 * 24 * HOUR_MS)


@given(
    st.sampled_from(sorted(available_timezones())),
    st.integers(utc(2000, 1, 1), utc(2037, 1, 1)),
    st.integers(0, 23),
    st.integers(0, 23),
)
@example("America/St_Johns", utc(2006, 4, 2, 3, 30), 21, 8)  # its clocks went forward at 00:01
@example("Australia/Lord_Howe", utc(2026, 4, 4, 14, 50), 21, 8)  # by half an hour
def test_the_wait_is_what_the_tables_say(name: str, at_ms: int, start: int, end: int) -> None:
    """In every time zone and on every day, also when clocks change, the wait ends at the end hour of the local clock."""
    rules, profile = Rules(quiet_start_hour=start, quiet_end_hour=end), living_in(name)
    until_ms = after_quiet(profile, at_ms, rules)
    then = local(profile, at_ms)
    if not is_quiet(then.hour, rules):
        assert until_ms == at_ms
        return
    morning = then.replace(hour=end, minute=0, second=0, microsecond=0)
    assert until_ms == to_ms(morning if morning > then else morning + timedelta(days=1))
