"""One Faust event per fetched batch and partition, explicit acknowledgements, commits of the acknowledged prefix.

Faust's own path costs one asyncio round per record; here `getmany` hands over what one fetch brought of a topic that
`BatchApp.batch_topic` declared; other topics give one event per record. All else is stock Faust: the only hook is
`App._new_transport`. Written against faust-streaming 0.15.3, whose private names it
uses; `tests/streaming/test_batches.py` starts a real worker and catches drift.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, ClassVar, cast

import faust
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streaming.fetched import Fetched, Gap
from streaming.offsets import PrefixLedger

WAIT_EMPTY_POLL_S = 0.02
FETCH_WAIT_MS = 50
"""The longest a broker keeps a fetch for which it has no record."""


class BatchSchema(faust.Schema[Any, Any]):
    """Passes a batch through undecoded: `event.value` is a list of aiokafka's `ConsumerRecord`, raw bytes inside."""

    def loads_key(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        """The key of the batch's last record, as read."""
        return message.key

    def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # noqa: ARG002
        """The list of records."""
        return message.value


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The stock thread with the range assignor, so that one worker owns partition p of *every* input topic."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Stock Faust without tables takes round-robin, which splits a customer's topics between workers.
        consumer._partition_assignment_strategy = [RangePartitionAssignor]  # noqa: SLF001 -- read at its start only
        # A publisher's transaction that was aborted never happened; stock Faust reads it where it writes none itself.
        consumer._isolation_level = "read_committed"  # noqa: SLF001 -- read at its start only
        # One fetch per broker is under way at a time. While it waits for idle partitions, a busy one that has been drained
        # since cannot be asked for: stock Faust's 1.5 s would be the delay of its records.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 -- read at its start only
        return consumer

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """As stock; what has nothing committed goes to its beginning, where aiokafka would let it stay.

        What was fetched and dropped amid the first rebalance would never be read.
        """
        found = await super().seek_to_committed()
        if unread := [tp for tp, offset in found.items() if not offset]:
            await self.call_thread(self._ensure_consumer().seek_to_beginning, *unread)
        return found


class BatchConsumer(driver.Consumer):
    """Yields one message per fetched batch of the batch topics, and commits prefixes of batches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As stock, with a ledger per partition, and an epoch that every seek ends."""
        self._ledgers: defaultdict[TP, PrefixLedger] = defaultdict(PrefixLedger)
        self.epochs: defaultdict[TP, int] = defaultdict(int)
        self._rewound: dict[TP, int] = {}
        self._next: dict[TP, int] = {}
        self._dropped = False
        self._asked: list[tuple[tuple[TP, ...], asyncio.Future[dict[TP, Gap]]]] = []
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109
        """One message per partition of one fetch; nothing while the flow is stopped or the generation changed.

        One call may outlast a whole rebalance, or a rewind. What it brings may have been fetched before the seek or after
        it; it is dropped, and since that moves the position, the seek is made once more. Not before the flow goes on:
        seeking forgets what is acknowledged, and whoever stopped the flow has yet to commit that.
        """
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())  # the seek of a rebalance is over then
        await self._seek_back()
        await self._answer()
        generation, epochs = self.app.consumer_generation_id, dict(self.epochs)
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active or (records and self.app.consumer_generation_id != generation):
            self._dropped = True
            return
        for aiokafka_tp, batch in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return  # the rebalance seeks to what is committed
            tp = ensure_TP(aiokafka_tp)
            if epochs.get(tp, 0) != self.epochs[tp]:
                await self._seek_again(tp)
                continue
            if batch and (active is None or tp in active):
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                for message in self._messages(tp, batch):
                    if self.app.consumer_generation_id != generation or epochs.get(tp, 0) != self.epochs[tp]:
                        break  # revoked or rewound while Faust took the records before: those were fetched earlier
                    self._ledgers[tp].deliver(message.offset)
                    yield tp, message

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: delivery waits for a full channel by itself, whose owner is the one that all channels wait for.

        Stock Faust would stop asking for the partition, and ask again after up to a second in which others have nothing.
        """

    async def gaps(self, *places: TP) -> dict[TP, Gap]:
        """Where these partitions have nothing more to read: behind a transaction's marker, or records that expired.

        Partitions with a batch in flight are left out. Answered between two fetches: then what was fetched has been
        delivered.
        """
        answer: asyncio.Future[dict[TP, Gap]] = asyncio.get_running_loop().create_future()
        self._asked.append((places, answer))
        return await answer

    async def _answer(self) -> None:
        asked, self._asked = self._asked, []
        for places, answer in asked:
            since = {tp: self._since(tp) for tp in places if tp in self.assignment()}
            found = {}
            try:
                for tp, offset in since.items():
                    if not self._ledgers[tp].in_flight and (upto := await self.position(tp)) is not None:
                        found[tp] = Gap(offset, upto, self.epochs[tp])
            except KafkaError as error:  # amid a rebalance
                self.log.info("no position: %r", error)
            if not answer.done():
                answer.set_result(found)

    def _since(self, tp: TP) -> int | None:
        """The next offset after what is acknowledged, else where reading began; None: at the first record there is."""
        acknowledged = self._ledgers[tp].position()
        return acknowledged if acknowledged is not None else self._rewound.get(tp, self._committed_offset.get(tp))

    async def skip(self, tp: TP, offset: int) -> None:
        """Commit that there is nothing to read before an offset."""
        await self._commit_offsets({tp: offset}, start_new_transaction=False)

    def _messages(self, tp: TP, batch: list[Any]) -> Iterable[ConsumerMessage]:
        """The batch as one message, or one each for the records of a topic that is not read in batches."""
        if tp.topic in cast("BatchApp", self.app).batch_topics:
            return (self._to_batch(tp, batch),)
        return (self._to_message(tp, record) for record in batch)

    async def _seek_back(self) -> None:
        """What was fetched and dropped has to be fetched again; what was rewound since the last rebalance, from there."""
        if not self._dropped:
            return
        self._dropped, rewound = False, dict(self._rewound)
        try:
            await self.perform_seek()
            if rewound:
                self._rewound.update(rewound)
                await self.seek_wait(rewound)
        except KafkaError as error:  # amid a rebalance nothing is assigned; its end seeks to what is committed
            self.log.info("not sought while rebalancing: %r", error)

    def _to_batch(self, tp: TP, batch: list[Any]) -> ConsumerMessage:
        message: Any = self._to_message(tp, batch[-1])
        message.value = Fetched(batch)
        message.value.epoch, message.value.since = self.epochs[tp], self._next.get(tp)
        self._next[tp] = batch[-1].offset + 1
        return cast("ConsumerMessage", message)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: the distance between two batches is not a gap."""

    def ack(self, message: Any) -> bool:
        """Count the batch as done, if it was delivered in this generation."""
        done = bool(super().ack(message))
        if message.generation_id == self.app.consumer_generation_id:
            self._ledgers[message.tp].ack(message.offset)
        return done

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self._ledgers[tp].position()

    async def perform_seek(self) -> None:
        """Forget what was delivered, then seek to what is committed."""
        self._forget(list(self._ledgers))
        self._rewound.clear()
        await super().perform_seek()

    async def seek(self, partition: TP, offset: int) -> None:
        """Forget what was delivered of this partition, then seek."""
        self._forget([partition])
        await super().seek(partition, offset)

    async def rewind(self, tp: TP, offset: int) -> None:
        """Read a partition again from an earlier offset; batches fetched before are recognised by their epoch."""
        self._forget([tp])
        self._rewound[tp] = offset
        await self.seek_wait({tp: offset})

    def in_flight(self) -> dict[str, int]:
        """Per topic the batches that were fetched and are not acknowledged; bounded, because fetching waits for them."""
        waiting: dict[str, int] = {}
        for tp, ledger in list(self._ledgers.items()):
            waiting[tp.topic] = waiting.get(tp.topic, 0) + ledger.unacked
        return waiting

    async def committed(self, *partitions: TP) -> dict[TP, int]:
        """The committed offsets of these assigned partitions, of those that have one; asked of Kafka."""
        thread = self._thread
        ask = thread._ensure_consumer().committed  # noqa: SLF001 -- stock Faust asks it like this, too
        found = {tp: await thread.call_thread(ask, tp) for tp in partitions}
        return {tp: offset for tp, offset in found.items() if offset is not None}

    async def _seek_again(self, tp: TP) -> None:
        if tp in self._rewound:
            await self.seek_wait({tp: self._rewound[tp]})
        else:
            self._dropped = True
            await self._seek_back()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Finish and commit what is in flight (stock), then forget."""
        await super().on_partitions_revoked(revoked)
        self._forget(revoked)

    def _forget(self, partitions: Iterable[TP]) -> None:
        for tp in partitions:
            self._ledgers[tp].clear()
            self._next.pop(tp, None)
            self.epochs[tp] += 1

    async def wait_empty(self) -> None:
        """Wait, but not for ever, for batches in flight; then commit. Stock waits without limit."""
        give_up_s = time.monotonic() + self.app.conf.broker_session_timeout / 2
        while self._unacked_messages and time.monotonic() < give_up_s:
            await asyncio.sleep(WAIT_EMPTY_POLL_S)
            self._clean_unacked_messages()
        await self.commit_and_end_transactions()

    async def commit_and_end_transactions(self) -> None:
        """Commit all that is acknowledged. A commit under way began with less; stock waits for it, and commits nothing."""
        while await self.maybe_wait_for_commit_to_finish():
            pass
        await super().commit_and_end_transactions()


class BatchTransport(driver.Transport):
    """Stock aiokafka transport with the batch consumer."""

    Consumer: ClassVar[type[Any]] = BatchConsumer


class BatchApp(faust.App):
    """A Faust app whose consumer delivers batches of some topics."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As stock, with no topic read in batches yet."""
        self.batch_topics: set[str] = set()
        super().__init__(*args, **kwargs)

    def batch_topic(self, name: str, *, maxsize: int) -> Any:
        """A topic that is read in batches, `maxsize` of which may wait for their agent."""
        self.batch_topics.add(name)
        return self.topic(name, schema=BatchSchema(), maxsize=maxsize)

    def _new_transport(self) -> Any:
        return BatchTransport(self.conf.broker_consumer, self)
