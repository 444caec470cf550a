"""Stopped amid its work, a process loses nothing and repeats nothing."""

import signal

from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.outages import SMALL, applied_share
from tests.faults.recorded import Recording


def test_a_stop_amid_the_work_loses_nothing_and_repeats_nothing(
    make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """SIGTERM with batches in flight: exit code 0, and the next process skips no record as read before."""
    world = make_bench()
    first = world.fork(MAX_POLL_RECORDS=SMALL)
    world.wait(applied_share(world, 0.2), "a fifth of the input")
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 0
    assert not world.settled()
    second = world.fork()
    world.wait(world.settled, "the rest")
    assert world.metrics(second).get("replays_skipped_total", 0.0) == 0.0
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []
