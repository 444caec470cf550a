"""Real Faust workers with the batch transport, in a process of their own: Faust leaves threads and loops behind.

`python -m tests.streaming.batch_scenarios NAME BOOTSTRAP PREFIX HOME` plays a scenario and prints what was seen as JSON.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from streaming.app import StreamSettings, _faust_app
from streaming.batches import BatchApp
from streaming.clock import ClockRules
from streaming.reading import Layout

PARTITIONS = 2
LIMIT_S = 60.0
STATE = ("_acked", "_acked_index", "_unacked_messages", "_buffered_partitions", "flow_active", "should_stop")
"""Attributes of the stock consumer that ours reads or clears."""
Facts = dict[str, Any]


class Place:
    """Two topics, one that is read in batches and one that is not, and what a group has committed of them."""

    def __init__(self, bootstrap: str, prefix: str, home: Path) -> None:
        """Make the topics."""
        self.bootstrap, self.prefix, self.home = bootstrap, prefix, home
        self.batched, self.plain = f"{prefix}batched", f"{prefix}plain"
        client = KafkaAdminClient(bootstrap_servers=bootstrap)
        client.create_topics([NewTopic(self.batched, PARTITIONS, 1), NewTopic(self.plain, PARTITIONS, 1)])
        client.close()
        self.producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
        self.asking = KafkaConsumer(bootstrap_servers=bootstrap, group_id=f"{prefix}group", enable_auto_commit=False)

    def publish(self, topic: str, partition: int, count: int) -> None:
        """Publish records and wait for them."""
        for number in range(count):
            self.producer.send(topic, partition=partition, value=b"%d" % number)
        self.producer.flush()

    def committed(self, topic: str, partition: int = 0) -> int:
        """The group's committed offset; 0 where there is none."""
        return self.asking.committed(TopicPartition(topic, partition)) or 0


class Worker:
    """A Faust app with an agent on each topic, which keeps its events and acknowledges nothing by itself."""

    def __init__(self, place: Place, name: str) -> None:
        """Declare the agents."""
        settings = StreamSettings(
            group=f"{place.prefix}group",
            bootstrap=(place.bootstrap,),
            prefix=place.prefix,
            redis_url="",
            layout=Layout(PARTITIONS, PARTITIONS, ClockRules("replay", 0)),
            topic_ids={},
            data_dir=place.home / name,
            session_timeout_s=6.0,
        )
        self.app: BatchApp = _faust_app(settings)
        self.batches: list[Any] = []
        self.records: list[Any] = []
        self._declare(self.app.batch_topic(place.batched, maxsize=16), f"{name}-batched", self.batches)
        plain = self.app.topic(place.plain, key_serializer="raw", value_serializer="raw")
        self._declare(plain, f"{name}-plain", self.records)

    def _declare(self, topic: Any, name: str, kept: list[Any]) -> None:
        async def handle(stream: Any) -> None:
            async for event in stream.noack().events():
                kept.append(event)  # noqa: PERF401 -- the stream never ends

        self.app.agent(topic, name=name)(handle)

    def owned(self, topic: str) -> list[int]:
        """Partitions of a topic that are ours."""
        return sorted(place.partition for place in self.app.consumer.assignment() if place.topic == topic)

    def offsets(self, partition: int) -> list[int]:
        """Offsets of the records delivered in batches of a partition, in order."""
        mine = [event for event in self.batches if event.message.partition == partition]
        return [record.offset for event in mine for record in event.value]


