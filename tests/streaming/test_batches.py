"""The batch transport in a real Faust worker on the real Kafka: batches, prefix commits, rebalances; and its hooks."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from services.local.stack import Endpoints
from streaming.batches import BatchConsumer, BatchConsumerThread
from streaming.fetched import Gap
from streaming.offsets import PrefixLedger

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
OWN = {
    "rewind", "_to_batch", "_messages", "_forget", "_seek_back", "_seek_again", "gaps", "skip", "_answer", "_since",
    "committed", "in_flight",
}  # fmt: skip
"""Methods of the consumer that override nothing."""
USED = (
    "_wait_next_records", "_clean_unacked_messages", "_to_message", "maybe_wait_for_commit_to_finish", "seek_wait",
    "_commit_offsets", "position", "assignment",
)  # fmt: skip
"""What it calls of the stock consumer, besides what it overrides."""


def played(name: str, stack: Endpoints, prefix: str, home: Path) -> dict[str, Any]:
    """What a scenario of `batch_scenarios.py` saw."""
    command = [sys.executable, "-m", "tests.streaming.batch_scenarios", name, stack.kafka_bootstrap, prefix, str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_batches_are_delivered_and_their_acknowledged_prefix_is_committed(
    stack: Endpoints, topic_prefix: str, tmp_path: Path
) -> None:
    """One event per fetch and partition with all its records, or per record; a commit passes nothing in flight."""
    seen = played("prefixes", stack, topic_prefix, tmp_path)
    assert seen["offsets"] == [list(range(70)), list(range(50))]
    assert seen["batches_at_once"] <= 10  # of a hundred records
    assert all(len(partitions) == 1 for partitions in seen["partitions"])
    assert seen["last_is_the_messages"]
    assert seen["plain"] == ["0", "1", "2", "3", "4"]
    assert seen["state_missing"] == []
    assert seen["before"] == [0, 2]  # all but the first batch, all but the third record
    assert seen["after"] == [70, 50, 5]


def test_a_revoked_partition_is_its_new_owners_alone(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> None:
    """What was in flight is read again by the new owner; nothing more comes to the old one, whose late ack is void."""
    seen = played("rebalance", stack, topic_prefix, tmp_path)
    assert seen["together"] == [True, True]  # the same partitions of every topic
    assert seen["new_read"] == list(range(20))
    assert seen["old_read_more"] == 0
    assert seen["committed_too_late"] == 0
    assert seen["committed"] == 20


def test_what_has_nothing_committed_is_read_again_from_its_beginning(
    stack: Endpoints, topic_prefix: str, tmp_path: Path
) -> None:
    """A seek to what is committed takes both partitions back: what was dropped before the first commit is not lost."""
    seen = played("sought", stack, topic_prefix, tmp_path)
    assert seen["offsets"] == [[10], list(range(11))]


def test_the_pinned_faust_has_the_hooks() -> None:
    """Every method overridden exists in the stock classes, and so does what they call: another version may drift."""
    assert version("faust-streaming") == "0.15.3"
    assert hasattr(faust.App, "_new_transport")
    assert hasattr(driver.Transport, "Consumer")
    assert hasattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer")
    assert "_create_worker_consumer" in vars(BatchConsumerThread)
    overridden = {name for name, part in vars(BatchConsumer).items() if callable(part)} - OWN - {"__init__"}
    assert {name for name in (*overridden, *USED) if not hasattr(driver.Consumer, name)} == set()


TP_A, TP_B = TP("a", 0), TP("a", 1)


class Fetching(BatchConsumer):
    """The consumer without Kafka: one call brings a batch of each partition, and something happens during the call."""

    def __init__(self, meanwhile: Callable[["Fetching"], Awaitable[None]]) -> None:
        """Two partitions, nothing sought."""
        self.app: Any = SimpleNamespace(
            consumer_generation_id=1, monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None)
        )
        self._ledgers, self.epochs = defaultdict(PrefixLedger), defaultdict(int)
        self._rewound, self._next = {}, {}
        self._ledgers[TP_A], self._ledgers[TP_B] = PrefixLedger(), PrefixLedger()
        self._asked, self._committed_offset = [], {TP_B: 3}
        self._buffered_partitions: set[TP] = set()
        self.flow_active, self.meanwhile, self._dropped = True, meanwhile, False
        self.sought: list[object] = []

    should_stop = False

    async def _wait_next_records(self, timeout: float) -> tuple[Any, Any]:  # noqa: ARG002, ASYNC109
        await self.meanwhile(self)
        return {TP_A: ["old or new"], TP_B: ["other"]}, None

    def _messages(self, tp: TP, batch: list[Any]) -> list[Any]:  # noqa: ARG002
        return [SimpleNamespace(offset=5)]

    def assignment(self) -> set[TP]:
        """Both."""
        return {TP_A, TP_B}

    async def position(self, tp: TP) -> int:  # noqa: ARG002
        """Behind a marker."""
        return 8

    def highwater(self, tp: TP) -> int:  # noqa: ARG002
        """Of no interest."""
        return 9

    async def perform_seek(self) -> None:
        """Noted instead of asked of Kafka."""
        self._forget(list(self._ledgers))
        self._rewound.clear()
        self.sought.append("committed")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Noted instead of asked of Kafka."""
        self.sought.append(dict(partitions))


