"""What time brings: due times fired on the horizon, and the progress that is published once they have been.

The horizon of a partition is the lowest stored watermark of its clickstream and its ads; where a publisher put
customers' records into partitions that are not theirs, the lowest of all partitions. A due time is a field of the
customer's row; the index only finds it, and the call that writes what firing changed moves the index too.
"""

import logging
from collections.abc import Iterable

from msgspec.structs import replace

from streaming.acting import fire
from streaming.backlog import Backlog
from streaming.bucket import Bucket
from streaming.clock import idle_watermark_ms, lowest
from streaming.contracts.codec import EARLIEST_MS, encode, instant
from streaming.contracts.progress import Progress
from streaming.contracts.topics import ADS_EVENTS, PROGRESS, SHOP_EVENTS, STRATEGIES
from streaming.core import Context
from streaming.effects import Publish
from streaming.folding import Folding
from streaming.keys import watermark_field
from streaming.processor import Processor
from streaming.writes import Writes

CLOCKED = (SHOP_EVENTS.name, ADS_EVENTS.name)
"""Inputs whose watermarks make the horizon."""
AT_ONCE = 200
"""Customers fired per bucket and call."""
LIVE_STEP_MS = 1000
"""In live mode horizons move with every event; timers and progress follow at most this often."""

_log = logging.getLogger(__name__)


