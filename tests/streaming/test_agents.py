"""The agents as a real process on real Kafka and Redis: what goes in, what is stored, what comes out."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from streaming import control
from streaming.contracts.codec import encode
from streaming.contracts.topics import (
    ADS_EVENTS,
    CAMPAIGNS,
    CATALOG,
    DEAD_LETTERS,
    PROGRESS,
    REQUESTS,
    REWARDS,
    SHOP_EVENTS,
    STRATEGIES,
    SUPPRESSIONS,
)
from streaming.keys import MIXED_FIELD, control_key
from tests.streaming import attribution_samples
from tests.streaming.conftest import MakeWorld
from tests.streaming.edge_world import START, World

MINUTE = timedelta(minutes=1)
FIVE_MB = 5_000_000


@pytest.fixture(scope="module")
def world(make_world: MakeWorld) -> Iterator[World]:
    """One world with one agents process in replay mode; each test has customers of its own."""
    made = make_world()
    made.product("p1")
    made.start()
    made.clock(START)
    made.wait(made.applied, "the first clock")
    yield made
    assert made.stop() == [0]


def letters(world: World) -> dict[bytes | None, dict[str, bytes]]:
    """Headers of the dead letters by key."""
    return {record.key: dict(record.headers) for record in world.read(DEAD_LETTERS)}


def test_an_event_becomes_a_row_and_a_request(world: World) -> None:
    """One event in, a row in Redis, a request under the customer's key out."""
    world.publish(world.event("first"))
    requests = world.wait(lambda: [r for r in world.read(REQUESTS) if r.key == b"first"], "a request")
    request = json.loads(requests[0].value)
    assert (request["user_id"], request["trigger"]) == ("first", "session_start")
    assert world.rows()["first"]["profile"]["views"][0][1] == "p1"
    shown = control.read_profile(world.client, "first", world.settings.topic_prefix)
    assert shown is not None
    assert json.loads(shown)["user_id"] == "first"


def test_every_record_has_one_fate(world: World) -> None:
    """Duplicates, unknown names, tombstones, empty values and bad records are counted, and good ones folded once."""
    before = Counter(world.fates())
    twice = world.event("fates")
    unknown = world.event("fates", "Page Scrolled")
    world.publish(world.event("fates"), twice, twice, unknown, twice)
    world.send(SHOP_EVENTS, b"fates", None)
    world.send(SHOP_EVENTS, b"fates", b"")
    world.send(SHOP_EVENTS, b"bad-json", b"{not json")
    world.send(SHOP_EVENTS, b"bad-utf8", b"\xff\xfe")
    world.flush()
    world.wait(world.applied)
    after = Counter(world.fates())
    assert after - before == Counter(folded=2, duplicate=2, ignored=3, dead_lettered=2)
    assert len(world.rows()["fates"]["profile"]["views"]) == 2


def test_bad_records_are_dead_lettered_with_the_reason(world: World) -> None:
    """Wrong types, missing fields, absurd times, bad money, 5 MB, a wrong key: each with its reason, none stops the rest."""
    order = {"order_id": "o", "currency": "USD", "products": [{"product_id": "p1", "price": -1}]}
    world.publish(
        world.event("bad-type", properties={"product_id": 7}),
        world.event("bad-missing", "Order Completed", properties={"order_id": "o"}),
        world.event("bad-future", at=START + timedelta(days=400)),
        world.event("bad-money", "Order Completed", properties=order),
        world.event("good-among-bad"),
    )
    world.send(SHOP_EVENTS, b"bad-size", b"x" * FIVE_MB)
    world.send(SHOP_EVENTS, b"bad-key", json.dumps(world.event("somebody-else")).encode())
    world.flush()
    found = world.wait(lambda: len(each := letters(world)) >= 6 and b"bad-key" in each and b"bad-size" in each and each)
    assert found[b"bad-type"]["field"] == b"properties.product_id"
    assert found[b"bad-type"]["reason"] == b"bad_field"
    assert b"currency" in found[b"bad-missing"]["field"]
    assert found[b"bad-future"]["reason"] == b"bad_timestamp"
    assert found[b"bad-money"]["field"] == b"properties.products[0].price"
    assert found[b"bad-key"]["reason"] == b"bad_key"
    assert found[b"bad-size"]["original_bytes"] == str(FIVE_MB).encode()
    world.wait(world.applied)
    assert "good-among-bad" in world.rows()
    assert "somebody-else" not in world.rows()


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd", "snappy"])
def test_compressed_batches_are_read(world: World, codec: str) -> None:
    """Every compression a shop may choose."""
    world.publish(*(world.event(f"{codec}-{n}") for n in range(20)), codec=codec)
    world.wait(world.applied)
    assert {f"{codec}-{n}" for n in range(20)} <= world.rows().keys()


