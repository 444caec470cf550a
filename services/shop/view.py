"""The demo's live view: reads topics while they grow and shows what happens, in the terminal.

Edge: kafka-python, redis and rich. What it shows is a view, not the books; those are read back at the end.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable

from kafka import KafkaConsumer, TopicPartition
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from services.reading import printable
from services.settings import Common, kafka_options
from services.shop.books import read_fates
from services.shop.summary import interval
from services.watch import decision_line, strategy_line
from streaming.contracts.adapters import GateDecision, Serving, decode_record
from streaming.contracts.codec import decode
from streaming.contracts.kinds import ARM_NAMES
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import (
    ADAPTERS,
    ADS_EVENTS,
    DECISIONS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
)

COUNTED = (SHOP_EVENTS, ADS_EVENTS, REQUESTS, SUPPRESSIONS)
"""Topics of which only the number of records is shown."""
READ = (STRATEGIES, REWARDS, ADAPTERS, DECISIONS)
SHOWN_LINES = 4
PROFILES_EVERY_S = 2.0
"""Counting profiles asks every bucket."""
RECENT = 400
"""Rewards per arm that the table's mean is over."""


class View:
    """Follows the topics and draws them.

    Args:
        settings: where Kafka is.
        title: told above the view.
    """

    def __init__(self, settings: Common, title: str) -> None:
        """Connect and begin at the topics' beginnings."""
        self.title = title
        self.strategies = 0
        self.swaps = 0
        self.profiles = 0
        self.decisions: Counter[str] = Counter()
        self._prefix = settings.topic_prefix
        self._lines: deque[str] = deque(maxlen=SHOWN_LINES)
        self._gate: deque[str] = deque(maxlen=SHOWN_LINES)
        self._rewards: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._closed: Counter[str] = Counter()
        self._serving = "base"
        self._counts: dict[str, int] = {}
        self._rate: deque[tuple[float, int]] = deque(maxlen=20)
        self._settings = settings
        self._profiles_read_s = 0.0
        self._consumer = KafkaConsumer(**{**kafka_options(settings), "enable_auto_commit": False})
        places = [TopicPartition(self._prefix + t.name, p) for t in READ for p in self._partitions(t.name)]
        self._consumer.assign(places)
        self._consumer.seek_to_beginning(*places)
        self._counted = [TopicPartition(self._prefix + t.name, p) for t in COUNTED for p in self._partitions(t.name)]
        self._take: dict[str, Callable[[bytes], None]] = {
            STRATEGIES.name: self._strategy,
            REWARDS.name: self._reward,
            ADAPTERS.name: self._adapter,
            DECISIONS.name: self._decision,
        }

    def _partitions(self, name: str) -> list[int]:
        return sorted(self._consumer.partitions_for_topic(self._prefix + name) or ())

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def read(self, timeout_ms: int) -> None:
        """Read what came."""
        for place, records in self._consumer.poll(timeout_ms=timeout_ms).items():
            take = self._take[place.topic.removeprefix(self._prefix)]
            for record in records:
                if record.value:
                    take(record.value)
        self._counts = Counter()
        for place, end in self._consumer.end_offsets(self._counted).items():
            self._counts[place.topic.removeprefix(self._prefix)] += end
        self._rate.append((time.monotonic(), self.events))
        if time.monotonic() - self._profiles_read_s > PROFILES_EVERY_S:
            self.profiles = read_fates(self._settings)[1]
            self._profiles_read_s = time.monotonic()

    @property
    def events(self) -> int:
        """Records on the two event topics."""
        return self._counts.get(SHOP_EVENTS.name, 0) + self._counts.get(ADS_EVENTS.name, 0)

    def _strategy(self, value: bytes) -> None:
        self.strategies += 1
        self._lines.append(printable(strategy_line(decode(value, Strategy)), limit=300))

    def _reward(self, value: bytes) -> None:
        reward = decode(value, Reward)
        if reward.stage == "final" and not reward.mixed_arms:
            self._rewards[reward.assigned_arm].append(reward.reward)
            self._closed[reward.assigned_arm] += 1

    def _adapter(self, value: bytes) -> None:
        record = decode_record(value)
        if isinstance(record, Serving) and record.champion != self._serving:
            self._serving = record.champion
            self.swaps += 1

    def _decision(self, value: bytes) -> None:
        decision = decode(value, GateDecision)
        if decision.what == "adapter":
            self.decisions[decision.decision] += 1
            self._gate.append(printable(decision_line(decision), limit=200))

    def rate(self) -> float:
        """Events a second over the last looks."""
        if len(self._rate) < 2:  # noqa: PLR2004 -- a difference needs two
            return 0.0
        (first_s, first), (last_s, last) = self._rate[0], self._rate[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0

    def facts(self) -> str:
        """The numbers in one line."""
        decided = ", ".join(f"{count} {what}" for what, count in sorted(self.decisions.items())) or "none yet"
        return (
            f"{self.events} events ({self.rate():.0f}/s), {self.profiles} profiles, "
            f"{self._counts.get(REQUESTS.name, 0)} requests, {self.strategies} strategies, "
            f"{self._counts.get(SUPPRESSIONS.name, 0)} not asked; "
            f"adapters: {decided}; swaps: {self.swaps}, serving {self._serving}"
        )

    def draw(self) -> Group:
        """The view as rich draws it; every text is plain, none is markup."""
        table = Table(title=f"reward per strategy, last {RECENT} closed of each arm", title_justify="left")
        for name in ("arm", "closed", "mean", "95 % interval"):
            table.add_column(name)
        for arm in ARM_NAMES:
            if self._rewards[arm]:
                stat = interval(list(self._rewards[arm]))
                table.add_row(
                    arm, str(self._closed[arm]), f"{stat.mean:+.3f}", f"{stat.low95:+.3f} to {stat.high95:+.3f}"
                )
        lines = Text("\n".join(self._lines) or "none yet")
        gate = Text("\n".join(self._gate) or "nothing yet")
        return Group(
            Text(self.title),
            Text(self.facts()),
            table,
            Panel(lines, title="strategies", title_align="left"),
            Panel(gate, title="the gate on adapters", title_align="left"),
        )
