"""What the owner of a partition does besides reading batches: sweep outboxes, follow the clock, fire timers.

One turn every second, and at once after an assignment; always inside the processor's lock.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from aiokafka.errors import KafkaError
from faust.types import TP

from streaming.catalog_reader import CatalogReader
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import INPUTS, STRATEGIES
from streaming.ends import LIMIT_S, Place
from streaming.fetched import Gap
from streaming.keys import seal_field
from streaming.processor import Processor
from streaming.reading import Fate
from streaming.timers import CLOCKED, Timers
from streaming.writes import Writes

TURN_S = 1.0
_READ = (*CLOCKED, STRATEGIES.name)


class Consumer(Protocol):
    """Faust's consumer, as far as it is asked here."""

    async def committed(self, *partitions: TP) -> dict[TP, int]:
        """The committed offsets now, of those that have one."""
        ...

    @property
    def epochs(self) -> Mapping[TP, int]:
        """Per partition a number that any seek raises."""
        ...

    async def gaps(self, *places: TP) -> dict[TP, Gap]:
        """Where there is nothing more to read."""
        ...

    async def skip(self, tp: TP, offset: int) -> None:
        """Commit that there is nothing to read before an offset."""
        ...


class Ends(Protocol):
    """Where partitions end."""

    async def now(self, places: Iterable[Place]) -> dict[Place, int]:
        """The end offsets of these partitions now."""
        ...