def test_another_partitioner_is_counted_and_still_exact(world: World) -> None:
    """A record in the wrong partition is folded into the same row."""
    made = [world.event("astray", at=START + timedelta(seconds=n)) for n in range(4)]
    for number, event in enumerate(made):
        world.send(SHOP_EVENTS, b"astray", json.dumps(event).encode(), partition=number % 2)
    world.flush()
    world.wait(world.applied)
    assert len(world.rows()["astray"]["profile"]["views"]) == 4


def test_another_partitioner_is_forgotten_a_horizon_later(make_world: MakeWorld) -> None:
    """Windows wait for every partition while it was seen lately, and log and store say when that is over."""
    made = make_world()
    made.start()
    made.clock(START)
    made.send(SHOP_EVENTS, b"astray", json.dumps(made.event("astray")).encode(), partition=0)
    made.send(SHOP_EVENTS, b"astray", json.dumps(made.event("astray")).encode(), partition=1)
    made.wait(lambda: made.client.hexists(control_key(made.settings.topic_prefix), MIXED_FIELD), "the mark")
    made.clock(START + 73 * 60 * MINUTE)
    made.wait(lambda: not made.client.hexists(control_key(made.settings.topic_prefix), MIXED_FIELD), "its end")
    assert made.stop() == [0]
    assert made.log.read_text().count("windows close by partition again") == 1


def test_pause_suppresses_and_resume_lifts(world: World) -> None:
    """While paused, moments are recorded as suppressed; afterwards they are asked again."""
    prefix = world.settings.topic_prefix
    control.pause(world.client, prefix)
    world.publish(world.event("paused-one"))
    found = world.wait(lambda: [m for m in world.messages(SUPPRESSIONS) if m["user_id"] == "paused-one"])
    assert {m["reason"] for m in found} == {"paused"}
    control.resume(world.client, prefix)
    world.publish(world.event("resumed-one"))
    world.wait(lambda: [m for m in world.messages(REQUESTS) if m["user_id"] == "resumed-one"])


def test_bad_reference_records_are_dead_lettered_once(world: World) -> None:
    """A product that cannot be read is refused with the reason and does not stop the catalog."""
    world.send(CATALOG, b"broken", b'{"product_id": "broken"}')
    world.flush()
    world.product("after-broken")
    found = world.wait(lambda: letters(world).get(b"broken"))
    assert (found["reason"], found["topic"]) == (b"bad_reference", b"shop.catalog")
    assert world.fates(CATALOG) == {"dead_lettered": 1}


def test_an_anonymous_visitor_becomes_a_customer(world: World) -> None:
    """After `identify` the anonymous row is a pointer and all its events, before and after, are the user's."""
    at = START + MINUTE
    before = [world.event("", anonymousId="anon-1", at=at + timedelta(seconds=n)) for n in range(3)]
    own = world.event("known-1", at=at + timedelta(seconds=5))
    joined = world.event("known-1", "identify", at=at + timedelta(seconds=6), anonymousId="anon-1", properties={})
    for each in before:
        del each["userId"]
    world.publish(*before, own)
    world.wait(world.applied)
    assert len(world.rows()["anon-1"]["profile"]["views"]) == 3
    world.publish(joined)
    world.wait(lambda: world.rows()["anon-1"].get("state") == "pointer", "the pointer")
    assert len(world.rows()["known-1"]["profile"]["views"]) == 4
    later = world.event("", anonymousId="anon-1", at=at + timedelta(seconds=9))
    del later["userId"]
    world.publish(later, later)
    world.wait(world.applied)
    assert len(world.rows()["known-1"]["profile"]["views"]) == 5
    assert "views" not in world.rows()["anon-1"].get("profile", {})
    assert world.books().aliases == 1
    shown = control.read_profile(world.client, "anon-1", world.settings.topic_prefix)
    assert shown is not None
    assert json.loads(shown)["user_id"] == "known-1"


