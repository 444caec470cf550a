"""Two agents processes and five rebalances, a zombie that wakes up and writes, one customer on two owners."""

import signal
from pathlib import Path

import pytest

from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, by_topic, differences, letters_anywhere
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.orders import mispartitioned
from tests.faults.processes import Agents
from tests.faults.recorded import Recording
from tests.installation import PARTITIONS

SMALL = {"MAX_POLL_RECORDS": "10"}


class Signs:
    """Files by which a test speaks to its processes."""

    def __init__(self, folder: Path) -> None:
        """None is there yet."""
        self.freeze = folder / "freeze"
        self.hurry = folder / "hurry"


@pytest.fixture
def signs(tmp_path: Path) -> Signs:
    """The signs of one test."""
    return Signs(tmp_path)


def joined(world: FaultWorld, signs: Signs, trap: str = "", members: int = 2) -> Agents:
    """Start a process and wait until the group has so many members; until told to hurry there is work for all of them."""
    made = world.fork(traps.paced(0.3, signs.hurry) + trap, **SMALL)
    world.wait(lambda: world.members() == members, f"{members} members")
    return made


def outlived(world: FaultWorld, zombie: Agents, signs: Signs) -> None:
    """Freeze a process amid a batch for longer than its session; its heir does the rest, then it goes on."""
    signs.freeze.touch()
    world.wait(lambda: not signs.freeze.exists(), "a write to be frozen before")
    world.wait(lambda: world.members() == 1, "the end of the frozen member's session")
    assert zombie.poll() is None
    signs.hurry.touch()
    world.wait(world.settled, "the heir to finish")
    zombie.send_signal(signal.SIGCONT)


def test_five_rebalances(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, signs: Signs) -> None:
    """Start, stop, kill, start, and a pause longer than the session: the zombie's write is refused and counted."""
    world = make_bench()
    first = joined(world, signs, members=1)
    second = joined(world, signs)
    first.terminate()
    assert first.wait(60) == 0
    zombie = joined(world, signs, traps.freezes(signs.freeze))
    second.kill()
    world.wait(lambda: world.members() == 1, "the end of the killed member's session")
    joined(world, signs)
    assert not world.settled()
    outlived(world, zombie, signs)
    world.wait(lambda: world.metrics(zombie)["refused_writes_total"] > 0, "the zombie to be refused")
    world.wait(lambda: world.members() == 2, "the zombie to come back")
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_without_the_version_check_a_zombie_shows(make_bench: MakeBench, undisturbed: Outcome, signs: Signs) -> None:
    """A script that writes whatever was read lets the zombie overwrite the heir's rows."""
    world = make_bench()
    zombie = joined(world, signs, traps.NO_VERSION_CHECK + traps.freezes(signs.freeze), members=1)
    world.wait(lambda: world.books().profiles > 0, "the first rows")
    joined(world, signs, traps.NO_VERSION_CHECK)
    outlived(world, zombie, signs)
    world.wait(lambda: world.members() == 2, "the zombie to come back")
    world.stop()
    assert differences(undisturbed, world.outcome(), ("customers", "fates")) != []


@pytest.mark.parametrize("protected", [True, False])
def test_one_customer_on_two_owners(
    make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, signs: Signs, *, protected: bool
) -> None:
    """A publisher without murmur2: races are lost, counted and run again, and nothing differs; unless nobody checks."""
    world = make_bench(mispartitioned(recorded.said, PARTITIONS))
    trap = traps.paced(0.03, signs.hurry) + ("" if protected else traps.NO_VERSION_CHECK)
    both = [world.fork(trap, **SMALL) for _ in range(2)]
    world.wait(world.settled, "the end of the input")
    counted = [world.metrics(each) for each in both]
    found = world.finish(bad_reference=recorded.bad_reference)
    if not protected:
        assert differences(undisturbed, found, ("customers",)) != []
        return
    assert all(each["mispartitioned_total"] > 0 for each in counted)
    assert sum(each["refused_writes_total"] for each in counted) > 0
    assert differences(undisturbed, found, ("customers", "open", "rewards")) == []
    assert letters_anywhere(found.letters) == letters_anywhere(undisturbed.letters)
    assert by_topic(found.fates) == by_topic(undisturbed.fates)
    assert broken(found, daily_cap=DAILY_CAP) == []
