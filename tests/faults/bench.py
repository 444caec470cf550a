"""The bench that faults are tried on: recorded input in a world of its own, agents to be disturbed, what they leave."""

import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from kafka import TopicPartition
from kafka.admin import MemberToRemove
from prometheus_client.parser import text_string_to_metric_families

from services.clients import admin, producer, topic_name, whole_topic_consumer
from services.local.broker import pick_free_ports
from services.settings import AgentsSettings
from streaming.contracts.topics import (
    ADS_EVENTS,
    DEAD_LETTERS,
    INPUTS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
    TopicSpec,
)
from streaming.control import Books
from streaming.keys import BucketKeys
from tests.faults.canonical import Outcome
from tests.faults.processes import Agents
from tests.faults.recorded import Said
from tests.streaming.edge_world import World

OUT: dict[TopicSpec, str] = {
    REQUESTS: "request_id",
    SUPPRESSIONS: "suppression_id",
    REWARDS: "reward_id",
    STRATEGIES: "strategy_id",
}
"""Topics whose messages have ids, and the fields that hold them."""
CLOCKED = (SHOP_EVENTS.name, ADS_EVENTS.name)


class FaultWorld(World):
    """A world with a recorded input.

    Attributes:
        ends_of: (topic without prefix, partition) → end offset of what was published so far.
    """

    limit_s = 120.0

    def __init__(self, settings: AgentsSettings, log: Path, published_ms: int) -> None:
        """Make the topics.

        Args:
            published_ms: the Kafka timestamp of every record, so that dead letters of two runs are alike.
        """
        super().__init__(settings, log)
        self.published_ms = published_ms
        self.ends_of: dict[tuple[str, int], int] = {}
        self.ports: dict[int, int] = {}

    # -- in

    def say(self, records: Iterable[Said]) -> None:
        """Publish records in their order, and wait until they are acknowledged."""
        sender = self._producers.get("said")
        if sender is None:
            sender = self._producers["said"] = producer(self.settings, linger_ms=20)
        sent = [
            (
                each.topic,
                sender.send(
                    self.settings.topic_prefix + each.topic,
                    key=each.key,
                    value=each.value,
                    partition=each.partition,
                    timestamp_ms=self.published_ms,
                ),
            )
            for each in records
        ]
        for topic, future in sent:
            place = future.get(60)
            end = max(self.ends_of.get((topic, place.partition), 0), place.offset + 1)
            self.ends_of[topic, place.partition] = end

    # -- the agents

    def fork(self, trap: str = "", **environ: str) -> Agents:
        """Start an agents process at once, by a fork; `trap` is code that runs before it."""
        port = pick_free_ports()[0]
        made = Agents(trap, self.environ(**{"METRICS_PORT": str(port)} | environ), self.log)
        self.processes.append(cast("Any", made))  # World ends it like one of its own
        self.ports[made.pid] = port
        return made

    def bury(self, name: str = "agents") -> None:
        """Take dead members out of the group at once, where Kafka would wait for the end of their session.

        Every process must have ended.
        """
        client = admin(self.settings)
        group = self.settings.group_prefix + name
        found = client.describe_groups([group])
        described = found[group] if isinstance(found, dict) else found[0]
        members = [MemberToRemove(member_id=each["member_id"]) for each in described["members"]]
        client.remove_group_members(group, members)
        client.close()

    def metrics(self, process: Agents) -> defaultdict[str, float]:
        """What a process tells at `/metrics`: every sample of ours, summed over its labels; 0 for what it does not tell."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[process.pid]}/metrics", timeout=30) as response:
            text = response.read().decode()
        summed: defaultdict[str, float] = defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                summed[sample.name.removeprefix("stratagem_")] += sample.value
        return summed

    # -- out

    def settled(self) -> bool:
        """Whether all that was said has been applied, every timer up to the horizon fired, every message published.

        A timer leaves its index in the call that fills the outbox, so outboxes are looked at again after the timers:
        what was fired between two looks must not be taken for published.
        """
        books = self.books()
        applied = all(
            books.offsets.get(topic, {}).get(partition, 0) >= end
            for (topic, partition), end in self.ends_of.items()
            if topic in {each.name for each in INPUTS}
        )
        return applied and not books.outbox and not self._due(books) and not self.books().outbox

    def _due(self, books: Books) -> bool:
        """Whether a timer is still to fire."""
        asking = self.client.pipeline(transaction=False)
        for bucket in range(self.settings.buckets):
            watermarks = [
                books.watermarks_ms.get(topic, {}).get(bucket % self.settings.partitions, 0) for topic in CLOCKED
            ]
            asking.zcount(BucketKeys.of(self.settings.topic_prefix, bucket).due, "-inf", min(watermarks))
        return any(asking.execute())

    def finish(self, *, bad_reference: int = 0) -> Outcome:
        """Wait until everything has settled, stop the agents, and read what they leave."""
        self.wait(lambda: self._refused_references() >= bad_reference and self.settled(), "the end of the input")
        self.stop()
        return self.outcome()

    def _refused_references(self) -> int:
        return sum(count for name, count in self.fates_by_partition().items() if name.startswith("shop.ca"))

    def fates_by_partition(self) -> dict[str, int]:
        """`topic|partition|fate` → records, over all buckets."""
        asking = self.client.pipeline(transaction=False)
        for bucket in range(self.settings.buckets):
            asking.hgetall(BucketKeys.of(self.settings.topic_prefix, bucket).meta)
        counts: defaultdict[str, int] = defaultdict(int)
        for meta in asking.execute():
            for field, value in meta.items():
                if field.startswith(b"f|"):
                    counts[field[2:].decode()] += int(value)
        return dict(counts)

    def outcome(self) -> Outcome:
        """Everything that is left, decoded."""
        messages, contents, letters = self._messages()
        return Outcome(
            customers={user: _customer(row) for user, row in self.rows().items()},
            open=self.open_states(),
            rewards={each["reward_id"]: each for each in messages[REWARDS.name]},
            letters=letters,
            fates=self.fates_by_partition(),
            contents=contents,
            requests=messages[REQUESTS.name],
            suppressions=messages[SUPPRESSIONS.name],
            strategies=messages[STRATEGIES.name],
        )

    def _messages(self) -> tuple[dict[str, list[Any]], dict[str, set[bytes]], dict[str, Any]]:
        """Messages of the topics with ids, the contents of each id, the dead letters."""
        messages: dict[str, list[Any]] = {topic.name: [] for topic in OUT}
        contents: defaultdict[str, set[bytes]] = defaultdict(set)
        letters: dict[str, Any] = {}
        fields = {topic.name: field for topic, field in OUT.items()}
        for topic, record in self._records((*OUT, DEAD_LETTERS)):
            if topic == DEAD_LETTERS.name:
                id_, letter = _letter(record)
                letters[id_] = letter
                contents[f"{topic} {id_}"].add(repr(letter).encode())
            elif (message := _json(record.value)) and isinstance(message.get(fields[topic]), str):
                messages[topic].append(message)
                contents[f"{topic} {message[fields[topic]]}"].add(record.value)
        return messages, dict(contents), letters

    def _records(self, topics: Iterable[TopicSpec]) -> list[tuple[str, Any]]:
        """All records of some topics now, in the order of each partition."""
        listed = list(topics)
        consumer = whole_topic_consumer(self.settings, listed[0])
        names = {topic_name(self.settings, topic): topic.name for topic in listed}
        places = [TopicPartition(name, p) for name in names for p in sorted(consumer.partitions_for_topic(name) or ())]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        ends = consumer.end_offsets(places)
        found: list[tuple[str, Any]] = []
        give_up_s = time.monotonic() + 60
        while any(consumer.position(place) < end for place, end in ends.items()) and time.monotonic() < give_up_s:
            for place, batch in consumer.poll(500).items():
                found += [(names[place.topic], record) for record in batch]
        consumer.close()
        return found


def _customer(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row does not follow the order between topics."""
    return {name: row.get(name) for name in ("arm", "profile", "alias_of", "state")} | {
        "merged": sorted(row.get("merged", {}))
    }


def _letter(record: Any) -> tuple[str, dict[str, Any]]:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    letter = {"headers": headers, "key": repr(record.key), "value": repr(record.value)}
    place = f"{headers['topic']}|{headers['partition']}|{headers['offset']}"
    return (place if headers["topic"] else f"{headers['reason']}|{letter['key']}|{letter['value']}"), letter


def _json(value: bytes | None) -> dict[str, Any] | None:
    try:
        found = json.loads(value or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
