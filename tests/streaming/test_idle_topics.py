"""Horizons close when nothing happens any more, also of topics whose last offset no record has: mirrored and emptied ones."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from kafka import TopicPartition

from services.clients import admin, topic_name
from streaming.contracts.codec import encode
from streaming.contracts.topics import ADS_EVENTS, REWARDS, SHOP_EVENTS, STRATEGIES
from tests.streaming import attribution_samples
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import LIMIT_S, World

SHORT = {"HORIZON_H": "0.002", "RESPONSE_WINDOW_H": "0.001", "ALLOWED_LATENESS_S": "0"}
"""Windows of seconds: what closes them is the wall clock."""


MIRROR = """
import json, sys
from kafka import KafkaProducer

bootstrap, prefix, lines = sys.argv[1:]
mirror = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=prefix + "mirror")
mirror.init_transactions()
for kept in (False, True):
    for topic, value in json.loads(lines):
        mirror.begin_transaction()
        mirror.send(topic, key=b"told", value=value.encode())
        mirror.flush()
        (mirror.commit_transaction if kept else mirror.abort_transaction)()
mirror.close()
"""
"""A process that writes every record twice, each time in a transaction of its own: aborted, then committed."""


def stages(world: World) -> list[str]:
    """The stages of the rewards so far."""
    return [reward["stage"] for reward in world.messages(REWARDS)]


def bought(order_id: str) -> dict[str, object]:
    """An order that is nobody's."""
    return {"order_id": order_id, "currency": "USD", "products": [{"product_id": "p9", "price": 10}]}


def test_a_topic_without_records_left_is_idle(make_world: MakeWorld) -> None:
    """All of `ads.events` was deleted by retention before the agents first started: its offsets begin above zero."""
    world = make_world(clock="live", allowed_lateness_s=0.0)
    world.product("p1")
    world.publish(*(world.event(f"u{n}", "Promotion Viewed", properties={}) for n in range(20)), topic=ADS_EVENTS)
    name = topic_name(world.settings, ADS_EVENTS)
    ends = {TopicPartition(name, partition): end for (_, partition), end in world.ends(ADS_EVENTS).items()}
    kafka = admin(world.settings)
    kafka.delete_records(ends)
    kafka.close()
    world.start(**SHORT)
    told = world.strategy("told", 1, at=datetime.now(UTC), valid_h=0.001)
    world.wait(lambda: stages(world) == ["response", "final"], "an unseen strategy to close")
    assert {reward["strategy_id"] for reward in world.messages(REWARDS)} == {told.strategy_id}


def test_a_mirrored_topic_is_idle_behind_its_markers(make_world: MakeWorld) -> None:
    """A mirror that writes transactions leaves a marker behind the last record, an aborted one leaves records nobody reads."""
    world = make_world(clock="live", allowed_lateness_s=0.0)
    world.product("p1")
    world.start(**SHORT)
    now = datetime.now(UTC)
    made = attribution_samples.strategy(1)
    made = attribution_samples.moved(made, "told", now, now + timedelta(seconds=4))
    view = world.event("told", "Promotion Viewed", at=now, properties={"strategy_id": made.strategy_id})
    order = world.event("told", "Order Completed", at=now, properties=bought("o1"))
    lines = ((SHOP_EVENTS, json.dumps(order)), (ADS_EVENTS, json.dumps(view)), (STRATEGIES, encode(made).decode()))
    names = [(topic_name(world.settings, topic), value) for topic, value in lines]
    command = [sys.executable, "-c", MIRROR, world.settings.kafka_bootstrap, world.settings.topic_prefix]
    subprocess.run([*command, json.dumps(names)], check=True, timeout=LIMIT_S)
    world.wait(lambda: stages(world) == ["response", "final"], "a seen strategy to close")
    final = world.messages(REWARDS)[-1]
    assert (final["outcomes"]["shown"], final["outcomes"]["horizon_orders"]) == (True, 1)
    assert world.books().fates["shop.events"] == {"folded": 1}, "an aborted transaction never happened"
