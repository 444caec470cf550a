"""Killed at any moment, the agents give the rows of an uninterrupted run, and every id has one content (law 1)."""

import json
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from streaming.contracts.topics import ADS_EVENTS, PROGRESS, REQUESTS, SHOP_EVENTS, SUPPRESSIONS, TopicSpec
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import START, World

SECOND = timedelta(seconds=1)
CUSTOMERS = 40
HOUR_S = 3600

_DIE = """
import os, signal
from {module} import {owner}
_real, _left = {owner}.{method}, {after}

async def _doomed(self, *args, **kwargs):
    global _left
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return await _real(self, *args, **kwargs)

{owner}.{method} = _doomed
"""


def killed_before(module: str, owner: str, method: str, after: int) -> str:
    """Code that kills its process with SIGKILL just before the `after`-th call of a method."""
    return _DIE.format(module=module, owner=owner, method=method, after=after)


MOMENTS = {
    "between the rows and the publication": killed_before("streaming.outbox", "Outbox", "publish", 2),
    "between the publication and the clearing": killed_before("streaming.store", "Store", "clear", 2),
    "between the buckets and the seal": killed_before("streaming.processor", "Processor", "_seal", 3),
    "between the seal and the progress": killed_before("streaming.timers", "Timers", "_tell", 4),
}


def publish_all(world: World) -> None:
    """Sessions, carts, orders, duplicates, an identify, garbage; then two hours pass on the shop's clock."""
    priced = {"product_id": "p1", "price": 10, "currency": "USD"}
    for number in range(CUSTOMERS):
        user, at = f"c{number}", START + number * SECOND
        made = [world.event(user, at=at), world.event(user, "Product Added", at=at + SECOND, properties=priced)]
        if number % 3 == 0:
            lines = {"order_id": f"o{number}", "currency": "USD", "products": [{"product_id": "p1", "price": 10}]}
            made.append(world.event(user, "Order Completed", at=at + 2 * SECOND, properties=lines))
        if number % 5 == 0:
            known = {"anonymousId": f"c{number + 1}", "properties": {}}
            made.append(world.event(user, "identify", at=at + 3 * SECOND, **known))
        world.publish(*made, made[0])
        world.send(SHOP_EVENTS, b"garbage", b"[")
    world.flush()
    world.clock(START + timedelta(seconds=2 * HOUR_S))


def finished(world: World) -> Callable[[], bool]:
    """Whether everything was applied, published and told."""

    def look() -> bool:
        said = {(m["topic"], m["partition"]): m["offset"] for m in world.messages(PROGRESS)}
        ends = world.ends(SHOP_EVENTS) | world.ends(ADS_EVENTS)
        return world.applied() and world.books().outbox == 0 and all(said.get(p, 0) >= end for p, end in ends.items())

    return look


def contents(world: World, topic: TopicSpec, id_field: str) -> dict[str, set[bytes]]:
    """The different contents of each id on a topic."""
    found: dict[str, set[bytes]] = {}
    for record in world.read(topic):
        found.setdefault(json.loads(record.value)[id_field], set()).add(record.value)
    return found


@pytest.fixture(scope="module")
def uninterrupted(make_world: MakeWorld) -> dict[str, Any]:
    """Rows, fates and ids of a run that nobody disturbs."""
    world = make_world()
    world.product("p1")
    world.start()
    world.clock(START)
    publish_all(world)
    world.wait(finished(world))
    world.stop()
    return outcome(world)


def outcome(world: World) -> dict[str, Any]:
    """All that must not depend on crashes.

    What is asked of customers with several ids follows the order between partitions, which is not given: of them the
    profile is compared, the sums of floats up to their last digits.
    """
    rows = world.rows()
    merged = {user for user, row in rows.items() if "alias_of" in row or "merged" in row}
    made = [*world.messages(REQUESTS), *world.messages(SUPPRESSIONS)]
    return {
        "rows": {user: row for user, row in rows.items() if user not in merged},
        "profiles": {user: rounded(rows[user].get("profile")) for user in merged},
        "fates": world.fates(),
        "asked": {(each["request_id"], each["user_id"]) for each in made if each["user_id"] not in merged},
    }


