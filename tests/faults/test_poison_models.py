"""Poisoned requests through a real model worker, poisoned rewards through a real updater: each comes to one end, both live."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from kafka import KafkaProducer

from services.clients import producer, topic_name
from services.reading import TopicRecord, read_all
from services.settings import Common
from streaming.contracts.codec import encode
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import DEAD_LETTERS, REQUESTS, REWARDS, TopicSpec
from streaming.dead_letters import KEY_BYTES
from tests.faults import poison
from tests.faults.conftest import MakeBench
from tests.faults.nursery import Nursery
from tests.faults.poison import Poison
from tests.faults.updater_bench import UpdaterBench, recorded_rewards
from tests.faults.worker_bench import WorkerBench, asked
from tests.services.updater_samples import quick_settings, save_base

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
SEED = 8
COUNT = 500
Place = tuple[int, int]


def poisoned(topic: TopicSpec, real: Sequence[tuple[bytes, bytes]]) -> list[Poison]:
    """Mutations of real records, what is certain, and a bomb of nearly a megabyte, in an order of their own."""
    rng = Random(SEED)
    made = [*poison.mutated(rng, COUNT, [(topic.name, *each) for each in real], partitions=1)]
    made += poison.known_bad([topic.name], b"known")
    made.append(Poison(topic.name, b"bomb", b'{"a":' * 180_000, fate="dead_lettered"))
    rng.shuffle(made)
    return made


def send(settings: Common, topic: TopicSpec, records: Sequence[Poison]) -> dict[Place, Poison]:
    """Publish; where each lies."""
    sender: KafkaProducer = producer(settings, linger_ms=20)
    name = topic_name(settings, topic)
    waiting = [(each, sender.send(name, key=each.key, value=each.value, partition=each.partition)) for each in records]
    sender.close()
    return {(future.get().partition, future.get().offset): each for each, future in waiting}


def letters_of(settings: Common) -> dict[Place, TopicRecord]:
    """The letters by the places of their records."""
    found = {}
    for record in read_all(settings, DEAD_LETTERS):
        place = int(record.headers["partition"]), int(record.headers["offset"])
        assert place not in found, "two letters of one record"
        found[place] = record
    return found


def check_letters(settings: Common, topic: TopicSpec, reason: str, sent: dict[Place, Poison]) -> set[Place]:
    """Letters say where, which field and why, with the record's bytes; what is certain came true. Their places."""
    letters = letters_of(settings)
    for place, letter in letters.items():
        assert letter.headers["topic"].decode() == topic.name
        assert (letter.headers["reason"].decode(), bool(letter.headers["field"])) == (reason, True), letter.headers
        assert (sent[place].value or b"").startswith(letter.value or b"")
        key = sent[place].key
        assert letter.key == (None if key is None else key[:KEY_BYTES])
    wrong = [each for place, each in sent.items() if each.fate and (each.fate == "dead_lettered") != (place in letters)]
    assert wrong == []
    return set(letters)


@pytest.fixture
def workers(make_bench: MakeBench, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerBench]:
    """An installation with a tiny base."""
    made = WorkerBench(make_bench(said=[]), nursery, save_base(tmp_path_factory.mktemp("base")))
    yield made
    made.close()


def test_poisoned_requests_are_answered_or_dead_lettered(workers: WorkerBench) -> None:
    """Each has an answer under its own id, or a letter, or held nothing; the worker lives and answers what comes after."""
    real = [(request.user_id.encode(), encode(request)) for request in asked(32)]
    sent = send(workers.settings, REQUESTS, poisoned(REQUESTS, real))
    workers.count = len(sent)
    worker = workers.fork()
    workers.wait(workers.answered, "everything read")
    clean = asked(64)[40:]
    workers.ask(clean)
    workers.wait(workers.answered, "the clean requests after it")
    assert worker.poll() is None
    answers = workers.contents()
    assert {len(each) for each in answers.values()} == {1}
    assert {request.request_id for request in clean} <= answers.keys()
    letters = check_letters(workers.settings, REQUESTS, "bad_request", sent)
    rest = [each for place, each in sent.items() if place not in letters and each.value]
    assert [each.value for each in rest if json.loads(each.value or b"")["request_id"] not in answers] == []
    assert len(letters) > COUNT // 4
    assert len(rest) > COUNT // 10


@pytest.fixture
def updater(
    make_bench: MakeBench, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UpdaterBench]:
    """An installation whose updater reads poison."""
    folder = tmp_path_factory.mktemp("updater")
    stack = make_bench(said=[]).settings
    made = UpdaterBench(quick_settings(stack, f"{folder.name}-{os.getpid()}-{time.time_ns()}.", folder))  # type: ignore[arg-type]
    made.nursery, made.log = nursery, folder / "updater.log"
    yield made
    made.close()


def test_poisoned_rewards_are_learned_or_dead_lettered(updater: UpdaterBench) -> None:
    """Each is learned, passed over by a fate that is counted, or has a letter; the updater lives and learns what comes after."""
    rewards = [said for said in recorded_rewards() if isinstance(said, Reward)]
    real = [(reward.strategy_id.encode(), encode(reward)) for reward in rewards[:60]]
    sent = send(updater.settings, REWARDS, poisoned(REWARDS, real))
    child = updater.fork()
    updater.wait(child, len(sent))
    updater.say(rewards[60:100])
    updater.wait(child, len(sent) + 40)
    assert child.poll() is None
    letters = check_letters(updater.settings, REWARDS, "bad_reward", sent)
    learner = updater.knows().learning.learner
    empty = sum(1 for each in sent.values() if not each.value)
    assert learner.fates.total() + len(letters) + empty == len(sent) + 40
    assert all(reward.reward_id in learner.seen for reward in rewards[60:100])
    assert len(letters) > COUNT // 4
    assert learner.fates["learned"] + learner.fates["amended"] > COUNT // 10
    child.kill()
