"""Reads rewards and strategies in a thread of its own, outside any group, from the day somebody first opens the console."""

import logging
import threading
import time
import traceback
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from services import metrics
from services.console.arms import ArmBooks, Interval, Measure, Point, Told
from services.gateway_following import reader
from services.gateway_intake import SERVICE
from services.settings_gateway import GatewaySettings
from services.valuing import formula_of
from streaming.contracts.codec import UNREADABLE
from streaming.contracts.kinds import Arm
from streaming.contracts.topics import REWARDS, STRATEGIES

LOG = logging.getLogger(__name__)
NEWEST = 200
"""Strategies that are kept, of all partitions; as many are read back of each."""
_AT_ONCE = 500
_POLL_S = 0.2
_ASK_S = 10.0
_TRY_AGAIN_S = 1.0
_GROWN_EVERY_S = 30.0
"""Between two looks for partitions that were added."""


class Brief(msgspec.Struct, frozen=True):
    """The part of a strategy that its line in a list needs to be found."""

    strategy_id: str


class Rewards(NamedTuple):
    """One measure of the arms, as far as it was read.

    Args:
        width_h: hours of one span.
        behind: records that have still to be read.
    """

    width_h: int
    points: list[Point]
    totals: list[tuple[Arm, Interval]]
    behind: int


class Following(threading.Thread):
    """What was read; methods may be called from any thread."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Reads once it is started, by `ensure_started`."""
        super().__init__(name="console-following", daemon=True)
        self._settings = settings
        self._lock, self._stop_asked = threading.Lock(), threading.Event()
        self._books = ArmBooks(formula_of(settings))
        self._newest: list[tuple[int, bytes]] = []
        self._rewards_name = settings.topic_prefix + REWARDS.name
        self._strategies_name = settings.topic_prefix + STRATEGIES.name
        self._left: dict[tuple[str, int], tuple[int, int]] = {}
        self._begun = False
        self.failed = ""

    def ensure_started(self) -> None:
        """Start, unless it has."""
        with self._lock:
            if not self._begun:
                self._begun = True
                self.start()

    def rewards(self, measure: Measure) -> Rewards:
        """The arms now."""
        with self._lock:
            width_h, points = self._books.series(measure)
            return Rewards(width_h, points, self._books.totals(measure), self._behind())

    def outcome(self, strategy_id: str) -> Told | None:
        """The last reward of a strategy, where it is remembered."""
        with self._lock:
            return self._books.outcome(strategy_id)

    def strategies(self) -> tuple[list[bytes], int]:
        """The last strategies as published, newest first, and how much has still to be read."""
        with self._lock:
            newest = sorted(self._newest, key=lambda each: each[0], reverse=True)
            return [value for _, value in newest[:NEWEST]], self._behind()

    def run(self) -> None:
        """Follow until closed. Our own bug ends the thread, and the pages say so."""
        try:
            self._follow()
        except Exception:  # noqa: BLE001 -- the last line of the thread: everything else can still be served
            metrics.BUGS.labels(SERVICE).inc()
            self.failed = "rewards and strategies are not read any more after a bug; the gateway's log says more"
            LOG.critical("the console does not follow its topics any more: %s", traceback.format_exc())

    def close(self) -> None:
        """End, soon."""
        self._stop_asked.set()
        if self._begun:
            self.join()

    def _follow(self) -> None:
        reading = reader(self._settings)
        try:
            while not self._stop_asked.is_set() and not self._assigned(reading):
                self._stop_asked.wait(_TRY_AGAIN_S)
            looked_s = time.monotonic()
            while not self._stop_asked.is_set():
                messages = reading.consume(_AT_ONCE, _POLL_S)
                with self._lock:
                    for message in messages:
                        self._take(message)
                if time.monotonic() - looked_s > _GROWN_EVERY_S:
                    looked_s = time.monotonic()
                    self._assigned(reading)
        finally:
            reading.close()

    def _assigned(self, reading: Consumer) -> bool:
        """Go to where reading begins in every partition that is not read yet; False while Kafka does not say where."""
        try:
            found = [
                self._place(reading, name, number)
                for name in (self._rewards_name, self._strategies_name)
                for number in sorted(reading.list_topics(name, timeout=_ASK_S).topics[name].partitions)
                if (name, number) not in self._left
            ]
            if found:
                reading.incremental_assign([place for place, _ in found])
        except KafkaException as error:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.info("the console cannot read rewards and strategies yet: %s", error)
            return False
        with self._lock:
            for place, end in found:
                self._left[place.topic, place.partition] = (place.offset, end)
        return bool(self._left)

    def _place(self, reading: Consumer, name: str, number: int) -> tuple[TopicPartition, int]:
        """Where to begin, and the end for now: rewards of so many days, the last strategies."""
        low, end = reading.get_watermark_offsets(TopicPartition(name, number), _ASK_S)
        begin = end - NEWEST
        if name == self._rewards_name:
            since_ms = int((time.time() - self._settings.console_days * 24 * 3600) * 1000)
            (found,) = reading.offsets_for_times([TopicPartition(name, number, since_ms)], _ASK_S)
            begin = found.offset if found.offset >= 0 else end
        return TopicPartition(name, number, max(low, begin)), end

    def _take(self, message: Message) -> None:
        value, place = message.value(), (message.topic() or "", message.partition() or 0)
        if message.error() is not None:
            return
        _, end = self._left.get(place, (0, 0))
        self._left[place] = ((message.offset() or 0) + 1, end)
        if not isinstance(value, bytes):
            return
        try:
            if place[0] == self._rewards_name:
                self._books.take(_TOLD.decode(value))
            else:
                _BRIEF.decode(value)
                self._newest.append((message.timestamp()[1], value))
                if len(self._newest) > 2 * NEWEST:  # partitions come one after the other, not in the order of time
                    self._newest = sorted(self._newest, key=lambda each: each[0])[-NEWEST:]
        except UNREADABLE:
            return  # a stranger's record: whoever reads the topic to work on it reports it

    def _behind(self) -> int:
        return sum(max(0, end - at) for at, end in self._left.values())


_TOLD = msgspec.json.Decoder(Told)
_BRIEF = msgspec.json.Decoder(Brief)