def rounded(value: Any) -> Any:
    """The same with every float cut to nine digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_changes_nothing(make_world: MakeWorld, uninterrupted: dict[str, Any], moment: str) -> None:
    """Killed at this moment and started again: the same rows, fates and ids, one content for every id."""
    world = make_world()
    world.product("p1")
    world.clock(START)
    publish_all(world)
    doomed = world.start(MOMENTS[moment])
    assert doomed.wait(60) == -signal.SIGKILL
    world.start()
    world.wait(finished(world))
    assert outcome(world) == uninterrupted
    for topic, id_field in ((REQUESTS, "request_id"), (SUPPRESSIONS, "suppression_id")):
        assert {id_: len(each) for id_, each in contents(world, topic, id_field).items() if len(each) > 1} == {}
    world.stop()


@pytest.mark.slow
def test_a_timer_fires_after_a_restart(make_world: MakeWorld) -> None:
    """A cart abandoned before a clean stop is asked about after the next start, once the clock has passed."""
    world = make_world()
    world.product("p1")
    world.start()
    world.clock(START)
    priced = {"product_id": "p1", "price": 10, "currency": "USD"}
    world.publish(world.event("left", "Product Added", at=START + SECOND, properties=priced))
    world.wait(world.applied)
    assert world.stop() == [0]
    world.clock(START + timedelta(seconds=2 * HOUR_S))
    world.start()

    def asked() -> set[str]:
        made = [m for t in (REQUESTS, SUPPRESSIONS) for m in world.messages(t) if m["user_id"] == "left"]
        return {m["trigger"] for m in made} & {"cart_abandoned"}

    world.wait(asked)


@pytest.mark.slow
def test_a_store_that_comes_back_empty_is_filled_again(make_world: MakeWorld) -> None:
    """When Redis has applied less than Kafka committed, agents read again from what Redis knows."""
    world = make_world()
    world.product("p1")
    world.start()
    world.clock(START)
    world.publish(*(world.event(f"lost-{n}") for n in range(20)))
    world.wait(world.applied)
    assert world.stop() == [0]
    kept = world.rows()
    for key in world.client.scan_iter(f"*stratagem:{world.settings.topic_prefix}b*"):
        world.client.delete(key)
    assert world.rows() == {}
    world.publish(world.event("after"))
    world.start()
    world.wait(lambda: "after" in world.rows())
    world.clock(START + SECOND)
    world.wait(world.applied)
    rows = world.rows()
    assert {user: rows[user]["profile"] for user in kept} == {user: row["profile"] for user, row in kept.items()}


@pytest.mark.slow
def test_two_workers_share_partitions_and_one_takes_over(make_world: MakeWorld) -> None:
    """Two processes fold everything once; when one is killed the other goes on with its partitions."""
    world = make_world(partitions=4)
    world.product("p1")
    first = world.start(METRICS_PORT="0")
    world.start(METRICS_PORT="0")
    world.clock(START)
    world.publish(*(world.event(f"w{n % 30}", at=START + n * SECOND) for n in range(90)))
    world.wait(world.applied)
    first.kill()
    world.publish(*(world.event(f"w{n % 30}", at=START + n * SECOND) for n in range(90, 180)))
    world.wait(world.applied)
    assert world.fates() == {"folded": 180, "clock": 4}
    assert sum(len(row["profile"]["views"]) for row in world.rows().values()) == 180


@pytest.mark.slow
def test_two_workers_that_write_the_same_buckets_stay_exact(make_world: MakeWorld) -> None:
    """With another partitioner both own every customer: races are lost, refused, run again, and nothing is miscounted."""
    world = make_world(partitions=4)
    world.product("p1")
    world.clock(START)
    for _ in range(2):
        world.start(METRICS_PORT="0", MAX_POLL_RECORDS="20")
    world.wait(lambda: world.members() == 2, "two members")
    for number in range(1200):
        event = world.event(f"x{number % 25}", "Product Added to Wishlist", at=START + number * SECOND)
        world.send(SHOP_EVENTS, event["userId"].encode(), json.dumps(event).encode(), partition=number % 4)
    world.flush()
    world.wait(world.applied)
    assert world.fates() == {"folded": 1200, "clock": 4}
    assert {len(row["message_ids"]) for row in world.rows().values()} == {48 * 8 * 4 // 3}  # 8 bytes each, in base64
    assert world.stop() == [0, 0]
    assert "a race was lost" in world.log.read_text("utf-8", "replace")
