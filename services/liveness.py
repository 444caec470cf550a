"""Whether a consumer group still does its work: committed offsets must move while end offsets grow."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from services.clients import topic_name
from services.settings import Common, kafka_options
from streaming.contracts.topics import INPUTS

CHECK_EVERY_S = 5.0
PATIENCE_S = 60.0

Place = tuple[str, int]


class Progress:
    """Per partition: since when it has had records that nobody committed, without any movement. Pure."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._committed: dict[Place, int] = {}
        self._since_s: dict[Place, float] = {}

    def stuck(
        self, ends: Mapping[Place, int], committed: Mapping[Place, int], now_s: float, patience_s: float
    ) -> set[Place]:
        """Partitions that have not moved for longer than `patience_s` although there was something to read."""
        for place, end in ends.items():
            at = committed.get(place, 0)
            if at >= end or at != self._committed.get(place, -1):
                self._since_s[place] = now_s
            self._committed[place] = at
        return {place for place in ends if now_s - self._since_s[place] > patience_s}

    def forgive(self) -> None:
        """Begin again: there was a known reason to wait."""
        self._since_s.clear()
        self._committed.clear()


class Liveness:
    """Asks Kafka itself, with a client of its own, so that a silent framework cannot vouch for itself."""

    def __init__(self, settings: Common, group: str, patience_s: float = PATIENCE_S) -> None:
        """Connect at the first check."""
        self._settings = settings
        self._group = group
        self._patience_s = patience_s
        self._consumer: Any = None
        self._progress = Progress()

    async def watch(self, owned: Callable[[], set[int]], waiting: Callable[[], bool]) -> None:
        """Return when partitions we own, or any while we own none, are stuck.

        Args:
            owned: partitions of the inputs that are ours.
            waiting: whether something we depend on is known not to answer: then waiting is right.
        """
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                ends, committed = await asyncio.to_thread(self._ask)
            except (KafkaError, OSError, AssertionError) as error:
                logging.getLogger(__name__).debug("liveness could not ask: %r", error)
                self._progress.forgive()
                continue
            if waiting():
                self._progress.forgive()
                continue
            stuck = self._progress.stuck(ends, committed, time.monotonic(), self._patience_s)
            ours = owned()
            if any(not ours or partition in ours for _, partition in stuck):
                return

    def _ask(self) -> tuple[dict[Place, int], dict[Place, int]]:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **kafka_options(self._settings), group_id=self._group, enable_auto_commit=False
            )
        names = [topic_name(self._settings, topic) for topic in INPUTS]
        places = [TopicPartition(n, p) for n in names for p in self._consumer.partitions_for_topic(n) or ()]
        ends = self._consumer.end_offsets(places)
        committed = {place: self._consumer.committed(place) or 0 for place in places}
        return {(p.topic, p.partition): ends[p] for p in places}, {(p.topic, p.partition): committed[p] for p in places}