async def until(met: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(LIMIT_S):
        while not met():  # noqa: ASYNC110 -- Faust offers no event for what is waited for
            await asyncio.sleep(0.05)


async def acknowledged(worker: Worker, *events: Any) -> None:
    """Acknowledge events in this order and commit."""
    for event in events:
        event.ack()
    await worker.app.consumer.commit()


async def prefixes(place: Place) -> Facts:
    """Fifty records of each partition in one fetch, two fetches more, acknowledged out of order."""
    for partition in range(PARTITIONS):
        place.publish(place.batched, partition, 50)
    place.publish(place.plain, 0, 5)
    worker = Worker(place, "one")
    await worker.app.start()
    await until(lambda: all(len(worker.offsets(p)) == 50 for p in range(PARTITIONS)) and len(worker.records) == 5)
    at_once = len(worker.batches)
    for count in (60, 70):
        place.publish(place.batched, 0, 10)
        await until(lambda count=count: len(worker.offsets(0)) == count)  # type: ignore[misc]
    facts: Facts = {
        "batches_at_once": at_once,
        "offsets": [worker.offsets(partition) for partition in range(PARTITIONS)],
        "partitions": [sorted({r.partition for r in e.value} | {e.message.partition}) for e in worker.batches],
        "last_is_the_messages": all(event.message.offset == event.value[-1].offset for event in worker.batches),
        "plain": [event.value.decode() for event in worker.records],
        "state_missing": [name for name in STATE if not hasattr(worker.app.consumer, name)],
    }
    first, *later = [event for event in worker.batches if event.message.partition == 0]
    await acknowledged(worker, *later, *worker.records[:2], *worker.records[3:])
    facts["before"] = [place.committed(place.batched), place.committed(place.plain)]
    await acknowledged(worker, first, *worker.batches, worker.records[2])  # some a second time
    facts["after"] = [*(place.committed(place.batched, p) for p in range(PARTITIONS)), place.committed(place.plain)]
    await worker.app.stop()
    return facts


async def rebalance(place: Place) -> Facts:
    """A second worker takes a partition over while its batch is in flight; the first acknowledges too late."""
    for partition in range(PARTITIONS):
        place.publish(place.batched, partition, 10)
    old, new = Worker(place, "old"), Worker(place, "new")
    await old.app.start()
    await until(lambda: all(len(old.offsets(p)) == 10 for p in range(PARTITIONS)))
    in_flight = list(old.batches)
    await new.app.start()
    await until(lambda: len(old.owned(place.batched)) == len(new.owned(place.batched)) == 1)
    [moved] = new.owned(place.batched)
    facts: Facts = {"together": [w.owned(place.plain) == w.owned(place.batched) for w in (old, new)]}
    await until(lambda: len(new.offsets(moved)) >= 10)
    await acknowledged(old, *in_flight)
    facts["committed_too_late"] = place.committed(place.batched, moved)
    before = len(old.offsets(moved))
    place.publish(place.batched, moved, 10)
    await until(lambda: len(new.offsets(moved)) >= 20)
    await acknowledged(new, *new.batches)
    facts["new_read"], facts["old_read_more"] = new.offsets(moved), len(old.offsets(moved)) - before
    facts["committed"] = place.committed(place.batched, moved)
    await old.app.stop()
    await new.app.stop()
    return facts


async def sought(place: Place) -> Facts:
    """A seek to what is committed, as after a rebalance, where one partition has a commit and the other has none."""
    for partition in range(PARTITIONS):
        place.publish(place.batched, partition, 10)
    worker = Worker(place, "one")
    await worker.app.start()
    await until(lambda: all(len(worker.offsets(p)) == 10 for p in range(PARTITIONS)))
    await acknowledged(worker, *(event for event in worker.batches if event.message.partition == 0))
    await worker.app.consumer.perform_seek()
    for partition in range(PARTITIONS):
        place.publish(place.batched, partition, 1)
    await until(lambda: all(10 in worker.offsets(p) for p in range(PARTITIONS)))
    facts: Facts = {"offsets": [worker.offsets(partition)[10:] for partition in range(PARTITIONS)]}
    await worker.app.stop()
    return facts


SCENARIOS: dict[str, Callable[[Place], Coroutine[Any, Any, Facts]]] = {
    "prefixes": prefixes,
    "rebalance": rebalance,
    "sought": sought,
}

if __name__ == "__main__":
    name, bootstrap, prefix, home = sys.argv[1:]
    print(json.dumps(asyncio.run(SCENARIOS[name](Place(bootstrap, prefix, Path(home))))))  # noqa: T201 -- its answer
