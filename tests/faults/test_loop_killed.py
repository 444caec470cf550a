"""Agents and model worker killed again and again in one world: each request has one answer, and attribution keeps that one."""

import os
import signal
from random import Random

import pytest
from msgspec import structs

from services.watchdog import WORKERS
from streaming.contracts.topics import REQUESTS, STRATEGIES
from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken
from tests.faults.conftest import DAILY_CAP, MakeWorkers
from tests.faults.recorded import Recording
from tests.faults.test_worker_killed import MOMENTS
from tests.faults.worker_bench import WorkerBench

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
LIVES = list(MOMENTS) if os.environ.get("STRATAGEM_SOAK") else list(MOMENTS)[1::2]
"""The moments at which the worker dies, one a life."""
ASKED = 10
"""Answers that the agents ask for in a life: enough for three batches, few enough that the last life comes amid the input."""
SMALL = {"MAX_POLL_RECORDS": "20"}
"""So that the replay has many batches to die in."""
DEADLINE_S = 36_000.0
"""No slow machine makes a request late: each is for the model to answer."""


_SAID = """
from streaming.outbox import Outbox

_handing_over = Outbox._hand_over

async def _handed_over(self, message):
    handed = await _handing_over(self, message)
    if message.topic == {topic!r}:
        _step()
    return handed

Outbox._hand_over = _handed_over
"""


def dies_having_said(topic: str, count: int, after_s: float) -> str:
    """The process dies some moment after it handed over its `count`-th message for a topic: it has said nearly as many."""
    return traps.HASTY + traps.DIES.format(left=count, after_s=after_s) + _SAID.format(topic=topic)


def killed(workers: WorkerBench, moment: str, seed: int, rng: Random) -> bool:
    """One life of both: the agents die once they asked for ten answers, the worker at a moment of its third batch.

    Returns:
        Whether the worker came to its third batch; else it is killed idle.
    """
    world = workers.world
    agents = world.fork(dies_having_said(REQUESTS.name, ASKED, rng.random() * 0.1), **SMALL)
    worker = workers.fork(MOMENTS[moment], seed=seed)
    assert agents.wait(120) == -signal.SIGKILL
    world.bury()
    workers.count = sum(world.ends(REQUESTS).values())
    workers.wait(lambda: worker.poll() is not None or workers.answered(), "the worker's death or idleness")
    amid = worker.poll() is not None
    worker.kill()
    world.bury(WORKERS)
    return amid


def follow(world: FaultWorld, workers: WorkerBench) -> None:
    """Wait until the input has been applied, its requests answered, and the answers taken in."""
    world.wait(world.settled, "the end of the input")
    workers.count = sum(world.ends(REQUESTS).values())
    workers.wait(workers.answered, "everything answered")
    world.ends_of |= world.ends(STRATEGIES)
    world.wait(world.settled, "the end of the answers")


def kept(found: Outcome) -> set[str]:
    """Strategies that attribution knows of: still open, or told of in rewards."""
    states = [each for state in found.open.values() for each in state["strategies"]]
    return {each["strategy_id"] for each in (*states, *found.rewards.values())}


def test_each_request_has_one_answer(make_workers: MakeWorkers, recorded: Recording) -> None:
    """Lives, each of which decides otherwise: one strategy or suppression per request, the same for ever."""
    rng = Random(11)
    workers = make_workers(recorded.said, deadline_s=DEADLINE_S)
    workers.settings = structs.replace(workers.settings, batch_size=2)  # so that a life has a third batch
    world = workers.world
    amid = [killed(workers, moment, seed, rng) for seed, moment in enumerate(LIVES)]
    assert sum(amid) >= len(amid) / 2
    assert not world.settled()
    world.fork(**SMALL)
    workers.fork(seed=len(LIVES))
    follow(world, workers)
    workers.stop()
    found = world.finish(bad_reference=recorded.bad_reference)
    assert broken(found, daily_cap=DAILY_CAP, answered=True) == []
    asked = {each["request_id"] for each in found.requests}
    told = {each["strategy_id"] for each in found.strategies if each["request_id"] in asked}
    assert len(told) > len(asked) / 2
    assert told <= kept(found)