class Keeper:
    """Keeps what its partitions owe."""

    def __init__(
        self,
        processor: Processor,
        timers: Timers,
        catalog: CatalogReader,
        prefix: str,
        consumer: Callable[[], Consumer],
        ends: Ends,
    ) -> None:
        """Own nothing yet."""
        self._processor = processor
        self._timers = timers
        self._catalog = catalog
        self._prefix = prefix
        self._consumer = consumer
        self._ends = ends
        self._woken = asyncio.Event()
        self._ending = False
        self.owned: set[int] = set()
        self.joined = False
        self._unsure: set[int] = set()
        self.turns: list[Callable[[set[int]], Any]] = []
        self._gaps: asyncio.Future[dict[TP, Gap]] | None = None

    def assigned(self, partitions: set[int]) -> None:
        """These partitions of every input are ours from now on."""
        self.owned = set(partitions)
        self.joined = True
        self._processor.facts.count("rebalances", service="agents")
        self._gaps = None
        self._processor.drop_caches()
        self._timers.forget()
        self._timers.backlog.hold(self.owned)
        self._unsure = set(partitions)
        self._woken.set()

    def revoked(self) -> None:
        """Nothing is ours until the next assignment."""
        self.joined = False
        self.owned = set()
        self._gaps = None
        self._processor.drop_caches()
        self._timers.forget()

    def end(self) -> None:
        """No turn follows the one that is under way."""
        self._ending = True
        self._woken.set()

    async def run(self) -> None:
        """Turn until the end."""
        while not self._ending:
            with contextlib.suppress(TimeoutError):  # the ordinary turn
                await asyncio.wait_for(self._woken.wait(), TURN_S)
            self._woken.clear()
            self._processor.facts.gauge(
                "last_loop_timestamp_seconds", self._processor.wall_ms() / 1000, service="agents"
            )
            if self.owned and not self._ending:
                await self._processor.persistently(self._turn)

    async def _turn(self) -> None:
        owned = set(self.owned)
        await self._assure(owned)
        numbers = [number for partition in owned for number in self._timers.buckets(partition)]
        await self._processor.sweep(numbers)
        await self._dead_letter_catalog(owned)
        unasked = self._timers.backlog.unasked
        wall_ms = self._processor.wall_ms()  # before the ends: what is published after them is not older
        ends = await self._ends.now({*itertools.product(_READ, owned), *itertools.product([STRATEGIES.name], unasked)})
        await self._skip_gaps(owned, ends)
        self._timers.backlog.ask({partition: ends[STRATEGIES.name, partition] for partition in unasked})
        if self._processor.layout.clock.mode == "live":
            await self._follow_wall(ends, owned, wall_ms)
        for act in self.turns:
            await act(owned)
        await self._timers.catch_up(owned)

    async def sure(self, partition: int) -> None:
        """Before the first batch of a partition that was assigned."""
        if partition in self._unsure:
            await self._assure({partition})

    async def _assure(self, owned: set[int]) -> None:
        """Redis still is the one that was written to: as new as what was committed, and as it is known here.

        The sign of life says when. None is left while something has to be read again: the first one counts.
        """
        processor = self._processor
        if unsure := owned & self._unsure:
            for topic in INPUTS:
                for place, offset in (await self._committed(topic.name, unsure)).items():
                    processor.floors.reached(topic.name, place.partition, offset)
            processor.store.forget()
        await processor.load(owned)
        settled = [n for n in owned if not processor.floors.behind(processor.store.bucket(n))]
        if not await processor.store.stamp(settled, processor.wall_ms()):
            processor.store.forget()
            await processor.load(owned)
        self._unsure -= owned

    async def _committed(self, topic: str, partitions: Iterable[int]) -> dict[TP, int]:
        places = [TP(self._prefix + topic, partition) for partition in partitions]
        try:
            return await asyncio.wait_for(self._consumer().committed(*places), LIMIT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error

    async def _skip_gaps(self, owned: set[int], ends: Mapping[Place, int]) -> None:
        """Seal what no record fills up to a partition's end: markers of transactions, records that expired unread.

        Without it such a partition would count as not read for ever, and no horizon would close on it. The consumer answers
        when it has time, which may be after this turn: it may be waiting for the turn itself.
        """
        await self._processor.load(owned)
        if self._gaps is not None and self._gaps.done():
            gaps, self._gaps = self._gaps.result(), None
            for place, gap in gaps.items():
                await self._skip(place, gap)
        if self._gaps is None:
            behind = [
                TP(self._prefix + topic, partition)
                for topic, partition in itertools.product(_READ, owned)
                if self._timers.sealed(topic, partition) < ends[topic, partition]
            ]
            if behind:
                self._gaps = asyncio.ensure_future(self._consumer().gaps(*behind))

    async def _skip(self, place: TP, gap: Gap) -> None:
        topic = place.topic.removeprefix(self._prefix)
        await self._processor.load([place.partition])
        sealed = self._timers.sealed(topic, place.partition)
        if gap.since is not None and sealed < gap.since:
            return  # Redis is older than what was acknowledged: the records between are to be read again
        if sealed < gap.upto and self._consumer().epochs[place] == gap.epoch:
            writes = Writes()
            writes.meta[seal_field(topic, place.partition)] = str(gap.upto)
            await self._processor.commit({place.partition: writes})
            await self._consumer().skip(place, gap.upto)

    async def _follow_wall(self, ends: Mapping[Place, int], owned: set[int], wall_ms: int) -> None:
        await self._processor.load(owned)
        idle = [place for place in itertools.product(CLOCKED, owned) if self._timers.sealed(*place) >= ends[place]]
        await self._timers.follow_wall(idle, wall_ms)

    async def _dead_letter_catalog(self, owned: set[int]) -> None:
        """Bad reference records, each once: the seal of their partition guards them."""
        fate: Fate = "dead_lettered"
        for bad in [each for each in self._catalog.bad if each.partition in owned]:
            self._catalog.bad.remove(bad)
            await self._processor.load([bad.partition])
            if bad.offset < self._processor.store.bucket(bad.partition).sealed(bad.topic, bad.partition):
                continue
            writes = Writes()
            writes.meta[seal_field(bad.topic, bad.partition)] = str(bad.offset + 1)
            writes.counts[f"f|{bad.topic}|{bad.partition}|{fate}"] += 1
            writes.outbox.append(bad.letter)
            await self._processor.commit({bad.partition: writes})
            self._processor.facts.count("dead_letters", reason="bad_reference")
