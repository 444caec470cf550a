"""Ten thousand poisoned records through real agents: each folded, ignored with a count, or dead-lettered with its reason.

Compared with what was sent, record by record: the agents' own books, the dead letters' origins and bytes, the metrics.
"""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from services.clients import producer, topic_name
from streaming.contracts.partition import partition_of
from streaming.contracts.topics import ADS_EVENTS, CAMPAIGNS, CATALOG, DEAD_LETTERS, SHOP_EVENTS, STRATEGIES, TopicSpec
from streaming.dead_letters import KEEP_WHOLE_BYTES, KEY_BYTES
from tests.faults import poison
from tests.faults.bench import FaultWorld
from tests.faults.conftest import MakeBench
from tests.faults.poison import Poison
from tests.faults.poison_fuzzed import fuzzed
from tests.faults.processes import Agents
from tests.faults.recorded import Recording, event
from tests.streaming.edge_world import START

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
SEED = 6
COUNT = 50_000 if os.environ.get("STRATAGEM_SOAK") else 10_000
FUZZED = 800
EVENT_TOPICS = (SHOP_EVENTS.name, ADS_EVENTS.name)
INPUT_NAMES = (*EVENT_TOPICS, STRATEGIES.name)
TOPICS = {topic.name: topic for topic in (SHOP_EVENTS, ADS_EVENTS, STRATEGIES, CATALOG, CAMPAIGNS)}
REASONS = {"undecodable", "bad_field", "bad_key", "bad_timestamp", "bad_reference"}
CAREFUL = [f"careful-{number}" for number in range(8)]
"""Customers whose clean events come after all of it."""
LAST = b"last"
Place = tuple[str, int, int]


class Letter(NamedTuple):
    """A dead letter as it lies in the topic."""

    headers: dict[str, str]
    key: bytes | None
    value: bytes | None


class Poisoned(Struct):
    """What was sent, and what came of it.

    Args:
        sent: place → record.
        fates: (topic, partition, fate) → records.
    """

    world: FaultWorld
    process: Agents
    sent: dict[Place, Poison]
    letters: dict[Place, list[Letter]]
    fates: Counter[tuple[str, int, str]]
    metrics: dict[str, float]
    rows: dict[str, Any]


@pytest.fixture(scope="module")
def poisoned(make_bench: MakeBench, recorded: Recording) -> Iterator[Poisoned]:
    """Agents that have read all of it, and clean events afterwards."""
    world = make_bench(said=[])
    process = world.fork()
    sent = send(world, [*everything(recorded), *last(world.settings.partitions)])
    sent |= lie(world, CATALOG, b"p-bad")  # the recorded reference has a bad product too
    for user in CAREFUL:
        clean = event(f"{user}-clean", user, "Product Viewed", 1000, {"product_id": "p1"})
        world.send(SHOP_EVENTS, user.encode(), clean)
    world.flush()
    ends = {place for place, record in sent.items() if record.key == LAST}

    def over() -> bool:
        assert process.poll() is None, world.log.read_text()[-3000:]
        return world.applied() and world.books().outbox == 0 and ends <= letters_of(world).keys()

    world.wait(over, "everything read, every letter published")
    yield Poisoned(world, process, sent, letters_of(world), fates_of(world), world.metrics(process), world.rows())
    assert world.stop() == [0]


def everything(recorded: Recording) -> list[Poison]:
    """Ten thousand records, in an order of their own."""
    rng = Random(SEED)
    real = [
        (said.topic, said.key, said.value)
        for said in (*recorded.said, *recorded.reference)
        if said.key and said.value and not said.is_clock
    ]
    made = fuzzed(FUZZED, EVENT_TOPICS)
    made += poison.known_bad((*EVENT_TOPICS, STRATEGIES.name), b"known")
    made += poison.bombs(SHOP_EVENTS.name, "bomber", START.isoformat())
    made += poison.mutated(rng, COUNT - len(made), real)
    rng.shuffle(made)
    return made


def last(partitions: int) -> Iterator[Poison]:
    """Bad products and campaigns that come last: with their letters, those of all before them are written."""
    for topic in (CATALOG, CAMPAIGNS):
        for partition in range(partitions):
            yield Poison(topic.name, LAST, b"[", partition, "dead_lettered")


def send(world: FaultWorld, records: Sequence[Poison]) -> dict[Place, Poison]:
    """Publish, uncompressed so that the broker's limit is met; where each lies."""
    sender = producer(world.settings, compression_type=None, linger_ms=20)
    waiting = [
        (
            each,
            sender.send(
                topic_name(world.settings, TOPICS[each.topic]), key=each.key, value=each.value, partition=each.partition
            ),
        )
        for each in records
    ]
    sender.close()
    return {(each.topic, future.get().partition, future.get().offset): each for each, future in waiting}


def lie(world: FaultWorld, topic: TopicSpec, key: bytes) -> dict[Place, Poison]:
    """Records of a topic under a key, and where they lie."""
    found = [record for record in world.read(topic) if record.key == key]
    return {(topic.name, each.partition, each.offset): Poison(topic.name, each.key, each.value) for each in found}


def letters_of(world: FaultWorld) -> dict[Place, list[Letter]]:
    """The letters about records, by the place of the record; those without a record under an empty topic."""
    found: defaultdict[Place, list[Letter]] = defaultdict(list)
    for record in world.read(DEAD_LETTERS):
        headers = {name: value.decode() for name, value in record.headers}
        place = headers["topic"], int(headers["partition"]), int(headers["offset"])
        found[place].append(Letter(headers, record.key, record.value))
    return dict(found)


