"""The watermark of one input partition, in event time, and who may move it. Pure.

live: the newest event minus the allowed lateness; an idle partition follows the wall.
replay: only the shop's `Clock Advanced` moves it.
"""

from typing import Literal

from msgspec import Struct

from streaming.contracts.events import Event

CLOCK_EVENT = "Clock Advanced"

Mode = Literal["live", "replay"]


class ClockRules(Struct, frozen=True):
    """Which clock, and how far the watermark stays behind the newest event."""

    mode: Mode
    allowed_lateness_ms: int


def reader_clock_ms(rules: ClockRules, watermark_ms: int | None, timestamp_ms: int, wall_ms: int) -> int:
    """Against what a far-future event is judged: the same for every reading of the same record.

    The record's Kafka timestamp stands for the wall clock; the wall bounds it, because producers may stamp anything.
    In replay the shop's own clock decides once it has been heard.
    """
    arrived_ms = min(timestamp_ms, wall_ms) if timestamp_ms > 0 else wall_ms
    if rules.mode == "replay":
        return arrived_ms if watermark_ms is None else watermark_ms
    return max(arrived_ms, watermark_ms or 0)


def advanced(rules: ClockRules, watermark_ms: int | None, event: Event) -> int | None:
    """The watermark after an event; it never goes back."""
    if rules.mode == "replay":
        candidate = event.at_ms if event.name == CLOCK_EVENT else None
    else:
        candidate = event.at_ms - rules.allowed_lateness_ms
    if candidate is None:
        return watermark_ms
    return candidate if watermark_ms is None else max(watermark_ms, candidate)


def idle_watermark_ms(rules: ClockRules, watermark_ms: int | None, wall_ms: int) -> int | None:
    """The watermark of a partition that was read to its end at this wall time; None when it does not move."""
    if rules.mode == "replay":
        return None
    candidate = wall_ms - rules.allowed_lateness_ms
    return candidate if watermark_ms is None or candidate > watermark_ms else None


def lowest(watermarks: list[int | None]) -> int | None:
    """Horizons close on the lowest; None while an input has not been heard at all."""
    known = [each for each in watermarks if each is not None]
    return min(known) if known and len(known) == len(watermarks) else None
