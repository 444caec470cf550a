"""How long a strategy may be shown."""

from datetime import UTC, datetime

import msgspec
import pytest

from model.validity import sent_at, valid_until
from tests.model.sample import request_of

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)  # a Monday


def test_an_offer_runs_for_its_duration() -> None:
    """Three days from the moment it was asked for."""
    assert valid_until(request_of(kind="promotion"), {"duration": "3d"}) == datetime(2026, 3, 5, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("send_time", "zone", "sent"),
    [
        ("now", "", AT),
        ("morning", "", datetime(2026, 3, 3, 9, 0, tzinfo=UTC)),  # 09:00 has passed today
        ("evening", "", datetime(2026, 3, 2, 19, 0, tzinfo=UTC)),
        ("evening", "Asia/Shanghai", datetime(2026, 3, 2, 11, 0, tzinfo=UTC)),  # 18:00 there now
        ("morning", "America/New_York", datetime(2026, 3, 2, 14, 0, tzinfo=UTC)),  # 05:00 there now
        ("morning", "../../etc/passwd", datetime(2026, 3, 3, 9, 0, tzinfo=UTC)),
        ("morning", "Mars/Base", datetime(2026, 3, 3, 9, 0, tzinfo=UTC)),
    ],
)
def test_send_times_are_hours_of_the_customers_day(send_time: str, zone: str, sent: datetime) -> None:
    """The next such hour where the customer lives; UTC where the zone is not one."""
    request = msgspec.structs.replace(request_of(), context={"timezone": zone} if zone else {})
    assert sent_at(request, {"send_time": send_time}) == sent


def test_the_hour_stays_across_a_change_of_clocks() -> None:
    """The evening before summer time begins, next morning is 09:00 local: one hour of UTC earlier than the day before."""
    request = msgspec.structs.replace(
        request_of(), issued_at=datetime(2026, 3, 28, 20, 0, tzinfo=UTC), context={"timezone": "Europe/Berlin"}
    )
    assert sent_at(request, {"send_time": "morning"}) == datetime(2026, 3, 29, 7, 0, tzinfo=UTC)


def test_without_duration_it_lives_a_day_from_its_sending() -> None:
    """An ad has no send time: from now."""
    assert valid_until(request_of(kind="ad"), {"tone": "urgent"}) == datetime(2026, 3, 3, 10, 0, tzinfo=UTC)
