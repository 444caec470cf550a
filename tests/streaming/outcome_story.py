"""One story of ten days that the agents live through once; tests then look at what is left of it.

Its customers are named after what happens to them. Times are hours of event time after `START`.
"""

import json
from datetime import timedelta
from typing import Any

from msgspec import Struct

from services.agents import rules_of
from streaming import control
from streaming.arms import assign
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import (
    ADS_EVENTS,
    CAMPAIGNS,
    DEAD_LETTERS,
    PROGRESS,
    REQUESTS,
    REWARDS,
    SUPPRESSIONS,
)
from streaming.control import Books
from tests.streaming import attribution_samples
from tests.streaming.edge_world import START, World
from tests.streaming.test_crashes import finished

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PAUSED_AT = START + timedelta(days=10)
SHARE_HOLDOUT = 0.3
REMAIN = {"faithful", "refuser", "stranger"}
"""Who is left at the end: one who was heard of, what one refused, one who came back."""
NOBODYS = "str_000000000000000000000000"
TOLD = {"refunded": 1, "late": 2, "later": 3, "early": 4, "stranger": 5}
"""Customer → number of the strategy they are told."""
BUG = """
from streaming import triggers

def _buggy(real, user):
    def act(row, *rest):
        if row.user_id == user:
            raise ZeroDivisionError("injected")
        return real(row, *rest)
    return act

for _name, _user in (("on_due", "bug-cart"), ("on_price_drop", "bug-price"), ("with_campaign", "bug-camp")):
    setattr(triggers, _name, _buggy(getattr(triggers, _name), _user))
"""
"""A bug of ours in timers, price drops and campaigns, with one customer each."""
RETENTION = """
import msgspec
from services import agents

_rules_of = agents.rules_of
agents.rules_of = lambda settings: msgspec.structs.replace(_rules_of(settings), profile_retention_days=60)
"""
"""Who is not heard of for sixty days is forgotten."""


class Seen(Struct):
    """Everything that is left of the story; letters are headers with the value as `original`."""

    world: World
    ghost: str
    rows: dict[str, Any]
    books: Books
    requests: list[dict[str, Any]]
    suppressions: list[dict[str, Any]]
    rewards: list[dict[str, Any]]
    progress: list[dict[str, Any]]
    letters: list[dict[str, str]]
    rows_later: dict[str, Any] = {}

    def rewards_of(self, user: str) -> list[dict[str, Any]]:
        """A customer's rewards in the topic's order."""
        return [reward for reward in self.rewards if reward["user_id"] == user]

    def letters_of(self, user: str) -> list[dict[str, str]]:
        """Letters under a customer's key."""
        return [letter for letter in self.letters if letter["key"] == user]

    def reasons(self, user: str) -> set[tuple[str, str]]:
        """Trigger and reason of what was not asked of a customer."""
        return {(each["trigger"], each["reason"]) for each in self.suppressions if each["user_id"] == user}


def strategy_of(user: str) -> str:
    """The id of the strategy that a customer is told."""
    return attribution_samples.strategy(TOLD[user]).strategy_id


def play(world: World) -> Seen:
    """Live through the story."""
    shares = rules_of(world.settings).shares
    names = (f"ghost-{number}" for number in range(1000))
    ghost = next(name for name in names if assign(name, shares, world.settings.arm_salt) == "holdout")
    begin(world, ghost)
    world.start(BUG + RETENTION, SHARE_HOLDOUT=str(SHARE_HOLDOUT))
    world.wait(finished(world), "the beginning")
    told(world, "early")  # read after what came of it
    for hours in (1.5, 8, 30):
        world.clock(START + hours * HOUR)
    world.wait(finished(world), "the responses")
    seen(world, "Promotion Clicked", "later", 10)  # after its response, before its final
    world.clock(START + 80 * HOUR)
    world.wait(finished(world), "the horizons")
    seen(world, "Promotion Clicked", "late", 10)  # after its final
    given_back = {"order_id": "o-refunded", "currency": "USD"}
    world.publish(world.event("refunded", "Order Refunded", at=START + 81 * HOUR, properties=given_back))
    pause(world)
    found = look(world, ghost)
    forget(world)
    found.rows_later = world.rows()
    return found


def begin(world: World, ghost: str) -> None:
    """The first day, published before the agents start."""
    for product_id in ("p1", "p-bug", "p-drop"):
        world.product(product_id)
    world.clock(START)
    for user in ("refunded", "late", "later", "stranger"):
        told(world, user)
    for user in TOLD:
        seen(world, "Promotion Viewed", user, 1 / 60)
    for user in ("refunded", "early"):
        seen(world, "Promotion Clicked", user, 2 / 60)
    echoed = {"strategy_id": NOBODYS}
    world.publish(world.event("nobodys", "Promotion Clicked", at=START + MINUTE, properties=echoed), topic=ADS_EVENTS)
    world.publish(
        world.event(ghost),
        world.event(ghost, "Order Completed", at=START + HOUR, properties=order("o-ghost", "p1")),
        world.event("refunded", "Order Completed", at=START + HOUR, properties=order("o-refunded", "p1")),
    )
    strange(world)
    bugs(world)


