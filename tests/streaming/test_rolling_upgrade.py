"""An upgrade that adds a topic, rolled out: agents that do not know it work beside agents that do, in one group."""

from datetime import timedelta
from typing import Any

import pytest

from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import START, World

CUSTOMERS = 20
SECOND = timedelta(seconds=1)

BEFORE = """
import sys
from streaming.contracts import topics

_known = topics.INPUTS
_older = tuple(each for each in _known if each.name != "ads.events")
for _module in [each for name, each in sys.modules.items() if name.startswith(("streaming", "services"))]:
    for _name, _value in list(getattr(_module, "__dict__", {}).items()):
        if _value is _known:
            setattr(_module, _name, _older)
        elif _name == "CLOCKED":
            setattr(_module, _name, ("shop.events",))
"""
"""Code that makes a process one of the version before: it has never heard of a topic."""


def say(world: World, stage: int) -> None:
    """Of every customer a view on the one topic, and an e-mail that was opened on the other."""
    for number in range(CUSTOMERS):
        user, at = f"r{number}", START + (stage * CUSTOMERS + number) * SECOND
        world.publish(world.event(user, at=at, properties={"product_id": f"p{stage}"}))
        opened = {"email_id": f"e{stage}", "channel": "email"}
        world.publish(world.event(user, "Email Opened", at=at, properties=opened), topic=ADS_EVENTS)


def told(world: World) -> dict[str, tuple[set[str], int]]:
    """Customer → products viewed, e-mails counted."""
    return {user: (_viewed(row), _opened(row)) for user, row in world.rows().items()}


def _viewed(row: dict[str, Any]) -> set[str]:
    return {view[1] for view in row["profile"].get("views", [])}


def _opened(row: dict[str, Any]) -> int:
    return len(row["profile"].get("touches", {}))


@pytest.mark.slow
def test_an_upgrade_that_adds_a_topic_loses_nothing(make_world: MakeWorld) -> None:
    """Old agents alone, old beside new, new alone: what is said of the new topic waits for those who know it."""
    world = make_world(partitions=4)
    old = [world.start(BEFORE, METRICS_PORT="0") for _ in range(2)]
    world.clock(START)
    say(world, 0)
    world.wait(lambda: world.fates(SHOP_EVENTS).get("folded") == CUSTOMERS, "what the old agents know")
    world.wait(lambda: world.members() == 2, "two old members")
    assert world.fates(ADS_EVENTS) == {}

    world.start(METRICS_PORT="0")
    world.wait(lambda: world.members() == 3, "an upgraded member beside the old ones")
    say(world, 1)
    world.wait(lambda: world.fates(ADS_EVENTS).get("folded") == 2 * CUSTOMERS, "what the upgraded agents alone know")
    world.wait(world.applied, "both topics beside old agents")
    assert all(process.poll() is None for process in world.processes)

    for process in old:
        process.terminate()
        assert process.wait(60) == 0
        world.start(METRICS_PORT="0")
        say(world, 2 + old.index(process))
    world.wait(world.applied, "both topics after the upgrade")
    expected = ({f"p{stage}" for stage in range(4)}, 4)
    assert told(world) == {f"r{number}": expected for number in range(CUSTOMERS)}
    assert world.fates(SHOP_EVENTS) == world.fates(ADS_EVENTS) == {"folded": 4 * CUSTOMERS, "clock": 4}
