"""Removes, now and then, what need not be remembered (`retention.py`), customers and marks: the owner of the bucket does.

One page of one bucket a turn, so that it holds up nobody; a pass over all begins at most once per day of event time.
What a bucket has applied is kept in its meta, so that a replay does not bring a row back.
"""

import logging
from collections.abc import Iterable

from streaming.folding import Folding
from streaming.processor import Processor
from streaming.retention import old_marks
from streaming.rules import DAY_MS
from streaming.timers import Timers

PAGE = 200
"""Customers looked at per partition and turn."""

_log = logging.getLogger(__name__)


class Forgetting:
    """Goes through the buckets of owned partitions."""

    def __init__(self, processor: Processor, timers: Timers) -> None:
        """Nothing has been looked at."""
        self._processor = processor
        self._store = processor.store
        self._timers = timers
        self._passed_ms: dict[int, int] = {}
        self._places: dict[int, list[tuple[int, int]]] = {}

    async def turn(self, owned: Iterable[int]) -> None:
        """A page of each partition that has one left, or begins a new pass."""
        rules = self._processor.context().rules
        if not (rules.profile_retention_days or rules.campaign_mark_days):
            return
        for partition in sorted(owned):
            await self._processor.load([partition])
            horizon_ms = self._timers.horizon_ms(partition)
            if horizon_ms is None:
                continue
            if not self._places.get(partition):
                if horizon_ms < self._passed_ms.get(partition, 0) + DAY_MS:
                    continue
                self._passed_ms[partition] = horizon_ms
                self._places[partition] = [(number, 0) for number in self._timers.buckets(partition)]
            await self._page(partition, horizon_ms)

    async def _page(self, partition: int, horizon_ms: int) -> None:
        number, cursor = self._places[partition][-1]
        await self._processor.load([number])
        context, users = self._processor.context(), list[str]()
        if context.rules.profile_retention_days:
            cursor, users = await self._store.customers(number, cursor, PAGE)
            await self._store.read({number: users})
        bucket = self._store.bucket(number)
        folding = Folding(bucket.states)
        removed = sum([folding.forget(user, horizon_ms, context.rules) for user in users])
        folding.writes.void = old_marks(bucket.meta, horizon_ms, context.reference.campaigns, context.rules)
        if removed or folding.writes.void:
            await self._processor.finish({number: folding}, context)
        if removed:
            _log.info("forgot %d customers of bucket %d without activity for long", removed, number)
        self._places[partition][-1:] = [(number, cursor)] if cursor else []