async def nothing(_consumer: Fetching) -> None:
    """Nothing happens during the call."""


def fetched(consumer: Fetching) -> list[TP]:
    """The partitions that one call yields."""

    async def run() -> list[TP]:
        return [tp async for tp, _ in consumer.getmany(1.0)]

    return asyncio.run(run())


def test_a_fetch_that_outlasts_a_rebalance_is_fetched_again() -> None:
    """Its records may lie behind the seek to what is committed: they are dropped, and the seek is made once more."""

    async def rebalance(consumer: Fetching) -> None:
        consumer.app.consumer_generation_id += 1
        await consumer.perform_seek()

    consumer = Fetching(rebalance)
    assert fetched(consumer) == []
    consumer.meanwhile = nothing
    assert fetched(consumer) == [TP_A, TP_B]
    assert consumer.sought == ["committed", "committed"]


def test_a_fetch_that_ends_while_the_flow_stands_still_leaves_what_is_to_be_committed() -> None:
    """Whoever stopped the flow commits what was acknowledged; what came meanwhile is sought again when the flow goes on."""

    async def stop(consumer: Fetching) -> None:
        consumer.flow_active = False

    consumer = Fetching(stop)
    consumer._ledgers[TP_A].deliver(2)
    consumer._ledgers[TP_A].ack(2)
    assert fetched(consumer) == []
    assert consumer.sought == []
    assert consumer._ledgers[TP_A].position() == 3
    consumer.flow_active, consumer.meanwhile = True, nothing
    assert fetched(consumer) == [TP_A, TP_B]
    assert consumer.sought == ["committed"]


def test_a_fetch_that_outlasts_a_rewind_is_fetched_again() -> None:
    """Only the partition that was rewound is sought again, to the same offset; the others are delivered."""

    async def rewind(consumer: Fetching) -> None:
        await consumer.rewind(TP_A, 3)

    consumer = Fetching(rewind)
    assert fetched(consumer) == [TP_B]
    assert consumer.sought == [{TP_A: 3}, {TP_A: 3}]


def test_what_was_rewound_stays_so_when_another_fetch_is_dropped() -> None:
    """Seeking to what is committed would pass over what Redis has lost."""

    async def stop(consumer: Fetching) -> None:
        consumer.flow_active = False

    consumer = Fetching(stop)
    assert fetched(consumer) == []
    asyncio.run(consumer.rewind(TP_A, 3))
    consumer.flow_active, consumer.meanwhile = True, nothing
    assert fetched(consumer) == [TP_A, TP_B]
    assert consumer.sought == [{TP_A: 3}, "committed", {TP_A: 3}]


def test_a_seek_without_a_reason_loses_nothing_either() -> None:
    """Whatever moved the positions during a fetch, what was dropped is read again from what is committed."""
    consumer = Fetching(Fetching.perform_seek)
    assert fetched(consumer) == []
    assert consumer.sought[0] == "committed"
    assert "committed" in consumer.sought[1:]


def test_a_gap_is_told_between_two_fetches_and_never_behind_a_batch_in_flight() -> None:
    """From what is acknowledged, or was committed before, to the position; a seek makes what was told void."""

    async def run() -> None:
        consumer = Fetching(nothing)
        first = asyncio.ensure_future(consumer.gaps(TP_A, TP_B))
        await asyncio.sleep(0)
        assert not first.done()
        assert [tp async for tp, _ in consumer.getmany(0)] == [TP_A, TP_B]
        assert await first == {TP_A: Gap(None, 8, 0), TP_B: Gap(3, 8, 0)}
        consumer._ledgers[TP_A].ack(5)
        second = asyncio.ensure_future(consumer.gaps(TP_A, TP_B))
        await asyncio.sleep(0)
        await anext(consumer.getmany(0))
        assert await second == {TP_A: Gap(6, 8, 0)}, "TP_B's batch is in flight"

    asyncio.run(run())
