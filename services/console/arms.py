"""Reward by arm over time, from the rewards' topic. Pure.

A strategy counts at the hour it was issued, whatever stage came when: a correction changes the hour of its strategy. Arms are the
assigned ones; customers merged from two arms are no evidence for either.
"""

from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from scipy.special import stdtrit

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
GROUPS = 64
"""Customers are kept as so many groups by a hash of their id: what is remembered does not grow with them. A customer's strategies stay together."""
UPPER = 0.975
"""95 % within, both sides."""

Measure = Literal["reward", "net"]
MEASURES: dict[Measure, str] = {
    "reward": "reward per strategy",
    "net": "net margin per strategy, holdout too",
}


class Told(Struct, frozen=True):
    """The part of a `Reward` that is read here; the rest of the record, its request above all, is skipped."""

    reward_id: str
    strategy_id: str
    user_id: str
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


class Sums:
    """Counts and sums by group of customers, each (GROUPS,)."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.counts: npt.NDArray[np.int64] = np.zeros(GROUPS, np.int64)
        self.totals: npt.NDArray[np.float64] = np.zeros(GROUPS)

    def add(self, group: int, count: int, paid: float) -> None:
        """More of a group."""
        self.counts[group] += count
        self.totals[group] += paid

    def join(self, other: "Sums") -> None:
        """All of another's."""
        self.counts += other.counts
        self.totals += other.totals

    def interval(self) -> "Interval":
        """Mean per strategy with its 95 % interval, groups of customers as what is independent; no bounds where there is but one.

        Source: the linearised variance of a ratio of sums over clusters, Student's t (Cochran, Sampling Techniques, 3rd ed., eq. 11.12).
        """
        number = int(self.counts.sum())
        mean = float(self.totals.sum()) / number if number else 0.0
        groups = int(np.count_nonzero(self.counts))
        if groups < 2:  # noqa: PLR2004 -- of one group nothing is known about how groups vary
            return Interval(number, mean, None, None)
        variance = groups / (groups - 1) * float(np.sum((self.totals - mean * self.counts) ** 2)) / number**2
        half = float(stdtrit(groups - 1, UPPER)) * variance**0.5
        return Interval(number, mean, mean - half, mean + half)


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
            span.join(sums)
        ordered = sorted(spans.items(), key=lambda each: (each[0][0], ARM_NAMES.index(each[0][1])))
        return width, [Point(hour * HOUR_MS, arm, sums.interval()) for (hour, arm), sums in ordered]

    def totals(self, measure: Measure) -> list[tuple[Arm, Interval]]:
        """Each arm over all that is kept."""
        found: dict[Arm, Sums] = {}
        for (_, arm), sums in self._sums[measure].items():
            found.setdefault(arm, Sums()).join(sums)
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
            self._add("reward", told, int(is_final), paid)
        if is_final:  # corrections repeat what is frozen at the final
            cost = told.components.get("cost", 0.0)
            net = self._formula.total_value(told.outcomes, "horizon_margin_minor") + cost
            self._add("net", told, 1, net)

    def _add(self, measure: Measure, told: Told, count: int, paid: float) -> None:
        hours = self._sums[measure]
        hour = int(told.issued_at.timestamp() * 1000) // HOUR_MS
        group = int.from_bytes(digest(told.user_id)) % GROUPS
        hours.setdefault((hour, told.assigned_arm), Sums()).add(group, count, paid)
        if len(hours) > MAX_HOURS * len(ARM_NAMES):
            del hours[min(hours)]