def strange(world: World) -> None:
    """Products and campaigns that no catalog has."""
    costs = {"strategy_id": strategy_of("stranger"), "campaign_id": "k-nowhere", "cost": 0.3, "currency": "USD"}
    wish = {"product_id": "p-nowhere", "price": 10, "currency": "USD"}
    world.publish(
        world.event("stranger", properties={"product_id": "p-nowhere"}),
        world.event("stranger", "Product Added to Wishlist", at=START + MINUTE, properties=wish),
        world.event("stranger", "Order Completed", at=START + HOUR, properties=order("o-strange", "p-nowhere")),
        world.event("wanting", "Decision Requested", properties={"kind": "ranking", "category": "nowhere"}),
        world.event("after-stranger"),
    )
    world.publish(world.event("stranger", "Ad Cost Recorded", at=START + MINUTE, properties=costs), topic=ADS_EVENTS)


def bugs(world: World) -> None:
    """A cart, a wish and a campaign for those with the bug, and for one beside each who goes without."""
    priced = {"product_id": "p-bug", "price": 10, "currency": "USD"}
    for who in ("bug", "well"):
        world.publish(
            world.event(f"{who}-cart", "Product Added", properties=priced | {"product_id": "p1"}),
            world.event(f"{who}-price", "Product Added to Wishlist", properties=priced),
            world.event(f"{who}-camp"),
        )
    world.product("p-bug", 700)
    campaign(world, "spring", START, "bug-camp", "well-camp")


def pause(world: World) -> None:
    """Everything that comes by itself, while an operator has paused new strategies."""
    world.clock(PAUSED_AT)
    priced = {"product_id": "p-drop", "price": 10, "currency": "USD"}
    world.publish(
        world.event("paused-cart", "Product Added", at=PAUSED_AT, properties=priced | {"product_id": "p1"}),
        world.event("paused-price", "Product Added to Wishlist", at=PAUSED_AT, properties=priced),
        world.event("paused-camp", at=PAUSED_AT),
    )
    world.wait(finished(world), "customers to be paused")
    control.pause(world.client, world.settings.topic_prefix)
    world.product("p-drop", 700)
    campaign(world, "summer", PAUSED_AT, "paused-camp")
    world.wait(lambda: "summer" in json.dumps(world.rows()["paused-camp"]["due"]), "the campaign's timer")
    for minutes in (30, 90):
        world.clock(PAUSED_AT + minutes * MINUTE)
        world.wait(finished(world), "time while paused")
    world.wait(lambda: [m for m in world.messages(SUPPRESSIONS) if m["user_id"] == "paused-price"], "the price drop")
    control.resume(world.client, world.settings.topic_prefix)


def forget(world: World) -> None:
    """Months pass, in which one customer is heard of; then another comes back."""
    refused = {"consent": {"categoryPreferences": {"personalization": False}}}
    world.publish(
        world.event("refuser", "Segment Consent Preference Updated", at=PAUSED_AT, properties={}, context=refused)
    )
    for days in (40, 80):
        world.clock(START + timedelta(days=days))
        world.publish(world.event("faithful", at=START + timedelta(days=days)))
    world.wait(lambda: "stranger" not in world.rows(), "a customer to be forgotten")
    world.publish(world.event("stranger", at=START + timedelta(days=80)))
    world.wait(finished(world), "who came back")
    world.wait(lambda: world.rows().keys() == REMAIN, "the others to be forgotten")


def order(order_id: str, product_id: str) -> dict[str, Any]:
    """The properties of an order of one unit at 10.00."""
    return {"order_id": order_id, "currency": "USD", "products": [{"product_id": product_id, "price": 10}]}


def told(world: World, user: str) -> Strategy:
    """Publish the strategy of a customer."""
    return world.strategy(user, TOLD[user])


def seen(world: World, name: str, user: str, hours: float) -> None:
    """Publish an event that names the customer's strategy."""
    echoed = {"strategy_id": strategy_of(user)}
    world.publish(world.event(user, name, at=START + hours * HOUR, properties=echoed), topic=ADS_EVENTS)


def campaign(world: World, name: str, starts: Any, *audience: str) -> None:
    """Publish a campaign for named customers."""
    record = {
        "campaign_id": name,
        "kind": "promotion",
        "name": name,
        "creatives": [{"language": "en", "title": name}],
        "starts_at": starts.isoformat(),
        "ends_at": (starts + timedelta(days=9)).isoformat(),
        "budget_minor": 100_000,
        "currency": "USD",
        "audience": audience,
    }
    world.send(CAMPAIGNS, name.encode(), json.dumps(record).encode())
    world.flush()


def look(world: World, ghost: str) -> Seen:
    """Read everything back."""
    letters = []
    for record in world.read(DEAD_LETTERS):
        headers = {name: value.decode() for name, value in record.headers}
        letters.append(headers | {"key": record.key.decode(), "original": record.value.decode()})
    return Seen(
        world=world,
        ghost=ghost,
        rows=world.rows(),
        books=world.books(),
        requests=world.messages(REQUESTS),
        suppressions=world.messages(SUPPRESSIONS),
        rewards=world.messages(REWARDS),
        progress=world.messages(PROGRESS),
        letters=letters,
    )
