"""Redis killed, away, slow, or older than it was: the agents wait, say so, and lose nothing."""

import os
import shutil
import time
from pathlib import Path

import pytest
import redis

from services.clients import admin
from services.local.stack import LocalStack
from streaming.contracts.topics import INPUTS
from streaming.control import pause, resume
from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, both_ways, broken, differences, twofold
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.outages import SMALL, Moment, amid, applied_share, health, redis_is_waited_for, words
from tests.faults.recorded import Recording

pytestmark = pytest.mark.usefixtures("left_alive")

AWAY_S = 60.0 if os.environ.get("STRATAGEM_SOAK") else 15.0
NAMES = {topic.name for topic in INPUTS}


def committed(world: FaultWorld) -> dict[tuple[str, int], int]:
    """What the agents say that they have applied, by topic and partition."""
    client = admin(world.settings)
    group = world.settings.group_prefix + "agents"
    found = client.list_group_offsets(group)[group]
    client.close()
    return {
        (place.topic.removeprefix(world.settings.topic_prefix), place.partition): each.offset
        for place, each in found.items()
    }


@pytest.mark.parametrize("how", ["killed", "restarted"])
def test_a_redis_that_comes_back_costs_nothing(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, how: str
) -> None:
    """Killed with SIGKILL or stopped amid the work, and started again with its append-only file."""
    world = make_bench(endpoints=own_stack.endpoints)
    amid(world)
    if how == "killed":
        own_stack.database.process.kill()
    own_stack.start_database()
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_a_failure_that_is_not_tried_again_loses_records(
    own_stack: LocalStack, make_bench: MakeBench, undisturbed: Outcome
) -> None:
    """With the patience switched off a batch that meets a Redis that is away is lost."""
    world = make_bench(endpoints=own_stack.endpoints)
    moment = Moment(world.log.parent, "streaming.store", "Store", "look", 12)
    forgotten = world.log.parent / "forgotten"
    world.fork(traps.FORGETS_FAILURES.format(forgotten=str(forgotten)) + moment.trap, MAX_POLL_RECORDS=SMALL)
    world.wait(moment.reached, "the moment to kill Redis at")
    own_stack.database.process.kill()
    moment.go_on()
    world.wait(forgotten.exists, "a batch that is given up")
    own_stack.start_database()
    world.wait(lambda: committed(world) == {place: end for place, end in world.ends_of.items() if place[0] in NAMES})
    world.stop()
    assert differences(undisturbed, world.outcome())  # committed to its end, and not applied