def fates_of(world: FaultWorld) -> Counter[tuple[str, int, str]]:
    """(topic, partition, fate) → records, by the agents' books."""
    counts: Counter[tuple[str, int, str]] = Counter()
    for name, count in world.fates_by_partition().items():
        topic, partition, fate = name.split("|")
        counts[topic, int(partition), fate] += count
    return counts


def test_all_were_sent_up_to_the_brokers_limit(poisoned: Poisoned) -> None:
    """The number, each topic, and values that leave no room in a record."""
    assert len(poisoned.sent) == COUNT + 2 * 2 + 1
    assert {topic for topic, _, _ in poisoned.sent} == TOPICS.keys()
    assert max(len(each.value or b"") for each in poisoned.sent.values()) == poison.LARGEST_BYTES


def test_each_record_has_one_fate(poisoned: Poisoned) -> None:
    """Per partition the fates add up to the records sent; there are folded, ignored and dead-lettered ones of each kind."""
    sent = Counter((topic, partition) for topic, partition, _ in poisoned.sent if topic in INPUT_NAMES)
    for user in CAREFUL:
        sent[SHOP_EVENTS.name, partition_of(user.encode(), 2)] += 1
    counted: Counter[tuple[str, int]] = Counter()
    for (topic, partition, _), count in poisoned.fates.items():
        counted[topic, partition] += count
    assert {place: counted[place] for place in sent} == dict(sent)
    for topic in INPUT_NAMES:
        for fate in ("folded", "ignored", "dead_lettered"):
            assert poisoned.fates[topic, 0, fate] + poisoned.fates[topic, 1, fate], (topic, fate)


def test_each_letter_says_which_record_and_why(poisoned: Poisoned) -> None:
    """One letter per dead-lettered record: place, field, reason, and the record's own bytes, or their beginning and hash."""
    told = Counter((topic, partition, "dead_lettered") for topic, partition, _ in poisoned.letters if topic)
    assert told == Counter({name: n for name, n in poisoned.fates.items() if name[2] == "dead_lettered"})
    for place, letters in poisoned.letters.items():
        if not place[0]:
            assert {letter.headers["reason"] for letter in letters} == {"unknown_strategy"}
            continue
        [letter] = letters
        record = poisoned.sent[place]
        assert letter.headers["reason"] in REASONS, letter.headers
        assert letter.headers["field"]
        assert letter.headers["wanted"]
        assert _same(letter, record), place


def _same(letter: Letter, record: Poison) -> bool:
    """Whether a letter holds a record, or the beginnings and hashes of what was too large."""
    key, value = record.key, record.value or b""
    large = {} if len(value) <= KEEP_WHOLE_BYTES else {"sha256": hashlib.sha256(value).hexdigest()}
    if key is not None and len(key) > KEY_BYTES:
        large = {"sha256": "", "key_sha256": hashlib.sha256(key).hexdigest()} | large
    said = {name: text for name, text in letter.headers.items() if name.endswith("sha256")}
    kept = None if key is None else key[:KEY_BYTES]
    return said == large and letter.key == kept and letter.value == value[:KEEP_WHOLE_BYTES]


def test_what_is_certain_came_true(poisoned: Poisoned) -> None:
    """What is no JSON is dead-lettered, what is empty or of an unknown name is not, nor what is merely large."""
    wrong = [
        (place, record.fate, (record.value or b"")[:80])
        for place, record in poisoned.sent.items()
        if record.fate and (record.fate == "dead_lettered") != (place in poisoned.letters)
    ]
    assert wrong == []


def test_the_agents_live_and_go_on(poisoned: Poisoned) -> None:
    """The same process, no bug of ours tripped, metrics that say the same, and the clean events that came last are folded."""
    assert poisoned.process.poll() is None
    assert [
        letter.headers for each in poisoned.letters.values() for letter in each if "traceback" in letter.headers
    ] == []
    assert poisoned.metrics.get("bugs_total", 0) == 0
    assert poisoned.metrics["dead_letters_total"] == sum(map(len, poisoned.letters.values()))
    for user in CAREFUL:
        assert [view[1] for view in poisoned.rows[user]["profile"]["views"]] == ["p1"]


UNGUARDED = """
from streaming.reading import Item, Reader

def _item(self, record):
    item = Item(record.offset, record.timestamp, self.watermark_ms)
    self._fill(item, record)
    return item

Reader._item = _item
"""
"""Without the dead letters: what cannot be read is raised."""


def test_without_the_dead_letters_one_record_ends_it_all(make_bench: MakeBench) -> None:
    """Shown once: the protection switched off, a single bad record ends the agents before the clean one after it."""
    world = make_bench(said=[])
    user = CAREFUL[0]
    world.send(SHOP_EVENTS, user.encode(), b"[")
    world.flush()
    process = world.fork(UNGUARDED)
    clean = event(f"{user}-clean", user, "Product Viewed", 1000, {"product_id": "p1"})
    world.send(SHOP_EVENTS, user.encode(), clean)
    world.flush()
    assert process.wait(120) != 0
    assert user not in world.rows()
    process = world.fork()
    world.wait(lambda: user in world.rows(), "with it, the clean event is folded")
    assert world.stop()[-1] == 0
