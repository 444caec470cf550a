"""Kafka killed, away, or changed under the running agents: they wait, say so, and lose nothing."""

import json
import os
import time
from collections.abc import Iterable
from typing import Any

import pytest
from msgspec import structs

from services.clients import admin, topic_name
from services.local.stack import LocalStack
from services.topics import ensure_topics
from streaming.contracts.topics import ADS_EVENTS, INPUTS, SHOP_EVENTS, TopicSpec
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.outages import SMALL, health, publication, words
from tests.faults.processes import Agents
from tests.faults.recorded import Recording, Said, recording

pytestmark = pytest.mark.usefixtures("left_alive")

FOLDED = ("customers", "open", "rewards")
AWAY_S = 60.0 if os.environ.get("STRATAGEM_SOAK") else 15.0

GIVES_UP = """
import asyncio
from streaming.contracts.errors import Unavailable
from streaming.outbox import Outbox
_send = Outbox.send

async def _gives_up(self, messages):
    try:
        await asyncio.wait_for(_send(self, messages), 1.0)
    except (Unavailable, TimeoutError):
        pass

Outbox.send = _gives_up
"""


def without_producers(world: FaultWorld) -> None:
    """The world makes others when it publishes again."""
    for sender in world._producers.values():
        sender.close()
    world._producers.clear()


def away(stack: LocalStack, world: FaultWorld, trap: str = "", seconds: float = 0.0) -> FaultWorld:
    """Kill the broker between the rows and the publication of a batch, and start it again after a while."""
    moment = publication(world)
    process = world.fork(trap + moment.trap, MAX_POLL_RECORDS=SMALL)
    world.wait(moment.reached, "the moment to kill the broker at")
    world.wait(lambda: world.metrics(process).get("lag_seconds"), "a look at Kafka")
    without_producers(world)  # kafka-python leaves a socket behind at every try to reach a broker that is gone
    stack.broker.process.kill()
    moment.go_on()
    if seconds:
        began_s, lag_s = time.monotonic(), world.metrics(process)["lag_seconds"]
        world.wait(lambda: world.metrics(process).get("waiting") == 1, "a sign of the wait for Kafka")
        world.wait(lambda: health(world, process, "/-/ready") == (503, "kafka: does not answer\n"), "not ready")
        world.wait(lambda: time.monotonic() - began_s > seconds)
        assert world.metrics(process)["lag_seconds"] > lag_s + seconds / 2
    else:
        time.sleep(1.5)
    stack.start_broker()
    return world


