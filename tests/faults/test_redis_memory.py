"""Redis full, or set to throw away what it holds: the agents wait, or refuse it in words."""

import pytest
import redis

from services.local.stack import LocalStack
from tests.faults.canonical import Outcome, differences
from tests.faults.conftest import MakeBench
from tests.faults.outages import amid, health, redis_is_waited_for, words

NO_MORE = 1
"""A maxmemory that is full whatever it holds, bytes."""


STOPS_WHEN_FULL = """
import streaming.answering
streaming.answering.our_fault = lambda error: "rror running script" in str(error) or "@user_script" in str(error)
"""


@pytest.mark.parametrize("trap", ["", STOPS_WHEN_FULL], ids=["waits", "protection off"])
def test_a_full_redis_is_waited_for(
    own_stack: LocalStack, make_bench: MakeBench, undisturbed: Outcome, server: redis.Redis, trap: str
) -> None:
    """Writes that a full Redis refuses are tried until there is room; taken for a bug of ours they would end the agents."""
    world = make_bench(endpoints=own_stack.endpoints)
    process = amid(world, trap)
    server.config_set("maxmemory", NO_MORE)
    if trap:
        assert process.wait(60) == 1
        return
    redis_is_waited_for(world, process)
    assert "OOM" in words(world)
    server.config_set("maxmemory", 0)
    found = world.finish()
    assert differences(undisturbed, found) == []
    assert process.poll() == 0


def test_a_redis_that_evicts_is_refused(own_stack: LocalStack, make_bench: MakeBench, server: redis.Redis) -> None:
    """In words at the start; while running it counts as one that does not answer, until it keeps what it is given."""
    world = make_bench(said=[], endpoints=own_stack.endpoints)
    process = world.fork()
    world.publish(world.event("before"))
    world.wait(lambda: "before" in world.rows())
    server.config_set("maxmemory", "1gb")
    server.config_set("maxmemory-policy", "volatile-lru")
    world.wait(lambda: "maxmemory-policy is volatile-lru" in health(world, process, "/-/ready")[1], "not ready")
    redis_is_waited_for(world, process)
    world.publish(world.event("meanwhile"))
    refused = world.fork()
    assert refused.wait(60) == 2
    assert "wanted noeviction" in words(world)
    assert "meanwhile" not in world.rows()
    server.config_set("maxmemory-policy", "noeviction")
    world.wait(lambda: "meanwhile" in world.rows())
    world.stop()


NEVER_ASKS = """
from streaming.queries import Queries

async def _keeps_all(self):
    return None

Queries.evicts = _keeps_all
"""


def test_unasked_a_redis_that_evicts_loses_customers(
    own_stack: LocalStack, make_bench: MakeBench, server: redis.Redis
) -> None:
    """Shown once: agents that do not ask whether Redis evicts go on while it throws customers away."""
    world = make_bench(endpoints=own_stack.endpoints)
    amid(world, NEVER_ASKS)
    known = world.rows().keys()
    server.config_set("maxmemory", server.info("memory")["used_memory"] // 2)
    server.config_set("maxmemory-policy", "allkeys-random")
    world.wait(lambda: known - world.rows().keys(), "a customer is lost")
