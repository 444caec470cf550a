"""Two updaters, one lease: killed or put to sleep, the one that works is replaced, and nothing is served twice."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs

from services.updater_announcing import Announced
from streaming.contracts.adapters import Serving, Version
from streaming.contracts.codec import encode
from tests.faults.conftest import MakeUpdater
from tests.faults.test_updater_killed import REWARDS, check_same, to_the_end, undisturbed
from tests.faults.updater_bench import UpdaterBench

pytestmark = pytest.mark.timeout(900)
__all__ = ["undisturbed"]  # a fixture of the module beside

SLEEPS_BEFORE_IT_SENDS = """
import os, signal
from services.worker_sending import Sender

_real, _calls = Sender.send, 0

def _sleepy(self, effects):
    global _calls
    _calls += any(effect.key == b"serving" for effect in effects)
    if _calls == 2:
        _calls += 1
        os.kill(os.getpid(), signal.SIGSTOP)
    return _real(self, effects)

Sender.send = _sleepy
"""
"""The lease was looked at, the record is made: the worst moment to be put to sleep for longer than the lease."""


class Pair:
    """Two updaters of one installation on two machines: each has a home of its own, both have one registry."""

    def __init__(self, bench: UpdaterBench, tmp_path: Path) -> None:
        """Nothing runs."""
        bench.settings = structs.replace(bench.settings, registry=str(tmp_path / "registry"))
        self.first = bench
        self.second = UpdaterBench(structs.replace(bench.settings, home=tmp_path / "second"))
        self.second.nursery, self.second.log = bench.nursery, tmp_path / "second.log"

    def stand_by(self) -> None:
        """Wait until the second has found the lease taken."""
        self.first.until(
            lambda: self.second.log.is_file() and "standing by" in self.second.log.read_text(), "a standby"
        )


@pytest.fixture
def pair(make_updater: MakeUpdater, tmp_path: Path) -> Pair:
    """An installation with two of them."""
    return Pair(make_updater(), tmp_path)


def check_served_once(bench: UpdaterBench) -> list[Serving]:
    """No version and no sequence twice among what readers heed; what they heed, in order."""
    heeded: list[Serving] = []
    names: Counter[str] = Counter()
    for record in bench.announced():
        if isinstance(record, Version):
            names[record.name] += 1
        elif not heeded or (record.epoch, record.sequence) > (heeded[-1].epoch, heeded[-1].sequence):
            heeded.append(record)
    assert set(names.values()) == {1}
    critics = [record.critic for record in heeded]
    assert critics == sorted(critics)  # their names begin with their sequence: none comes back
    return heeded


def test_killed_it_is_replaced_and_everything_is_learned_once(pair: Pair, undisturbed: UpdaterBench) -> None:
    """The standby has done nothing before; after `kill -9` it ends as one that nobody disturbed, in the next epoch."""
    pair.first.say(REWARDS[:150])
    worker = pair.first.fork()
    pair.first.wait(worker, 150)
    standby = pair.second.fork()
    pair.stand_by()
    assert pair.second.offset() == 0
    worker.kill()
    pair.second.say(REWARDS[150:])
    pair.second.wait(standby, len(REWARDS))
    standby.send_signal(signal.SIGTERM)
    assert standby.wait(120) == 0, pair.second.log.read_text()[-3000:]
    to_the_end(pair.second)  # that it was let go shows too: this life takes it at once, in the same epoch
    check_same(pair.second, undisturbed)
    assert [record.epoch for record in check_served_once(pair.second)][-1] == 1


def test_put_to_sleep_and_woken_it_is_ignored_and_ends(pair: Pair, undisturbed: UpdaterBench) -> None:
    """What the sleeper sends when it wakes is of a lower epoch: readers go on with what its successor serves."""
    pair.first.say(REWARDS[:150])
    sleeper = pair.first.fork(SLEEPS_BEFORE_IT_SENDS)
    pair.first.until(sleeper.stopped, "its sleep", lambda: sleeper.poll() is None)
    standby = pair.second.fork()
    pair.second.say(REWARDS[150:])
    pair.second.wait(standby, len(REWARDS))
    before = pair.second.announced()
    sleeper.send_signal(signal.SIGCONT)
    assert sleeper.wait(120) == 1, pair.first.log.read_text()[-3000:]
    pair.second.until(lambda: len(pair.second.announced()) > len(before), "what the sleeper had begun to say")
    standby.send_signal(signal.SIGTERM)
    assert standby.wait(120) == 0, pair.second.log.read_text()[-3000:]
    late = [record for record in pair.second.announced()[len(before) :] if isinstance(record, Serving)]
    assert next(record.epoch for record in late) == 0
    said = Announced()
    for record in pair.second.announced():
        said.take(b"", encode(record))
    assert said.serving is not None
    assert said.serving.epoch == 1
    assert not said.outranked  # its successor has said once more what is served: compaction keeps the last record
    to_the_end(pair.second)
    check_same(pair.second, undisturbed)
