"""Killed with SIGKILL at random moments and at each step of a batch, agents leave what an undisturbed run leaves."""

import os
import signal
from random import Random

import pytest

from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.recorded import Recording

KILLS = 20
SEEDS = range(20, 30) if os.environ.get("STRATAGEM_SOAK") else (20,)
SMALL = {"MAX_POLL_RECORDS": "20"}
"""So that the replay has many batches to die in."""


def killed(world: FaultWorld, trap: str) -> None:
    """Run an agents process until it dies of its trap, and let the next have its partitions at once."""
    assert world.fork(trap, **SMALL).wait(120) == -signal.SIGKILL
    world.bury()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_random_moments(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, seed: int) -> None:
    """Twenty kills in one replay, each some moment after a random step: nothing differs, no invariant breaks."""
    rng = Random(seed)
    world = make_bench()
    for _ in range(KILLS):
        killed(world, traps.dies_after(rng.randrange(1, 800 // KILLS), rng.random() * 0.004))
    assert not world.settled()  # the last kill, too, came amid the replay
    world.fork(**SMALL)
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_killed_at_each_step_of_a_batch(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome) -> None:
    """One replay in which a process dies before each step, at its third and its seventh call; replays are counted."""
    world = make_bench()
    for calls in (3, 7):
        killed(world, traps.DIES_BETWEEN_BUCKETS)
        for step in traps.STEPS.values():
            killed(world, traps.dies_before(step, calls))
    assert not world.settled()
    last = world.fork(**SMALL)
    world.wait(world.settled, "the end of the input")
    assert world.metrics(last)["replays_skipped_total"] > 0  # the last kill came before a commit
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


UNPROTECTED = {
    "no guard against replays": (
        traps.NO_REPLAY_GUARD + traps.NO_MEMORY_OF_IDS,
        traps.STEPS["between the clearing and the acknowledgement"],
        ("customers",),
    ),
    "an outbox cleared before it is published": (
        traps.CLEARED_FIRST,
        traps.WITH_WHAT_IS_COMPARED,
        ("letters", "rewards"),
    ),
}


@pytest.mark.parametrize("without", UNPROTECTED)
def test_without_its_protection_a_kill_shows(make_bench: MakeBench, undisturbed: Outcome, without: str) -> None:
    """The same kills show in profiles, or in what is published, as soon as what protects it is switched off."""
    unprotected, step, parts = UNPROTECTED[without]
    world = make_bench()
    for calls in (3, 8, 13):
        killed(world, unprotected + traps.dies_before(step, calls))
    world.fork(unprotected)
    assert differences(undisturbed, world.finish(), parts) != []
