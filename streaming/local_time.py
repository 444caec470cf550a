"""The customer's own clock: day, hour and the hours nobody wants a message in. Pure but for the time zone tables."""

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from streaming.contracts.kinds import SEND_HOUR
from streaming.profile_parts import Profile
from streaming.rules import DAY_MS, HOUR_MS, Rules


@lru_cache(maxsize=1024)
def zone(name: str) -> tzinfo:
    """The IANA time zone of a name; UTC where there is none of that name: a shop's typing error stops nobody."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown name; not a name; a name that is a folder
        return UTC


def local(profile: Profile, at_ms: int) -> datetime:
    """The customer's local time; UTC where no time zone is known."""
    return datetime.fromtimestamp(at_ms / 1000, zone(profile.timezone.value) if profile.timezone else UTC)


def weekday_and_hour(profile: Profile, at_ms: int) -> tuple[int, int]:
    """Day of the customer's week, Monday 0, and hour of their day."""
    days, of_day_ms = divmod(_local_ms(profile, at_ms), DAY_MS)
    return (days + 3) % 7, of_day_ms // HOUR_MS  # the epoch was a Thursday


def _local_ms(profile: Profile, at_ms: int) -> int:
    """What the customer's clock shows, as if it were UTC's."""
    offset_ms = _offset_ms(profile.timezone.value if profile.timezone else "", at_ms // DAY_MS)
    if offset_ms is None:
        offset_ms = (local(profile, at_ms).utcoffset() or timedelta()) // timedelta(milliseconds=1)
    return at_ms + offset_ms


@lru_cache(maxsize=4096)
def _offset_ms(name: str, day: int) -> int | None:
    """A zone's offset from UTC through all of a day of UTC and the next; None where it changes meanwhile.

    Every event asks for it, and the tables answer more slowly than all else takes that an event does to its timers.
    """
    if not name:
        return 0
    moments = (datetime.fromtimestamp(at * DAY_MS / 1000, zone(name)) for at in (day, day + 1, day + 2))
    offsets = {moment.utcoffset() for moment in moments}
    offset = offsets.pop()
    return None if offsets or offset is None else offset // timedelta(milliseconds=1)


def is_quiet(hour: int, rules: Rules) -> bool:
    """Whether a local hour lies within the quiet hours."""
    start, end = rules.quiet_start_hour, rules.quiet_end_hour
    if start <= end:
        return start <= hour < end
    return hour >= start or hour < end


def after_quiet(profile: Profile, at_ms: int, rules: Rules) -> int:
    """The time itself, or the end of the quiet hours it lies in, milliseconds."""
    offset_ms = _offset_ms(profile.timezone.value if profile.timezone else "", at_ms // DAY_MS)
    if offset_ms is not None:
        return _after_quiet(at_ms + offset_ms, rules) - offset_ms
    then = local(profile, at_ms)
    if not is_quiet(then.hour, rules):
        return at_ms
    ends = then.replace(hour=rules.quiet_end_hour, minute=0, second=0, microsecond=0)
    if ends <= then:
        ends += timedelta(days=1)
    return round(ends.timestamp() * 1000)


def _after_quiet(local_ms: int, rules: Rules) -> int:
    """The same where no offset changes, in local milliseconds."""
    of_day_ms = local_ms % DAY_MS
    if not is_quiet(of_day_ms // HOUR_MS, rules):
        return local_ms
    wait_ms = rules.quiet_end_hour * HOUR_MS - of_day_ms
    return local_ms + (wait_ms if wait_ms > 0 else wait_ms + DAY_MS)


def quiet_now(profile: Profile, at_ms: int, rules: Rules) -> bool:
    """Whether it is a quiet hour where the customer is."""
    return is_quiet(weekday_and_hour(profile, at_ms)[1], rules)


def quiet_send_times(rules: Rules) -> tuple[str, ...]:
    """Send times whose hour lies within the quiet hours."""
    return tuple(name for name, hour in SEND_HOUR.items() if is_quiet(hour, rules))


def same_day(profile: Profile, one_ms: int, other_ms: int) -> bool:
    """Whether two times are on one local day."""
    if abs(one_ms - other_ms) > 25 * HOUR_MS:  # the longest local day
        return False
    return _local_ms(profile, one_ms) // DAY_MS == _local_ms(profile, other_ms) // DAY_MS
