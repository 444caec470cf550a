"""The model worker killed between any two steps, and rebalanced: one content per strategy, and everybody sees the same.

Each life has another seed, as it would have other adapters: what is decided a second time is decided otherwise.
"""

import signal
import time

import pytest

from services.watchdog import WORKERS
from streaming.contracts.topics import STRATEGIES
from tests.faults.conftest import MakeWorkers
from tests.faults.worker_bench import STALE_EVERY, WorkerBench, asked

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
COUNT = 36

_AT = """
import os, signal
from {module} import {owner}
_real, _left = {owner}.{method}, {after}

def _doomed(self, *args, **kwargs):
    global _left
    _left -= 1
    if _left == 0:
        {half}
        os.kill(os.getpid(), signal.{signal})
    return _real(self, *args, **kwargs)

{owner}.{method} = _doomed
"""


def at(module: str, owner: str, method: str, after: int, half: str = "pass", by: str = "SIGKILL") -> str:
    """Code that ends (or stops) its process just before the `after`-th call of a method, once `half` of it was done."""
    return _AT.format(module=module, owner=owner, method=method, after=after, half=half, signal=by)


HALF = "_real(self, args[0][: len(args[0]) // 2])"
MOMENTS = {
    "before decoding": at("services.worker_answers", "Answerer", "answer", 3),
    "between decoding and storing": at("services.worker_store", "AnswerStore", "keep", 3),
    "amid storing": at("services.worker_store", "AnswerStore", "keep", 3, HALF),
    "between storing and publishing": at("services.worker_sending", "Sender", "send", 3),
    "amid publishing": at("services.worker_sending", "Sender", "send", 3, HALF),
    "between publishing and committing": at("services.worker_reading", "RequestReader", "commit", 3),
}
UNGUARDED = """
from services.worker_store import AnswerStore

_look = AnswerStore.look
AnswerStore.look = lambda self, ids: (_look(self, ids)[0], [None] * len(ids))
AnswerStore.keep = lambda self, answers: [answer for _, answer in answers]
"""
"""Without the first-wins store: whoever decides last is published."""


def killed_and_followed(workers: WorkerBench, trap: str, guard: str = "") -> None:
    """One life that ends at a moment, another that answers everything."""
    workers.ask(asked(COUNT))
    doomed = workers.fork(guard + trap)
    assert doomed.wait(120) == -signal.SIGKILL
    assert workers.committed() < COUNT
    workers.world.bury(WORKERS)
    workers.fork(guard, seed=1)
    workers.wait(workers.answered, "everything answered")
    workers.stop()


def check_answers(workers: WorkerBench) -> None:
    """Each request has one answer for ever, a strategy or a suppression."""
    found = workers.contents()
    assert {id_: len(each) for id_, each in found.items() if len(each) > 1} == {}
    assert found.keys() == {request.request_id for request in asked(workers.count)}
    suppressed = [each for values in found.values() for each in values if b'"suppression_id"' in each]
    assert len(suppressed) == workers.count // STALE_EVERY


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_worker_changes_no_answer(make_workers: MakeWorkers, moment: str) -> None:
    """Killed at this moment and followed by one that decides otherwise: each request is answered or suppressed once."""
    workers = make_workers()
    killed_and_followed(workers, MOMENTS[moment])
    check_answers(workers)
    assert bool(workers.repeats()) == (moment in ("amid publishing", "between publishing and committing"))


def test_without_the_first_answer_winning_there_are_two(make_workers: MakeWorkers) -> None:
    """Shown once: without the store, a batch that comes again is decided again, and published with another content."""
    workers = make_workers()
    killed_and_followed(workers, MOMENTS["between publishing and committing"], UNGUARDED)
    assert [id_ for id_, each in workers.contents().items() if len(each) > 1]


def rebalanced(workers: WorkerBench, guard: str = "") -> None:
    """One lies still past its session with a decided batch in hand; others come, are killed, leave; then it wakes up."""
    requests = asked(90)
    workers.ask(requests[:20])
    sleeper = workers.fork(guard + at("services.worker_store", "AnswerStore", "keep", 3, by="SIGSTOP"))
    workers.wait(sleeper.stopped, "the first to lie still")
    second = workers.fork(guard, seed=1)
    workers.ask(requests[20:40])
    workers.wait(workers.answered, "its work to be done by the second")
    sleeper.send_signal(signal.SIGCONT)
    workers.ask(requests[40:50])
    workers.wait(workers.answered, "the work of both")
    sleeper.send_signal(signal.SIGTERM)
    assert sleeper.wait(120) == 0
    third = workers.fork(guard + at("services.worker_sending", "Sender", "send", 2), seed=2)
    workers.ask(requests[50:60])
    while third.poll() is None and workers.count < 80:  # a little more, until it has been given a batch and died of it
        workers.ask(requests[workers.count : workers.count + 1])
        time.sleep(0.3 * 1.2 ** (workers.count - 60))  # a slow machine's worker joins late: the twenty last a minute
    assert third.wait(120) == -signal.SIGKILL
    second.send_signal(signal.SIGTERM)
    assert second.wait(120) == 0
    workers.fork(guard, seed=3)
    workers.ask(requests[workers.count : 90])
    workers.wait(workers.answered, "everything answered")
    workers.stop()


def test_rebalanced_workers_tell_the_shop_and_attribution_the_same(make_workers: MakeWorkers) -> None:
    """Joined, stopped, killed, frozen past the session and awake again: one content each, and attribution keeps that one."""
    workers = make_workers()
    workers.world.fork()
    rebalanced(workers)
    check_answers(workers)
    assert workers.repeats()  # the sleeper published what the second had decided
    workers.world.wait(workers.world.applied, "every strategy read by the agents")
    told = {message["strategy_id"]: message["decision"] for message in workers.world.messages(STRATEGIES)}
    kept = {
        each["strategy_id"]: each["subject"]["decision"]
        for state in workers.world.open_states().values()
        for each in state["strategies"]
    }
    assert kept == told
    assert workers.world.stop() == [0]


def test_a_sleeper_without_the_store_tells_another_decision(make_workers: MakeWorkers) -> None:
    """Shown once: without the store, what the sleeper had decided comes after what was told already."""
    workers = make_workers()
    requests = asked(20)
    workers.ask(requests)
    sleeper = workers.fork(UNGUARDED + at("services.worker_sending", "Sender", "send", 3, by="SIGSTOP"))
    workers.wait(sleeper.stopped, "the first to lie still")
    workers.fork(UNGUARDED, seed=1)
    workers.wait(workers.answered, "its work to be done by the second")
    sleeper.send_signal(signal.SIGCONT)
    workers.wait(lambda: any(len(each) > 1 for each in workers.contents().values()), "two contents of one id")
    workers.stop()