def test_a_killed_broker_costs_nothing(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """Killed with SIGKILL between the rows of a batch and its publication, and started again."""
    world = away(own_stack, make_bench(endpoints=own_stack.endpoints))
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_a_publication_that_gives_up_loses_messages(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """The same with the patience of the outbox switched off: what was to be published is missing."""
    world = away(own_stack, make_bench(endpoints=own_stack.endpoints), GIVES_UP)
    found = world.finish(bad_reference=recorded.bad_reference)
    said = {*undisturbed.contents}
    assert differences(undisturbed, found) or said - {*found.contents}


def test_a_broker_that_is_away_is_waited_for(
    own_stack: LocalStack, make_bench: MakeBench, recorded: Recording, undisturbed: Outcome
) -> None:
    """Metrics, readiness and log say what is waited for; afterwards everything is as if nothing had been."""
    world = away(own_stack, make_bench(endpoints=own_stack.endpoints), seconds=AWAY_S)
    process = world.processes[-1]
    found = world.finish(bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []
    assert process.poll() == 0
    assert 1 <= words(world).count("waiting for kafka: ") <= 4  # once per wait: the watch's and the batch's
    assert "kafka answers again after" in words(world)


UNWATCHED = """
from services.agents_watch import AgentsWatch

def _looks_away(self, now):
    return ""

AgentsWatch._topics_changed = _looks_away
"""


@pytest.mark.parametrize("trap", ["", UNWATCHED], ids=["noticed", "protection off"])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning(
    own_stack: LocalStack, make_bench: MakeBench, trap: str
) -> None:
    """Deleted and made again under the agents: they end, and their next life applies what lies at offsets seen before."""
    world = make_bench(said=[], endpoints=own_stack.endpoints)
    process = world.fork(trap)
    world.publish(*(world.event(f"before{n}") for n in range(40)))
    world.publish(*(seen_by_device(world, n) for n in range(9)))
    world.publish(world.event("ann", "identify", anonymousId="device", properties={}))
    world.wait(world.applied)
    world.wait(lambda: world.rows().get("device", {}).get("alias_of"), "the merge")
    client = admin(world.settings)
    name = topic_name(world.settings, SHOP_EVENTS)
    client.delete_topics([name])
    world.wait(lambda: name not in client.list_topics(), "the topic is gone")
    client.close()
    ensure_topics(world.settings)
    without_producers(world)  # an idempotent one goes on numbering its records as in the old topic
    world.publish(seen_by_device(world, 9))
    world.publish(*(world.event(f"after{n}") for n in range(20)))
    if trap:
        time.sleep(12)  # twice as long as a look takes
        assert {user for user in world.rows() if user.startswith("after")} == set()
    else:
        assert process.wait(60) == 1
        assert "deleted and made again: shop.events" in words(world)
        world.fork()
        world.wait(lambda: len([user for user in world.rows() if user.startswith("after")]) == 20)
        world.wait(lambda: "p9" in json.dumps(world.rows()["ann"]["profile"]), "what the merged device did since")
    world.stop()


def seen_by_device(world: FaultWorld, number: int) -> dict[str, Any]:
    """A view by somebody who has not logged in."""
    event = world.event("device", properties={"product_id": f"p{number}"}) | {"anonymousId": "device"}
    del event["userId"]
    return event


def test_partitions_may_be_added(own_stack: LocalStack, make_bench: MakeBench, undisturbed: Outcome) -> None:
    """Added input by input while the agents run: said, waited for, then a start with all of them; profiles are the same."""
    world, process = with_half(make_bench, own_stack)
    add_partitions(world, [ADS_EVENTS])
    world.wait(lambda: "partitions were added" in health(world, process, "/-/ready")[1], "unequal inputs are said")
    assert process.poll() is None
    add_partitions(world, [topic for topic in INPUTS if topic != ADS_EVENTS])
    assert process.wait(60) == 1
    assert "ending, to be started again with them" in words(world)
    say_the_rest(world)
    world.settings = structs.replace(world.settings, partitions=4)
    world.fork()
    found = world.finish()
    assert differences(undisturbed, found, FOLDED) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_unwatched_partitions_that_are_added_are_not_applied(
    own_stack: LocalStack, make_bench: MakeBench, undisturbed: Outcome
) -> None:
    """Shown once: agents that go on as if nothing had been added leave something else."""
    world, process = with_half(make_bench, own_stack, UNWATCHED)
    add_partitions(world, INPUTS)
    say_the_rest(world)
    time.sleep(12)  # twice as long as a look takes
    assert process.poll() is None
    assert differences(undisturbed, world.outcome(), FOLDED)
    world.stop()


def with_half(make_bench: MakeBench, stack: LocalStack, trap: str = "") -> tuple[FaultWorld, Agents]:
    """Agents that have read the first half of the input from two partitions."""
    world = make_bench(said=halves(2)[0], endpoints=stack.endpoints)
    process = world.fork(trap)
    world.wait(world.settled, "the first half")
    return world, process


def halves(partitions: int) -> tuple[list[Said], list[Said]]:
    """The input for so many partitions, before and after the time of its middle record."""
    middle_ms = recording(partitions=2).said[len(recording(partitions=2).said) // 2].at_ms
    said = recording(partitions=partitions).said
    return [each for each in said if each.at_ms < middle_ms], [each for each in said if each.at_ms >= middle_ms]


def add_partitions(world: FaultWorld, topics: Iterable[TopicSpec]) -> None:
    """Four in place of two."""
    client = admin(world.settings)
    client.create_partitions({topic_name(world.settings, topic): 4 for topic in topics})
    client.close()


def say_the_rest(world: FaultWorld) -> None:
    """The second half, in four partitions."""
    without_producers(world)
    world.say(halves(4)[1])
