"""A fetched batch from end to end: read, fold, one script call per bucket, publish, clear; then what time has brought.

Order of writing: buckets first, then the partition's *seal* in its home bucket (the bucket with the partition's
number): how far the partition was applied everywhere, its watermark there, and the fates of records without a
customer. A crash between the two repeats the batch; buckets that have it skip it, so that the seal's watermark, by
which lateness is judged, is always the one that belongs to its offset.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

from msgspec.structs import replace

from streaming.batch import Batch, Rewind
from streaming.bucket import Bucket
from streaming.core import Context
from streaming.effects import MERGE, Fact, Publish, merge_of
from streaming.facts import Facts
from streaming.floors import Floors
from streaming.folding import Folding, count_without_customer, fold_item
from streaming.keys import offset_field, seal_field, watermark_field
from streaming.merging import Owned, merge_rows, owners
from streaming.outbox import Outbox
from streaming.reading import Incoming, Item, Layout, Reader, mispartitioned_ms
from streaming.recall import Recall
from streaming.row import applied_key, is_replay, with_applied
from streaming.store import Store
from streaming.turns import Turns
from streaming.writes import Writes

MARK_AGAIN_MS = 60_000
"""Event time after which a record in a wrong partition is marked again: not with every batch."""
TIMELY_MS = 5_000
"""A record that is applied within this of its Kafka timestamp is counted as timely."""

_log = logging.getLogger(__name__)


Pair = tuple[Item, Incoming]


async def _nothing(_partition: int) -> None:
    """Nobody has to make sure of a partition."""


async def _nowhere(_topic: str, _partition: int, _offset: int) -> None:
    """No consumer is there yet: nowhere to go to, and no record to be found."""


class Processor:
    """Applies batches to the store, one at a time: a lock orders the topics' batches inside a process.

    Args:
        context: makes the context of decisions (reference, rules, windows) for one attempt.
        wall_ms: the wall clock.

    Attributes:
        rewind: reads a partition again: topic, partition, offset.
        next_record: the offset of the first record at or after an offset, None where there is none: the same three.
        before_batch: called with the partition before a batch of it is applied, inside the same turn.
        after_batch: called with topic and partition once a batch is sealed, inside the same turn.
    """

    def __init__(
        self,
        store: Store,
        outbox: Outbox,
        layout: Layout,
        context: Callable[[], Context],
        facts: Facts,
        wall_ms: Callable[[], int],
        recall: Recall,
    ) -> None:
        """Own the lock; nothing is read yet."""
        self.store = store
        self.outbox = outbox
        self.layout = layout
        self.context = context
        self.facts = facts
        self.wall_ms = wall_ms
        self.recall = recall
        self.rewind: Callable[[str, int, int], Awaitable[None]] = _nowhere
        self.next_record: Callable[[str, int, int], Awaitable[int | None]] = _nowhere
        self.before_batch: Callable[[int], Awaitable[None]] = _nothing
        self.after_batch: Callable[[str, int], Awaitable[None]] | None = None
        self.turns = Turns(store, facts)
        self.floors = Floors()

    @property
    def waiting(self) -> bool:
        """Something we depend on did not answer at the last try."""
        return self.turns.waiting

    def drop_caches(self) -> None:
        """After a rebalance: forget all buckets before the next turn (not amid one)."""
        self.turns.drop_caches()

    async def batch(self, batch: Batch) -> None:
        """Apply one batch, however often it takes.

        Raises:
            Rewind: the partition has to be read from an earlier offset.
        """
        began_s = time.monotonic()
        await self.persistently(lambda: self._apply(batch))
        self.facts.observe("batch_size", len(batch.records), service="agents")
        self.facts.observe("batch_seconds", time.monotonic() - began_s)
        arrived_s = batch.records[-1].timestamp / 1000
        wall_ms = self.wall_ms()
        self.facts.gauge("event_lag_seconds", max(0.0, wall_ms / 1000 - arrived_s), topic=batch.topic)
        timely = sum(record.timestamp >= wall_ms - TIMELY_MS for record in batch.records)
        self.facts.count("folded", timely, topic=batch.topic, timely="yes")
        self.facts.count("folded", len(batch.records) - timely, topic=batch.topic, timely="no")

    async def persistently(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it until it is done: what is unavailable is waited for, a lost race is run again."""
        await self.turns.persistently(act)

    async def load(self, numbers: Iterable[int]) -> None:
        """Load buckets, and publish what a crash left in their outboxes before anything new."""
        missing = [number for number in numbers if not self.store.holds(number)]
        left = await self.store.load(missing)
        while self.store.recreated:
            _log.warning("%s was deleted and made again: its old offsets are void", self.store.recreated.pop())
        if self.store.suspect:
            await self._suspect(missing)
        for number in missing:
            home = self.store.bucket(number)
            if older := self.floors.older(home):
                await self._read_again(home, older)
        if left:
            await self.release(left)

    async def _suspect(self, numbers: Iterable[int]) -> None:
        """A Redis that was started again may lack a bucket's last write though no seal tells: what was said, was said."""
        stamps_ms = [stamp_ms for number in numbers if (stamp_ms := self.store.bucket(number).stamp_ms)]
        if not stamps_ms:
            return  # none of them is the home of a partition that somebody owned: the next ones will tell
        if await self.store.another_process():
            await self.recall.read_back(min(stamps_ms))
        self.store.suspect = False

    async def _read_again(self, home: Bucket, older: dict[str, int]) -> None:
        """Redis came back older: remember what was said meanwhile, then read what it has not applied."""
        _log.warning("partition %d: Redis has applied %s only and reads again from there", home.number, older)
        await self.recall.read_back(home.stamp_ms)
        for topic, sealed in older.items():
            await self.rewind(topic, home.number, sealed)
        self.floors.came_back(home)

    async def commit(self, all_writes: dict[int, Writes]) -> None:
        """Write, publish, clear."""
        if all_writes:
            await self.release(await self.store.write(all_writes))

    async def release(self, entries: dict[int, list[tuple[str, Publish]]]) -> None:
        """Publish, carry out what is no message, then clear; a failure leaves everything to be swept."""
        if not any(entries.values()):
            return
        done = await self.outbox.publish(entries)
        intents = [(n, id_, entry) for n, each in entries.items() for id_, entry in each if entry.topic == MERGE]
        for number, id_, entry in intents:
            await merge_rows(self, merge_of(entry))
            done.setdefault(number, []).append(id_)
        await self.store.clear(done)

    async def sweep(self, numbers: Iterable[int]) -> None:
        """Release what lies in the outboxes of these buckets, whoever left it there."""
        found = await self.store.leftovers(numbers)
        if found:
            await self.load(found)  # which releases what lay in those that were not cached
            await self.release(await self.store.leftovers(found))

    async def _apply(self, batch: Batch) -> None:
        topic, partition = batch.topic, batch.partition
        await self.before_batch(partition)
        await self.load([partition])
        home = self.store.bucket(partition)
        sealed = home.sealed(topic, partition)
        first = batch.records[0].offset
        if first > sealed and not await self._joins(batch, sealed):
            await self.recall.read_back(home.stamp_ms)
            self.floors.owe(topic, partition, first)
            raise Rewind(sealed)
        fresh = [record for record in batch.records if record.offset >= sealed]
        if len(fresh) < len(batch.records):
            self.facts.count("replays_skipped", len(batch.records) - len(fresh), topic=topic)
        if not fresh:
            return
        reader = Reader(topic, partition, self.layout, home.watermark_ms(topic, partition), self.wall_ms())
        items = reader.read(fresh)
        await self._fold(batch, fresh, items)
        await self._seal(batch, items, reader.watermark_ms)
        if self.after_batch is not None:
            await self.after_batch(topic, partition)

    async def _joins(self, batch: Batch, sealed: int) -> bool:
        """Whether no record is left between what was applied and a batch that begins behind it."""
        if batch.since is not None and batch.since <= sealed:
            return True
        found = await self.next_record(batch.topic, batch.partition, sealed)
        return found is None or found >= batch.records[0].offset

    async def _fold(self, batch: Batch, records: Sequence[Incoming], items: Sequence[Item]) -> None:
        by_bucket: dict[int, list[Pair]] = {}
        for item, record in zip(items, records, strict=True):
            if item.bucket >= 0:
                by_bucket.setdefault(item.bucket, []).append((item, record))
        await self.load(by_bucket)
        for number, pairs in by_bucket.items():  # a bucket that was written before a crash has these already
            applied = self.store.bucket(number).applied(batch.topic, batch.partition)
            pairs[:] = [pair for pair in pairs if pair[0].offset >= applied]
        paused = await self.store.look({n: [item.user_id for item, _ in pairs] for n, pairs in by_bucket.items()})
        context = replace(self.context(), paused=paused)
        astray_ms = mispartitioned_ms(items)
        if astray_ms is not None and astray_ms >= (self.store.mixed_ms or 0) + MARK_AGAIN_MS:
            if not self.store.mixed:
                _log.warning("%s was not partitioned by murmur2: windows wait for every partition", batch.topic)
            await self.store.mark_mixed(astray_ms)
        owned = await self._redirect(batch, by_bucket, context)
        foldings = {}
        for number, pairs in by_bucket.items():
            if pairs:
                folding = Folding(self.store.bucket(number).states)
                own = [pair for pair in pairs if pair[0].user_id not in owned]
                self._fold_pairs(batch, folding, own, context)
                folding.writes.meta[offset_field(batch.topic, batch.partition)] = str(batch.next_offset)
                foldings[number] = folding
        await self.finish(foldings, context)

    async def _redirect(self, batch: Batch, by_bucket: dict[int, list[Pair]], context: Context) -> dict[str, Owned]:
        """Fold the records of merged anonymous ids where they belong; whose they are.

        Such a record may itself be an `identify`, by whose merge others of the batch belong elsewhere: they follow.
        """
        users = {item.user_id: number for number, pairs in by_bucket.items() for item, _ in pairs}
        owned: dict[str, Owned] = {}
        while (found := await owners(self, users)) != owned:
            owned = found
            await self._fold_redirected(batch, by_bucket, owned, context)
        return owned

    async def _fold_redirected(
        self, batch: Batch, by_bucket: dict[int, list[Pair]], owned: dict[str, Owned], context: Context
    ) -> None:
        """Records of merged anonymous ids go to their user's row, under that row's guard, before their own bucket's."""
        foldings: dict[int, Folding] = {}
        for pair in sorted((pair for pairs in by_bucket.values() for pair in pairs), key=lambda pair: pair[0].offset):
            item, record = pair
            if item.user_id not in owned:
                continue
            number, owner = owned[item.user_id]
            folding = foldings.setdefault(number, Folding(self.store.bucket(number).states))
            guard = applied_key(item.user_id, batch.topic, batch.partition, self.store.incarnation(batch.topic))
            state = folding.state(owner)
            if state is not None and is_replay(state.row, guard, item.offset):
                continue
            self._fold_pairs(batch, folding, [(replace(item, user_id=owner), record)], context)
            if (after := folding.state(owner)) is not None:
                folding.changed[owner] = replace(after, row=with_applied(after.row, guard, item.offset))
        await self.finish({number: each for number, each in foldings.items() if each.changed}, context)

    def _fold_pairs(self, batch: Batch, folding: Folding, pairs: Iterable[Pair], context: Context) -> None:
        for item, record in pairs:
            if context.watermark_ms != item.watermark_ms:
                context = replace(context, watermark_ms=item.watermark_ms)
            fold_item(folding, item, context, topic=batch.topic, partition=batch.partition, record=record)
            if item.mispartitioned:
                folding.facts.append(Fact("mispartitioned", {"topic": batch.topic}))

    async def finish(self, foldings: dict[int, Folding], context: Context) -> None:
        """Write what was folded, cache it, report it, publish it."""
        for folding in foldings.values():
            folding.settle(context)
        added = await self.store.write({number: folding.writes for number, folding in foldings.items()})
        for number, folding in foldings.items():
            self.store.keep(number, folding.states)
            self.report(folding.told)
        await self.release(added)

    def report(self, facts: Iterable[Fact]) -> None:
        """Hand facts to the observer."""
        for fact in facts:
            self.facts.count(fact.name, fact.value, **fact.labels)

    async def _seal(self, batch: Batch, items: Sequence[Item], watermark_ms: int | None) -> None:
        folding = Folding({})
        count_without_customer(folding, [i for i in items if i.bucket < 0], batch.topic, batch.partition)
        folding.writes.meta[seal_field(batch.topic, batch.partition)] = str(batch.next_offset)
        if watermark_ms is not None:
            folding.writes.meta[watermark_field(batch.topic, batch.partition)] = str(watermark_ms)
        await self.commit({batch.partition: folding.writes})
        self.floors.reached(batch.topic, batch.partition, batch.next_offset)
        self.report(folding.told)
