"""How far the shop's clock moves at a time, and what it waits for. Pure.

The clock is as fast as answers come: a tick whose answers came quickly makes the next one longer, a slow one shorter.
"""

from __future__ import annotations

import msgspec

MINUTE_MS = 60_000
SHORTEST_MS = 10 * MINUTE_MS
LONGEST_MS = 50 * MINUTE_MS
"""Longer steps would make a trigger older than what agents take as stale before they see it."""
QUICK_S = 0.6
SLOW_S = 2.0
"""Wall seconds of a tick below which the next one is longer, above which it is shorter."""
LONGER, SHORTER = 1.3, 0.7


def next_tick_ms(tick_ms: int, waited_s: float) -> int:
    """Length of the next tick from the last one's and the wall time its answers took."""
    if waited_s < QUICK_S:
        return min(round(tick_ms * LONGER), LONGEST_MS)
    if waited_s > SLOW_S:
        return max(round(tick_ms * SHORTER), SHORTEST_MS)
    return tick_ms


class Ledger(msgspec.Struct):
    """Which requests are open, and how far each input partition has been read; changed in place.

    Args:
        open: request ids without an answer or a recorded reason.
        done: request ids with one, which may be read before the request itself.
        read: (topic, partition) → next offset the agents will apply.
    """

    open: set[str] = msgspec.field(default_factory=set)
    done: set[str] = msgspec.field(default_factory=set)
    read: dict[tuple[str, int], int] = msgspec.field(default_factory=dict)

    def asked(self, request_id: str) -> None:
        """Note that a request was asked."""
        if request_id not in self.done:
            self.open.add(request_id)

    def answered(self, request_id: str) -> bool:
        """Note an answer or a recorded reason; False when there was one already."""
        self.open.discard(request_id)
        if request_id in self.done:
            return False
        self.done.add(request_id)
        return True

    def passed(self, marks: dict[tuple[str, int], int]) -> bool:
        """Whether the agents have applied every marked record: (topic, partition) → its offset."""
        return all(self.read.get(place, 0) > offset for place, offset in marks.items())