def test_a_redis_that_is_away_is_waited_for(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """Metrics, readiness and log say what is waited for, once; liveness does not mind; afterwards nothing is missing."""
    world = make_bench(endpoints=own_stack.endpoints)
    process = amid(world)
    own_stack.database.process.kill()
    began_s = time.monotonic()
    redis_is_waited_for(world, process)
    world.wait(lambda: health(world, process, "/-/ready")[0] == 503, "not ready")
    assert "redis: does not answer" in health(world, process, "/-/ready")[1]
    assert health(world, process, "/-/healthy") == (200, "ok\n")
    world.wait(lambda: time.monotonic() - began_s > AWAY_S)
    own_stack.start_database()
    world.wait(lambda: health(world, process, "/-/ready") == (200, "ok\n"), "ready again")
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert words(world).count("waiting for redis: ") == 1 + words(world).count("still waiting for redis")
    assert "redis answers again after" in words(world)
    assert process.poll() == 0


def test_a_slow_redis_stops_the_fetching(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, server: redis.Redis
) -> None:
    """While Redis is slow only a bounded number of batches is fetched, however many records wait; then all are applied."""
    world = make_bench(endpoints=own_stack.endpoints)
    process = world.fork(MAX_POLL_RECORDS="5")
    world.wait(applied_share(world, 0.05), "the first records")
    server.client_pause(9_000)
    most = 0.0
    for _ in range(16):
        most = max(most, world.metrics(process).get("batches_in_flight", 0.0))
        time.sleep(0.5)
    assert most >= 2  # the channels filled up
    assert most <= 3 * (1 + 2 * 2)  # of three inputs: a full channel, and a fetch of two partitions on either side
    assert not applied_share(world, 0.9)()
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []


def copy_of(server: redis.Redis, into: Path, home: Path) -> None:
    """Take a copy as docs/operations.md says."""
    server.save()
    shutil.copy2(home / "dump.rdb", into)


def restored(stack: LocalStack, copy: Path, home: Path) -> None:
    """Put a copy back as docs/operations.md says."""
    stack.database.stop()
    for old in home.glob("appendonly*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copy2(copy, home / "dump.rdb")
    stack.start_database("appendonly no\n")
    with redis.Redis.from_url(stack.endpoints.redis_url) as client:
        client.config_set("appendonly", "yes")
        while (
            client.info("persistence")["aof_rewrite_in_progress"] or client.info("persistence")["aof_rewrite_scheduled"]
        ):
            time.sleep(0.1)
    stack.start_database()


KEEPS_READING = """
from streaming.floors import Floors
from streaming.processor import Processor
Floors.older = lambda self, home: {}

async def _always(self, batch, sealed):
    return True

Processor._joins = _always
"""
REMEMBERS_NOTHING = """
from streaming.recall import Recall

async def _nothing(self, since_ms):
    pass

Recall.read_back = _nothing
"""


def run_with_an_old_copy(
    stack: LocalStack,
    world: FaultWorld,
    recorded: Recording,
    tmp_path: Path,
    trap: str,
    patience_s: float | None = None,
) -> Outcome:
    """Half of the input, a copy; the rest; Redis is restored from the copy under the running agents, strategies paused."""
    with redis.Redis.from_url(stack.endpoints.redis_url) as server:
        folder = Path(str(server.config_get("dir")["dir"]))
        middle = recorded.said[len(recorded.said) // 2].at_ms
        world.say([each for each in recorded.said if each.at_ms < middle])
        world.fork(trap, MAX_POLL_RECORDS="200")
        world.wait(world.settled, "the first half")
        copy_of(server, tmp_path / "copy.rdb", folder)
        world.say([each for each in recorded.said if each.at_ms >= middle])
        world.wait(world.settled, "the second half")
    restored(stack, tmp_path / "copy.rdb", folder)
    pause(world.client, world.settings.topic_prefix)
    world.limit_s = patience_s or world.limit_s
    found = world.finish()
    resume(world.client, world.settings.topic_prefix)
    return found


def test_a_redis_restored_from_an_old_copy_is_read_up_again(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, tmp_path: Path
) -> None:
    """Agents seek back to what it applied; rewards, requests and strategies keep one content per id."""
    world = make_bench(said=[], endpoints=own_stack.endpoints)
    found = run_with_an_old_copy(own_stack, world, recorded, tmp_path, "")
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []
    assert "only and reads again from there" in words(world)


@pytest.mark.parametrize("trap", [KEEPS_READING, REMEMBERS_NOTHING], ids=["reads on", "remembers nothing"])
def test_without_protection_an_old_copy_shows(
    own_stack: LocalStack,
    make_bench: MakeBench,
    recorded: Recording,
    undisturbed: Outcome,
    tmp_path: Path,
    trap: str,
) -> None:
    """Agents that read on lose records; agents that recall nothing suppress what they have asked."""
    world = make_bench(said=[], endpoints=own_stack.endpoints)
    if trap == KEEPS_READING:
        with pytest.raises(pytest.fail.Exception):
            run_with_an_old_copy(own_stack, world, recorded, tmp_path, trap, patience_s=20.0)
        found = world.outcome()
        assert differences(undisturbed, found, ("customers",))
    else:
        found = run_with_an_old_copy(own_stack, world, recorded, tmp_path, trap)
        assert both_ways(found) or twofold(found)
