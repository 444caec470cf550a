"""Killed at any moment, the agents give the rewards and open states of an uninterrupted run over the same strategies."""

import json
import signal
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from streaming.contracts.topics import ADS_EVENTS, INPUTS, REWARDS
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import START, World
from tests.streaming.test_crashes import contents, finished, killed_before, rounded

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
TOLD = 12
"""Customers who are told a strategy each, and do this or that with it."""
MOMENTS = {
    "between the rewards' rows and their publication": killed_before("streaming.outbox", "Outbox", "publish", 3),
    "between strategies and the rest": killed_before("streaming.processor", "Processor", "_seal", 2),
}


def publish_all(world: World) -> None:
    """Recorded strategies, what came of them, and the clock over their windows; refunds after the finals."""
    world.product("p1")
    world.clock(START)
    for number in range(TOLD):
        publish_told(world, f"s{number}", number)
    for hours in (30, 80):
        world.clock(START + hours * HOUR)
    for number in range(TOLD):
        user, at = f"s{number}", START + 81 * HOUR
        last = {"strategy_id": world.strategy(user, TOLD + number, at).strategy_id}
        world.publish(world.event(user, "Promotion Viewed", at=at, properties=last), topic=ADS_EVENTS)
        if number % 2 == 0:
            given_back = {"order_id": f"o{number}", "currency": "USD"}
            world.publish(world.event(user, "Order Refunded", at=at, properties=given_back))
    world.clock(START + 82 * HOUR)


def publish_told(world: World, user: str, number: int) -> None:
    """A strategy seen by its customer; by turns clicked, bought, unsubscribed, and something doubled."""
    at = START + number * SECOND
    seen = {"strategy_id": world.strategy(user, number, at).strategy_id}
    view = world.event(user, "Promotion Viewed", at=at + SECOND, properties=seen)
    world.publish(view, view, topic=ADS_EVENTS)
    if number % 2 == 0:
        lines = {"order_id": f"o{number}", "currency": "USD", "products": [{"product_id": "p1", "price": 10}]}
        world.publish(world.event(user, "Promotion Clicked", at=at + 2 * SECOND, properties=seen), topic=ADS_EVENTS)
        world.publish(world.event(user, "Order Completed", at=at + HOUR, properties=lines))
    if number % 3 == 0:
        world.publish(world.event(user, "Unsubscribed", at=at + HOUR, properties=seen), topic=ADS_EVENTS)


def outcome(world: World) -> dict[str, Any]:
    """Profiles, open states, fates and every reward as published; what is asked follows the order between topics."""
    return {
        "profiles": {user: rounded(row["profile"]) for user, row in world.rows().items()},
        "open": world.open_states(),
        "fates": {topic.name: world.fates(topic) for topic in INPUTS},
        "rewards": {reward["reward_id"]: reward for reward in world.messages(REWARDS)},
    }


@pytest.fixture(scope="module")
def uninterrupted(make_world: MakeWorld) -> dict[str, Any]:
    """A run that nobody disturbs: every stage was reached, and something is still open."""
    world = make_world()
    publish_all(world)
    world.start()
    world.wait(finished(world))
    world.stop()
    made = outcome(world)
    stages = Counter(reward["stage"] for reward in made["rewards"].values())
    assert stages == {"response": TOLD, "final": TOLD, "correction": TOLD // 2}
    assert {strategy["stage"] for state in made["open"].values() for strategy in state["strategies"]} == {
        "open",
        "closed",
    }
    return made


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_changes_no_reward(make_world: MakeWorld, uninterrupted: dict[str, Any], moment: str) -> None:
    """Killed at this moment and started again: the same rewards with the same components, the same open states."""
    world = make_world()
    publish_all(world)
    doomed = world.start(MOMENTS[moment])
    assert doomed.wait(60) == -signal.SIGKILL
    world.start()
    world.wait(finished(world))
    world.stop()
    assert json.dumps(outcome(world), sort_keys=True) == json.dumps(uninterrupted, sort_keys=True)
    assert {id_ for id_, each in contents(world, REWARDS, "reward_id").items() if len(each) > 1} == set()
