"""What the model worker and the updater read is deleted and made again, or given partitions, under them."""

import signal
import time

import pytest
from msgspec import structs

from services.clients import admin, topic_name
from services.settings import Common
from services.topics import ensure_topics
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import REQUESTS, REWARDS, TopicSpec
from tests.faults.conftest import MakeUpdater, MakeWorkers
from tests.faults.nursery import Forked
from tests.faults.test_worker_killed import check_answers
from tests.faults.updater_bench import UpdaterBench, recorded_rewards
from tests.faults.worker_bench import Hold, WorkerBench, asked

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
OLD, NEW = 20, 40
"""Requests in the topic before it is made anew, and after."""
SAID = recorded_rewards()
PART = 100
DIFFERENT = len({said.reward_id for said in SAID if isinstance(said, Reward)})

ATTENTIVE = """
import services.clients
services.clients.METADATA_AGE_MS = 1000
"""
"""Metadata is refreshed often."""
UNWATCHED = """
from services.watchdog import Watchdog
Watchdog._is_another = lambda self, now: ""
"""
UNCHECKED = """
from services.worker_reading import RequestReader
RequestReader._is_void = lambda self, place: False
"""


def made_anew(settings: Common, topic: TopicSpec) -> None:
    """Delete a topic and make it again."""
    client, name = admin(settings), topic_name(settings, topic)
    client.delete_topics([name])
    give_up_s = time.monotonic() + 60
    while name in client.list_topics():
        assert time.monotonic() < give_up_s
        time.sleep(0.05)
    client.close()
    while not any(line.startswith(name) for line in ensure_topics(settings)):
        assert time.monotonic() < give_up_s


def amid_a_batch(workers: WorkerBench, trap: str) -> None:
    """Requests are answered in part; with a batch in hand the topic is made anew and holds more of them; it goes on."""
    batch = Hold(workers.settings.home, "services.worker_answers", "Answerer", "answer", 3)
    requests = asked(OLD + NEW)
    workers.ask(requests[:OLD])
    workers.fork(trap + batch.trap)
    workers.wait(batch.reached, "the third batch")
    made_anew(workers.settings, REQUESTS)
    workers.reconnect()
    workers.ask(requests[OLD:])
    batch.go_on()


def lost(workers: WorkerBench) -> set[str]:
    """Requests of the second topic that nobody answered."""
    return {request.request_id for request in asked(OLD + NEW)[OLD:]} - workers.contents().keys()


def test_requests_made_anew_are_answered_from_the_first(make_workers: MakeWorkers) -> None:
    """The worker says so and ends; the offset that it committed meanwhile is void for the next; no id has two contents."""
    workers = make_workers()
    amid_a_batch(workers, "")
    assert workers.running.pop().wait(120) == 1
    assert "strategy.requests was deleted and made again: ending" in workers.log.read_text()
    workers.fork(seed=1)
    workers.wait(lambda: not lost(workers) and workers.committed() >= NEW, "every request of the new topic answered")
    workers.stop()
    assert "are read from their start" in workers.log.read_text()
    assert {id_ for id_, each in workers.contents().items() if len(each) > 1} == set()


def test_without_the_topics_id_requests_are_lost(make_workers: MakeWorkers) -> None:
    """Shown once: unwatched and unchecked, the worker goes on at the old topic's offset, and so would any other life."""
    workers = make_workers()
    amid_a_batch(workers, UNWATCHED + UNCHECKED)
    workers.wait(lambda: workers.committed() >= NEW, "the end of the new topic")
    workers.stop()
    assert lost(workers)


def test_partitions_added_to_requests_are_read(make_workers: MakeWorkers) -> None:
    """The group notices by itself, and everything is answered once."""
    workers = make_workers()
    workers.fork(ATTENTIVE)
    workers.ask(asked(OLD))
    workers.wait(workers.answered, "the first requests")
    workers.settings = structs.replace(workers.settings, partitions=2 * workers.settings.partitions)
    client = admin(workers.settings)
    client.create_partitions({topic_name(workers.settings, REQUESTS): workers.settings.partitions})
    client.close()
    workers.reconnect()
    workers.ask(asked(OLD + NEW)[OLD:])
    workers.wait(lambda: len(workers.contents()) == OLD + NEW, "an answer to each, of all partitions")
    workers.stop()
    check_answers(workers)


def made_anew_under(bench: UpdaterBench, trap: str) -> Forked:
    """An updater that has learned a part, and a topic made anew that holds half of that part once more, and the rest."""
    bench.say(SAID[:PART])
    child = bench.fork(trap)
    bench.wait(child, PART)
    made_anew(bench.settings, REWARDS)
    bench.reconnect()
    bench.say(SAID[PART // 2 :])
    return child


def learned(bench: UpdaterBench) -> int:
    """How many different rewards were learned, each counted as often as it was."""
    fates = bench.knows().learning.learner.fates
    return fates.total() - fates["duplicate"]


def test_rewards_made_anew_are_learned_from_the_first(make_updater: MakeUpdater) -> None:
    """The updater says so and ends; its next life begins at the new topic's start, and learns nothing twice."""
    bench = make_updater()
    child = made_anew_under(bench, "")
    assert child.wait(120) == 1
    assert "strategy.rewards was deleted and made again: ending" in bench.log.read_text()
    child = bench.fork()
    bench.until(lambda: learned(bench) == DIFFERENT, "all that is in the new topic", lambda: child.poll() is None)
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 0
    assert learned(bench) == DIFFERENT
    assert "strategy.rewards was deleted and made again: it is read from its start" in bench.log.read_text()


def test_without_the_topics_id_rewards_are_lost(make_updater: MakeUpdater) -> None:
    """Shown once: unwatched, what lies at offsets that were learned in the old topic is never learned."""
    bench = make_updater()
    child = made_anew_under(bench, UNWATCHED)
    bench.wait(child, len(SAID) - PART // 2)
    child.kill()
    assert learned(bench) < DIFFERENT


def test_partitions_added_to_rewards_are_refused(make_updater: MakeUpdater) -> None:
    """Said while it runs, and the first goes on being learned; a start is refused in words: the order is the topic's."""
    bench = make_updater()
    child = bench.fork()
    bench.say(SAID[:PART])
    bench.wait(child, PART)
    client = admin(bench.settings)
    client.create_partitions({topic_name(bench.settings, REWARDS): 2})
    client.close()
    said = "strategy.rewards has 2 partitions, wanted 1: nothing is read of the others"
    bench.until(lambda: said in bench.log.read_text(), "it to be said", lambda: child.poll() is None)
    bench.say(SAID[PART:])
    before = bench.offset()
    bench.until(lambda: bench.offset() > before, "more of the first to be learned", lambda: child.poll() is None)
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 0
    assert bench.fork().wait(120) == 2
    assert "strategy.rewards: has 2 partitions, wanted 1: its order is the topic's" in bench.log.read_text()
