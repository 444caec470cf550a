"""Who may move a watermark."""

import pytest

from streaming.clock import ClockRules, advanced, idle_watermark_ms, lowest, reader_clock_ms
from streaming.contracts.events import ClockProperties, Event, SearchProperties

LIVE = ClockRules("live", 600_000)
REPLAY = ClockRules("replay", 600_000)


def search(at_ms: int) -> Event:
    """An ordinary event."""
    return Event("m", "Products Searched", "u", None, at_ms, SearchProperties("tea"))


def clock(at_ms: int) -> Event:
    """The shop's clock."""
    return Event("c", "Clock Advanced", "u", None, at_ms, ClockProperties())


def test_live_follows_the_newest_event_and_never_goes_back() -> None:
    """Live: newest event minus the allowed lateness."""
    first = advanced(LIVE, None, search(10_000_000))
    assert first == 9_400_000
    assert advanced(LIVE, first, search(9_000_000)) == first


def test_replay_follows_the_shops_clock_alone() -> None:
    """Replay: events do not move the watermark, `Clock Advanced` does, exactly, and only forwards."""
    assert advanced(REPLAY, None, search(10_000_000)) is None
    assert advanced(REPLAY, 5, clock(7)) == 7
    assert advanced(REPLAY, 7, clock(5)) == 7


def test_an_idle_partition_follows_the_wall_only_live() -> None:
    """A partition read to its end moves with the wall in live mode, never in replay, never back."""
    assert idle_watermark_ms(LIVE, 100, 1_000_000) == 400_000
    assert idle_watermark_ms(LIVE, 500_000, 1_000_000) is None
    assert idle_watermark_ms(REPLAY, None, 1_000_000) is None


@pytest.mark.parametrize(("watermarks", "expected"), [([3, 2], 2), ([3, None], None), ([], None)])
def test_the_horizon_is_the_lowest_known_watermark(watermarks: list[int | None], expected: int | None) -> None:
    """An input that has not been heard closes nothing."""
    assert lowest(watermarks) == expected


def test_absurd_times_are_judged_the_same_at_every_reading() -> None:
    """The record's own timestamp stands for the wall, bounded by it; in replay the shop's clock once it is heard."""
    assert reader_clock_ms(LIVE, None, 100, 900) == 100
    assert reader_clock_ms(LIVE, None, 5000, 900) == 900
    assert reader_clock_ms(LIVE, 700, 100, 900) == 700
    assert reader_clock_ms(REPLAY, None, 100, 900) == 100
    assert reader_clock_ms(REPLAY, 50, 100, 900) == 50
