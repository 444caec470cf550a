"""Real agents under another attribution model, with orders in two currencies: rewards are what the pure core says."""

import json
import re
from datetime import UTC, datetime

import pytest

from streaming.contracts.codec import decode, encode, instant
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import ADS_EVENTS, CATALOG, DEAD_LETTERS, REWARDS, SHOP_EVENTS, STRATEGIES
from streaming.open_state import Model
from tests.streaming.attribution_samples import PRODUCTS
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import World
from tests.streaming.test_attribution_page import ISSUED, PAGE, events, example_strategies, played, rows

END = datetime(2026, 6, 1, tzinfo=UTC)


def say_the_example(world: World) -> None:
    """The page's strategies and events, each event said when its day has come; then all windows close."""
    for product in PRODUCTS.values():
        world.send(CATALOG, product.product_id.encode(), encode(product))
    world.clock(ISSUED)
    for told in example_strategies():
        world.send(STRATEGIES, told.user_id.encode(), encode(told))
    [block] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    for line, event in zip(block.splitlines(), events(), strict=True):
        world.clock(instant(event.at_ms))
        topic = ADS_EVENTS if event.name.startswith("Promotion") else SHOP_EVENTS
        world.publish(json.loads(line), topic=topic)
    world.clock(END)


@pytest.mark.parametrize("model", ["linear", "time_decay"])
def test_agents_credit_by_the_model_of_their_setting(make_world: MakeWorld, model: Model) -> None:
    """Every reward of the page's example, per currency to the minor unit; what cannot be booked is a letter."""
    world = make_world()
    say_the_example(world)
    world.start(ATTRIBUTION_MODEL=model)
    expected = played(model).rewards
    world.wait(lambda: len(world.read(REWARDS)) >= len(expected) and world.books().outbox == 0, "the rewards")
    world.wait(world.applied)
    assert world.stop() == [0]
    found = [decode(record.value, Reward) for record in world.read(REWARDS)]
    assert {r.reward_id: r for r in found} == {r.reward_id: r for r in expected}
    assert len(found) == len(expected)
    assert sorted(rows(model, found)) == sorted(
        line for line in PAGE.splitlines() if line.startswith(f"| `{model}` | `")
    )
    assert {each.currency for r in found for each in r.outcomes.other_currencies} == {"EUR"}
    [letter] = world.read(DEAD_LETTERS)
    assert dict(letter.headers)["reason"] == b"settled_order"