def test_a_price_drop_reaches_those_who_wished(world: World) -> None:
    """A lower price in the catalog asks once for each customer who wished for the product, and for nobody else."""
    world.product("p-drop", 1000)
    world.publish(
        world.event(
            "wisher", "Product Added to Wishlist", properties={"product_id": "p-drop", "price": 10, "currency": "USD"}
        ),
        world.event("looker", properties={"product_id": "p-drop"}),
    )
    world.wait(world.applied)
    world.product("p-drop", 700)

    def told() -> list[dict[str, Any]]:
        return [m for t in (REQUESTS, SUPPRESSIONS) for m in world.messages(t) if m["trigger"] == "price_drop"]

    assert [m["user_id"] for m in world.wait(told)] == ["wisher"]
    world.product("p-drop", 700)
    world.publish(world.event("bystander"))
    world.wait(world.applied)
    assert [m["user_id"] for m in told()] == ["wisher"]


def test_a_campaign_start_reaches_its_audience_once(world: World) -> None:
    """A campaign that begins asks for each customer of its audience, spread by due times, and for nobody else."""
    world.publish(*(world.event(user) for user in ("camp-a", "camp-b", "camp-not")))
    world.wait(world.applied)
    campaign = {
        "campaign_id": "spring",
        "kind": "promotion",
        "name": "Spring",
        "creatives": [{"language": "en", "title": "Spring"}],
        "starts_at": START.isoformat(),
        "ends_at": (START + timedelta(days=9)).isoformat(),
        "budget_minor": 100_000,
        "currency": "USD",
        "audience": ["camp-a", "camp-b"],
    }
    world.send(CAMPAIGNS, b"spring", json.dumps(campaign).encode())
    world.flush()

    def made() -> list[Any]:
        return [m for t in (REQUESTS, SUPPRESSIONS) for m in world.messages(t) if m["trigger"] == "campaign_start"]

    def scheduled() -> bool:
        triggers = [each["trigger"] for row in world.rows().values() for each in row.get("due", [])]
        return triggers.count("campaign_start") + len(made()) == 2  # whoever comes first of all is due at once

    world.wait(scheduled, "timers of the campaign")
    world.clock(START + MINUTE)

    def reached() -> Any:
        return len(found := made()) >= 2 and Counter(m["user_id"] for m in found)

    assert world.wait(reached) == {"camp-a": 1, "camp-b": 1}


def test_time_fires_what_is_due_before_progress_says_so(world: World) -> None:
    """An abandoned cart asks when the shop's clock passes its time; by then progress has been told, not before."""
    at = START + 10 * MINUTE
    world.publish(
        world.event("carter", "Product Added", at=at, properties={"product_id": "p1", "price": 10, "currency": "USD"})
    )
    world.wait(world.applied)
    world.clock(at + 90 * MINUTE)
    ends = world.ends(SHOP_EVENTS) | world.ends(ADS_EVENTS)

    def told() -> bool:
        said = {(m["topic"], m["partition"]): m["offset"] for m in world.messages(PROGRESS)}
        return all(said.get(place, 0) >= end for place, end in ends.items())

    world.wait(told, "progress")
    asked = [m for t in (REQUESTS, SUPPRESSIONS) for m in world.messages(t) if m["user_id"] == "carter"]
    assert "cart_abandoned" in {m["trigger"] for m in asked}


def test_a_strategy_is_joined_with_what_the_customer_did(world: World) -> None:
    """Seen and clicked, then the windows close: `response` and `final` come out, each once, with the outcomes."""
    at = START + 2 * 60 * MINUTE
    written = attribution_samples.strategy(1)
    made = replace(written, user_id="joined", issued_at=at, valid_until=at + 60 * MINUTE)
    world.send(STRATEGIES, b"joined", encode(made))
    seen = {"strategy_id": made.strategy_id}
    world.publish(
        world.event("joined", "Promotion Viewed", at=at + MINUTE, properties=seen),
        world.event("joined", "Promotion Clicked", at=at + 2 * MINUTE, properties=seen),
        topic=ADS_EVENTS,
    )
    world.wait(lambda: world.applied() and world.fates(STRATEGIES) == {"folded": 1})
    world.clock(at + timedelta(hours=30))
    world.clock(at + timedelta(days=5))

    def rewards() -> Any:
        found = {m["stage"]: m for m in world.messages(REWARDS)}
        return len(found) == 2 and found

    closed = world.wait(rewards)
    assert closed.keys() == {"response", "final"}
    assert closed["response"]["outcomes"]["clicked"]
    assert not closed["final"]["outcomes"]["ordered"]
    assert len(world.messages(REWARDS)) == 2
