"""A Redis that dies with its machine comes back without its last writes: what they held is folded again, and said once."""

import os
from pathlib import Path

import pytest
import redis

from services.local.stack import LocalStack
from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.outages import SMALL, Moment
from tests.faults.recorded import Recording

pytestmark = pytest.mark.usefixtures("left_alive")


def lose_the_last_writes(stack: LocalStack, count: int) -> None:
    """Kill Redis, cut the last transactions off its append-only file, and start it again."""
    with redis.Redis.from_url(stack.endpoints.redis_url) as server:
        folder = Path(str(server.config_get("dir")["dir"]))
    stack.database.process.kill()
    (file,) = folder.glob("appendonly*.aof")
    kept = file.read_bytes()
    for _ in range(count):
        kept = kept[: kept.rindex(b"*1\r\n$5\r\nMULTI\r\n")]
    os.truncate(file, len(kept))
    stack.start_database()


def run_with_a_loss(
    stack: LocalStack, world: FaultWorld, recorded: Recording, *, before: str, after: int, count: int, trap: str = ""
) -> Outcome:
    """Redis dies before the `after`-th call of a method of the processor and loses its last `count` writes."""
    moment = Moment(world.log.parent, "streaming.processor", "Processor", before, after)
    world.fork(trap + moment.trap, MAX_POLL_RECORDS=SMALL)
    world.wait(moment.reached, "the moment to kill Redis at")
    lose_the_last_writes(stack, count)
    moment.go_on()
    return world.finish(bad_reference=recorded.bad_reference)


@pytest.mark.parametrize(
    ("before", "after", "count"),
    [("seal_of_others", 9, 1), ("seal_of_others", 12, 2), ("release", 20, 1), ("_fold", 18, 5)],
    ids=["a bucket's", "two buckets'", "an outbox", "whole batches"],
)
def test_what_a_dead_machine_lost_is_folded_again(
    own_stack: LocalStack,
    make_bench: MakeBench,
    recorded: Recording,
    undisturbed: Outcome,
    before: str,
    after: int,
    count: int,
) -> None:
    """Whichever writes are missing: no bucket keeps a seal that says more than it has."""
    world = make_bench(endpoints=own_stack.endpoints)
    found = run_with_a_loss(
        own_stack, world, recorded, before=before, after=after, count=count, trap=traps.SEALS_OF_OTHERS
    )
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_without_protection_a_lost_bucket_stays_lost(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """Where a turn goes on over a new connection, it seals a batch of which one bucket has lost its part."""
    world = make_bench(endpoints=own_stack.endpoints)
    trap = traps.SEALS_OF_OTHERS + traps.GOES_ON_OVER_ANY_CONNECTION
    found = run_with_a_loss(own_stack, world, recorded, before="seal_of_others", after=9, count=1, trap=trap)
    assert differences(undisturbed, found)