class Timers:
    """Fires due times of owned partitions and publishes how far they have been read."""

    def __init__(self, processor: Processor) -> None:
        """Act inside the processor's turns."""
        self._processor = processor
        self._store = processor.store
        self._fired_ms: dict[int, int] = {}
        self._told: dict[tuple[str, int], tuple[int, int]] = {}
        self._homes: dict[int, Bucket] = {}
        self.backlog = Backlog()

    def forget(self) -> None:
        """After a rebalance: others may have fired meanwhile, and progress has to be told again."""
        self._fired_ms.clear()
        self._told.clear()

    def buckets(self, partition: int) -> list[int]:
        """The buckets that belong to a partition."""
        return [n for n in self._store.bucket_numbers if n % self._processor.layout.partitions == partition]

    async def after_batch(self, topic: str, partition: int) -> None:
        """Inside a batch's turn: fire what the batch made due, then tell the progress."""
        if topic in CLOCKED:
            await self._look()
            await self._fire(partition, self._step_ms)
            if not self._store.mixed:  # else this batch may have made others' timers due: told once all have fired
                await self._tell(topic, partition, self._step_ms)

    async def catch_up(self, partitions: Iterable[int]) -> None:
        """Fire and tell whatever is owed of these partitions."""
        await self._store.paused()  # and whether records were mixed, of which another process may have told
        await self._look()
        partitions = list(partitions)
        await self._unmix(partitions)
        for partition, home in self._homes.items():
            self.backlog.turn(partition, home.sealed(STRATEGIES.name, partition))
        for partition in partitions:
            await self._processor.load([partition])
            if not self._homes:
                self.backlog.turn(partition, self.sealed(STRATEGIES.name, partition))
            await self._fire(partition, 0)
        for partition in partitions:
            await self._processor.load([partition])
            for topic in CLOCKED:
                await self._tell(topic, partition, 0)

    async def follow_wall(self, idle: Iterable[tuple[str, int]], wall_ms: int) -> None:
        """Live mode: partitions that were read to an end asked at this wall time follow the wall."""
        for topic, partition in idle:
            await self._processor.load([partition])
            home = self._store.bucket(partition)
            stored_ms = home.watermark_ms(topic, partition)
            moved_ms = idle_watermark_ms(self._processor.layout.clock, stored_ms, wall_ms)
            if topic in CLOCKED and moved_ms is not None:
                writes = Writes()
                writes.meta[watermark_field(topic, partition)] = str(moved_ms)
                await self._processor.commit({partition: writes})

    def sealed(self, topic: str, partition: int) -> int:
        """The next offset of a partition to be applied, of a loaded home bucket."""
        return self._store.bucket(partition).sealed(topic, partition)

    @property
    def _step_ms(self) -> int:
        return LIVE_STEP_MS if self._processor.layout.clock.mode == "live" else 0

    def horizon_ms(self, partition: int) -> int | None:
        """The lowest watermark of the inputs; None until all have been heard and old strategies have been read."""
        if self._held(partition):
            return None
        homes = {partition: self._store.bucket(partition)}
        if self._store.mixed:
            if any(self.backlog.holds(n, home.sealed(STRATEGIES.name, n)) for n, home in self._homes.items()):
                return None
            homes = self._homes | homes
            if len(homes) < self._processor.layout.partitions:
                return None
        return lowest([home.watermark_ms(topic, n) for n, home in homes.items() for topic in CLOCKED])

    async def _look(self) -> None:
        """Where customers' records lie in several partitions, see how far all of them have been read."""
        self._homes = {}
        if self._store.mixed:
            everywhere = range(self._processor.layout.partitions)
            self._homes = await self._store.peek(everywhere)
            self.backlog.hold_also(everywhere)

    async def _unmix(self, partitions: Iterable[int]) -> None:
        """Windows stop waiting for every partition once all have passed the last record astray by a whole horizon.

        What lay in wrong partitions until then has been read. A record that goes astray later is marked again.
        """
        if self._store.mixed_ms is not None:
            times = []
            for partition in partitions:
                await self._processor.load([partition])
                times.append(self.horizon_ms(partition))
            now_ms = lowest(times)
            if now_ms is not None and self._store.mixed_ms < EARLIEST_MS:
                await self._store.mark_mixed(now_ms)  # an older program did not say since when
            elif now_ms is not None and now_ms >= self._store.mixed_ms + self._longest_ms and await self._store.unmix():
                _log.warning("no record has been in a wrong partition for a horizon: windows close by partition again")
                self._homes = {}
        self._processor.facts.gauge("partitions_mixed", float(self._store.mixed))

    @property
    def _longest_ms(self) -> int:
        return self._processor.context().windows.longest_ms

    def _held(self, partition: int) -> bool:
        owed = self._processor.floors.newly_owed(STRATEGIES.name, partition)
        if owed is not None:  # Redis came back older: hours must not pass again before the strategies in them
            self.backlog.owe(partition, owed)
        return self.backlog.holds(partition, self.sealed(STRATEGIES.name, partition))

    async def _fire(self, partition: int, step_ms: int) -> None:
        """Fire, unless the horizon has moved by less than the step; a step of nothing always looks.

        A merge or a late event may set a due time that the horizon has passed already.
        """
        horizon_ms = self.horizon_ms(partition)
        last_ms = self._fired_ms.get(partition)
        if horizon_ms is None or (last_ms is not None and horizon_ms < last_ms + step_ms):
            return
        numbers = self.buckets(partition)
        context = replace(self._processor.context(), watermark_ms=horizon_ms)
        while found := await self._store.due(numbers, horizon_ms, AT_ONCE):
            await self._processor.load(found)
            context = replace(context, paused=await self._store.look(found))
            foldings = {number: self._fired(number, users, context) for number, users in found.items()}
            await self._processor.finish(foldings, context)
            numbers = [number for number, users in found.items() if len(users) == AT_ONCE]
        self._fired_ms[partition] = horizon_ms

    def _fired(self, number: int, users: list[str], context: Context) -> Folding:
        folding = Folding(self._store.bucket(number).states)
        for user in users:
            fire(folding, user, context)
        return folding

    async def _tell(self, topic: str, partition: int, step_ms: int) -> None:
        home = self._store.bucket(partition)
        watermark_ms = home.watermark_ms(topic, partition)
        if watermark_ms is None or self._held(partition):
            return
        offset = home.sealed(topic, partition)
        told = self._told.get((topic, partition))
        if told is not None and (told == (watermark_ms, offset) or watermark_ms < told[0] + step_ms):
            return
        progress = Progress(topic, partition, instant(watermark_ms), offset)
        await self._processor.outbox.send([Publish(PROGRESS.name, f"{topic}/{partition}".encode(), encode(progress))])
        self._told[topic, partition] = (watermark_ms, offset)
        self._processor.facts.gauge("watermark_timestamp_seconds", watermark_ms / 1000, topic=topic)
