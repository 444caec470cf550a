"""How long a strategy may be shown: from its send time or its duration, in event time. Pure."""

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from streaming.contracts.kinds import SEND_HOUR
from streaming.contracts.strategies import StrategyRequest

SHELF_LIFE = timedelta(hours=24)
"""From the moment of sending, where the offer itself has no duration."""


def valid_until(request: StrategyRequest, decision: dict[str, str]) -> datetime:
    """The last moment at which the strategy may be shown, UTC.

    An offer runs for its `duration`; everything else for `SHELF_LIFE` from its send time.
    """
    if "duration" in decision:
        return request.issued_at + timedelta(days=int(decision["duration"].removesuffix("d")))
    return sent_at(request, decision) + SHELF_LIFE


def sent_at(request: StrategyRequest, decision: dict[str, str]) -> datetime:
    """When it goes out: now, or at the next such hour of the customer's day (UTC where the time zone is not known)."""
    hour = SEND_HOUR.get(decision.get("send_time", "now"))
    if hour is None:
        return request.issued_at
    local = request.issued_at.astimezone(_zone(request.context.get("timezone", "")))
    due = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    if due <= local:
        due += timedelta(days=1)  # in wall time: across a change of clocks it stays the same hour
    return due.astimezone(UTC)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a stranger's text; a shop may send anything
        return UTC
