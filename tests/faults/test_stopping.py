"""Stopped amid its work, a process loses nothing and repeats nothing."""

import signal

from streaming.contracts.rewards import Reward
from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench, MakeUpdater, MakeWorkers
from tests.faults.outages import SMALL, Moment, applied, applied_share
from tests.faults.recorded import Recording
from tests.faults.test_worker_killed import COUNT, check_answers
from tests.faults.updater_bench import recorded_rewards
from tests.faults.worker_bench import Hold, asked


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


def test_a_stop_amid_a_commit_commits_what_came_after_it_began(make_bench: MakeBench) -> None:
    """SIGTERM while an earlier commit is under way: what was applied since is committed too, before the process ends."""
    world = make_bench()
    commit = Moment(world.log.parent, "streaming.batches", "BatchConsumerThread", "commit", 1)
    ending = Moment(world.log.parent, "streaming.batches", "BatchConsumer", "wait_empty", 1)
    ending.go_on()  # it is not held: only seen
    first = world.fork(commit.trap + ending.trap, MAX_POLL_RECORDS="5")
    world.wait(commit.reached, "a commit")
    before = applied(world)
    world.wait(lambda: applied(world) > before, "a batch after it began")
    first.send_signal(signal.SIGTERM)
    world.wait(ending.reached, "the end of its reading")
    commit.go_on()
    assert first.wait(60) == 0
    second = world.fork()
    world.wait(world.settled, "the rest")
    assert world.metrics(second)["replays_skipped_total"] == 0.0


def test_a_worker_stopped_amid_its_work_loses_nothing_and_repeats_nothing(make_workers: MakeWorkers) -> None:
    """SIGTERM with a batch in hand: it is answered and committed, exit code 0; one that decides otherwise does the rest."""
    workers = make_workers()
    workers.ask(asked(COUNT))
    batch = Hold(workers.settings.home, "services.worker_answers", "Answerer", "answer", 3)
    first = workers.fork(batch.trap)
    workers.wait(batch.reached, "the third batch")
    before = workers.committed()
    first.send_signal(signal.SIGTERM)
    batch.go_on()
    assert first.wait(120) == 0
    assert before < workers.committed() < COUNT
    assert len(workers.contents()) == workers.committed()
    workers.fork(seed=1)
    workers.wait(workers.answered, "the rest")
    workers.stop()
    check_answers(workers)
    assert workers.repeats() == 0


def test_an_updater_stopped_amid_its_work_loses_nothing_and_repeats_nothing(make_updater: MakeUpdater) -> None:
    """SIGTERM while it learns: exit code 0 with a snapshot of it; in the end each record was taken once."""
    bench, said = make_updater(), recorded_rewards()
    reward = Hold(bench.log.parent, "services.updater_learning", "Learning", "_learn", len(said) // 3)
    bench.say(said)
    first = bench.fork(reward.trap)
    bench.until(reward.reached, "a reward in hand", lambda: first.poll() is None)
    first.send_signal(signal.SIGTERM)
    reward.go_on()
    assert first.wait(120) == 0
    assert len(said) // 3 <= bench.offset() < len(said)
    second = bench.fork()
    bench.wait(second, len(said))
    second.send_signal(signal.SIGTERM)
    assert second.wait(120) == 0
    fates = bench.knows().learning.learner.fates
    assert fates.total() == sum(1 for each in said if isinstance(each, Reward))
