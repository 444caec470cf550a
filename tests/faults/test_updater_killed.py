"""The updater killed while it learns from recorded rewards: nothing is learned twice, and the critic is the undisturbed one.

Killed at seeded random moments and at each step between a reward and the snapshot that holds it. What is served in the end
is compared too, as a worker would fetch it.
"""

import os
import signal
import time
from collections import Counter
from functools import partial
from random import Random

import pytest

from streaming.contracts.rewards import Reward
from streaming.contracts.topics import DEAD_LETTERS
from tests.faults.conftest import MakeUpdater
from tests.faults.nursery import Forked
from tests.faults.test_worker_killed import at
from tests.faults.updater_bench import UpdaterBench, alike, recorded_rewards

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
KILLS = 40 if os.environ.get("STRATAGEM_SOAK") else 6
REWARDS = recorded_rewards()

MOMENTS = {
    "before a snapshot is complete": """
import os, signal
from services import updater
updater.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
""",
    "between a snapshot and the removal of older ones": """
import os, signal
from services import updater_state
_real, _left = updater_state.shutil.rmtree, 6

def _doomed(path, **more):
    global _left
    _left -= "snapshot-" in str(path)
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return _real(path, **more)

updater_state.shutil.rmtree = _doomed
""",
    "between learning and the next snapshot": at("services.updater", "Updater", "_save", 4),
    "between a critic in the registry and its announcement": at(
        "services.updater_announcing", "Announcer", "_commit", 3
    ),
    "between a version and what is served": at(
        "services.worker_sending", "Sender", "send", 6, "if len(args[0]) == 2: _real(self, args[0][:1])"
    ),
    "between an announcement and its decision": at("services.updater_announcing", "Announcer", "decided", 3),
}
FORGETFUL = """
from model.memory import SeenIds
from services import updater_state

_load = updater_state.load_learning

def _forgetful(path, settings, formula):
    learning, facts = _load(path, settings, formula)
    learning.next_offset = max(0, learning.next_offset - 60)
    learning.learner.seen = SeenIds(4 * learning.learner.knobs.window)
    return learning, facts

updater_state.load_learning = _forgetful
"""
"""Without the offset inside the snapshot and the ids: a reader that comes back a little earlier, as one that commits by itself would."""


@pytest.fixture(scope="module")
def undisturbed(make_updater: MakeUpdater) -> UpdaterBench:
    """An updater that nobody disturbs, at the end of the topic."""
    bench = make_updater()
    bench.say(REWARDS)
    to_the_end(bench)
    return bench


def to_the_end(bench: UpdaterBench, trap: str = "") -> None:
    """A life that learns everything that is left, serves what it learned, and ends politely."""
    child = bench.fork(trap)
    bench.wait(child, len(REWARDS))
    weights = dict(bench.knows().learning.learner.snapshot().weights)
    bench.until(
        lambda: all(alike(weights, bench.served(), name) for name in weights),
        "what was learned to be served",
        lambda: child.poll() is None,
    )
    child.send_signal(signal.SIGTERM)
    assert child.wait(120) == 0, bench.log.read_text()[-3000:]


def check_same(found: UpdaterBench, expected: UpdaterBench) -> None:
    """The same knowledge, the same critic served, no reward learned twice, no sequence used twice."""
    assert found.knows().unlike(expected.knows()) == []
    ours, theirs = found.served(), expected.served()
    assert [name for name in theirs if not alike(ours, theirs, name)] == []
    fates = found.knows().learning.learner.fates
    different = {said.reward_id for said in REWARDS if isinstance(said, Reward)}
    assert fates.total() - fates["duplicate"] == len(different)


def test_the_recording_holds_every_stage(undisturbed: UpdaterBench) -> None:
    """Some hundred rewards of all stages; some told twice, some bad; several refits; letters for the bad ones."""
    assert len(REWARDS) > 300
    stages = Counter(said.stage for said in REWARDS if isinstance(said, Reward))
    assert stages.keys() == {"response", "final", "correction"}
    fates = undisturbed.knows().learning.learner.fates
    assert {"learned", "amended", "duplicate"} <= fates.keys()
    bad = sum(1 for said in REWARDS if isinstance(said, bytes))
    assert bad == len(undisturbed.read(DEAD_LETTERS)) > 0


def test_killed_at_random_moments_it_knows_the_same(make_updater: MakeUpdater, undisturbed: UpdaterBench) -> None:
    """Lives of random length while rewards come: in the end window, weights, heads, ids and buffer are the undisturbed ones."""
    bench, rng = make_updater(train_every=20), Random(11)
    said = 0
    lives = []
    for kill in range(KILLS):
        child = bench.fork()
        until = len(REWARDS) * (kill + 1) // (KILLS + 1)
        bench.say(REWARDS[said:until])
        if kill % 2:
            bench.wait(child, rng.randrange(said, until))  # it has begun to know of these
        said = until
        time.sleep(rng.uniform(0.0, 3.0))
        child.kill()
        lives.append(bench.offset())
    bench.say(REWARDS[said:])
    to_the_end(bench)
    assert len(set(lives)) > KILLS // 3, lives
    check_same(bench, undisturbed)


def _known_or_dead(bench: UpdaterBench, child: Forked, offset: int) -> bool:
    return child.poll() is not None or bench.offset() >= offset


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_between_two_steps_it_knows_the_same(
    make_updater: MakeUpdater, undisturbed: UpdaterBench, moment: str
) -> None:
    """Killed at this step, and once more at it; then to the end: nothing is missing, nothing twice."""
    bench = make_updater()
    said = 0
    for part in (len(REWARDS) // 3, 2 * len(REWARDS) // 3):
        child = bench.fork(MOMENTS[moment])
        while child.poll() is None and said < part:  # a little at a time, each followed by a snapshot
            bench.say(REWARDS[said : min(said + 10, part)])
            said = min(said + 10, part)
            bench.until(partial(_known_or_dead, bench, child, said), "a snapshot, or the end")
        assert child.wait(60) == -signal.SIGKILL
    bench.say(REWARDS[said:])
    to_the_end(bench)
    check_same(bench, undisturbed)


def test_what_was_learned_and_not_said_is_said_by_the_next_life(
    make_updater: MakeUpdater, undisturbed: UpdaterBench
) -> None:
    """Killed with everything learned and no critic of it served: the next life, to which nothing new is told, serves it."""
    bench = make_updater()
    bench.say(REWARDS)
    child = bench.fork(publish_every_s=10_000.0)
    bench.wait(child, len(REWARDS))
    child.kill()
    to_the_end(bench)
    check_same(bench, undisturbed)


def test_without_the_offset_in_the_snapshot_rewards_are_learned_twice(
    make_updater: MakeUpdater, undisturbed: UpdaterBench
) -> None:
    """Shown once: a reader that goes back without knowing what it learned ends with another critic."""
    bench = make_updater()
    bench.say(REWARDS[:200])
    child = bench.fork()
    bench.wait(child, 200)
    child.kill()
    bench.say(REWARDS[200:])
    to_the_end(bench, FORGETFUL)
    wrong = bench.knows().unlike(undisturbed.knows())
    assert "fates" in wrong
    assert [name for name in wrong if name.startswith("mean.")]
