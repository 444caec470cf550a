"""Reward by arm over time, from the rewards' topic. Pure.

A strategy counts at the hour it was issued, whatever stage came when: a correction changes the hour of its strategy. Arms are the
assigned ones; customers merged from two arms are no evidence for either.
"""

import math
from datetime import datetime
from typing import Literal, NamedTuple

from msgspec import Struct

from streaming.contracts.kinds import ARM_NAMES, Arm
from streaming.contracts.rewards import Outcomes, Stage
from streaming.reward import Formula
from streaming.stamps import digest

HOUR_MS = 3600 * 1000
MAX_HOURS = 24 * 92
MAX_IDS = 200_000
MAX_OUTCOMES = 5_000
MAX_POINTS = 40
WIDTHS_H = (1, 3, 6, 12, 24, 72, 168)
Z95 = 1.959964
"""Of the normal distribution: 95 % within it, both sides."""

Measure = Literal["reward", "net"]
MEASURES: dict[Measure, str] = {
    "reward": "reward per strategy",
    "net": "net margin per strategy, holdout too",
}


class Told(Struct, frozen=True):
    """The part of a `Reward` that is read here; the rest of the record, its request above all, is skipped."""

    reward_id: str
    strategy_id: str
    stage: Stage
    kind: str
    assigned_arm: Arm
    ghost: bool
    issued_at: datetime
    closed_at: datetime
    outcomes: Outcomes
    reward: float
    components: dict[str, float]
    difference: float = 0.0
    mixed_arms: bool = False


class Sums(Struct):
    """Count, sum and sum of squares."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, count: int, paid: float, squares: float) -> None:
        """More of it."""
        self.count, self.total, self.squares = self.count + count, self.total + paid, self.squares + squares

    def interval(self) -> "Interval":
        """Mean with its 95 % interval by the normal approximation; without bounds where fewer than two were counted."""
        mean = self.total / self.count if self.count else 0.0
        if self.count < 2:  # noqa: PLR2004 -- of one value nothing is known about how values vary
            return Interval(self.count, mean, None, None)
        variance = max(0.0, (self.squares - self.count * mean**2) / (self.count - 1))
        half = Z95 * math.sqrt(variance / self.count)
        return Interval(self.count, mean, mean - half, mean + half)


class Interval(NamedTuple):
    """A mean over so many strategies, and where it may lie."""

    number: int
    mean: float
    low: float | None
    high: float | None


class Point(NamedTuple):
    """One arm in one span of time."""

    at_ms: int
    arm: Arm
    value: Interval


class ArmBooks:
    """What was told, by hour and arm; bounded, the oldest is forgotten first."""

    def __init__(self, formula: Formula) -> None:
        """Nothing told."""
        self._formula = formula
        self._sums: dict[Measure, dict[tuple[int, Arm], Sums]] = {"reward": {}, "net": {}}
        self._ids: dict[bytes, None] = {}
        self._outcomes: dict[str, Told] = {}

    def take(self, told: Told) -> None:
        """One record; one that was told before changes nothing."""
        identity = digest(told.reward_id)
        if identity in self._ids:
            return
        self._ids[identity] = None
        if len(self._ids) > MAX_IDS:
            del self._ids[next(iter(self._ids))]
        self._keep(told)
        if told.stage != "response" and not told.mixed_arms:
            self._count(told)

    def outcome(self, strategy_id: str) -> Told | None:
        """The last that was told of a strategy, as long as it is remembered."""
        return self._outcomes.get(strategy_id)

    def series(self, measure: Measure) -> tuple[int, list[Point]]:
        """Hours of one span, and each arm in each span, oldest first."""
        hours = {hour for hour, _ in self._sums[measure]}
        if not hours:
            return WIDTHS_H[0], []
        whole = max(hours) - min(hours) + 1
        width = next((each for each in WIDTHS_H if whole / each <= MAX_POINTS), WIDTHS_H[-1])
        spans: dict[tuple[int, Arm], Sums] = {}
        for (hour, arm), sums in self._sums[measure].items():
            span = spans.setdefault((hour // width * width, arm), Sums())
            span.add(sums.count, sums.total, sums.squares)
        ordered = sorted(spans.items(), key=lambda each: (each[0][0], ARM_NAMES.index(each[0][1])))
        return width, [Point(hour * HOUR_MS, arm, sums.interval()) for (hour, arm), sums in ordered]

    def totals(self, measure: Measure) -> list[tuple[Arm, Interval]]:
        """Each arm over all that is kept."""
        found: dict[Arm, Sums] = {}
        for (_, arm), sums in self._sums[measure].items():
            found.setdefault(arm, Sums()).add(sums.count, sums.total, sums.squares)
        return [(arm, found[arm].interval()) for arm in ARM_NAMES if arm in found]

    def _keep(self, told: Told) -> None:
        self._outcomes.pop(told.strategy_id, None)
        self._outcomes[told.strategy_id] = told
        if len(self._outcomes) > MAX_OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]

    def _count(self, told: Told) -> None:
        is_final = told.stage == "final"
        if not told.ghost:
            paid = told.reward if is_final else told.difference
            self._add("reward", told, int(is_final), paid, told.reward**2 - (told.reward - paid) ** 2)
        if is_final:  # corrections repeat what is frozen at the final
            cost = told.components.get("cost", 0.0)
            net = self._formula.total_value(told.outcomes, "horizon_margin_minor") + cost
            self._add("net", told, 1, net, net**2)

    def _add(self, measure: Measure, told: Told, count: int, paid: float, squares: float) -> None:
        hours = self._sums[measure]
        hour = int(told.issued_at.timestamp() * 1000) // HOUR_MS
        hours.setdefault((hour, told.assigned_arm), Sums()).add(count, paid, squares)
        if len(hours) > MAX_HOURS * len(ARM_NAMES):
            del hours[min(hours)]
