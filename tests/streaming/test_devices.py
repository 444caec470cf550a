"""One customer on several devices: a login on each, read in any order, gives one profile and each outcome once. Pure."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming.contracts.codec import decode
from streaming.contracts.events import Event
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import DEAD_LETTERS, REWARDS
from streaming.core import Context
from streaming.rules import HOUR_MS, Rules
from tests.streaming import attribution_samples
from tests.streaming import customer_samples as shop
from tests.streaming.attribution_samples import START_MS, WINDOWS
from tests.streaming.customer_samples import folded
from tests.streaming.identity_world import Customers
from tests.streaming.test_profile import assert_same, histories, plain

PHONE, TABLET, USER, OTHER = "phone", "tablet", "u1", "u2"
DEVICES = (PHONE, TABLET)
CONTEXT = Context(shop.SHOP, Rules(daily_cap=0), WINDOWS)


def said_by(who: str, event: Event) -> Event:
    """The same event under another id."""
    return replace(event, user_id=who)


def logins(at_ms: int) -> list[Event]:
    """A login on each device."""
    return [
        replace(shop.identify(device, at_ms + n), user_id=USER, message_id=f"is {device}")
        for n, device in enumerate(DEVICES)
    ]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(histories(), st.randoms(use_true_random=False))
def test_two_devices_and_a_login_on_both_give_one_profile(events: list[Event], rng: random.Random) -> None:
    """However events are spread over ids and whatever is read first: the profile of one id that said it all."""
    spread = [said_by(rng.choice((*DEVICES, USER)), event) for event in events]
    known = logins(shop.NOON_MS)
    records = [*spread, *known]
    rng.shuffle(records)
    world = Customers(CONTEXT)
    world.read(records)
    assert {world.owner(device) for device in DEVICES} == {USER}
    assert_same(plain(world.states[USER].row.profile), plain(folded(*events, *known)))
    assert {world.states[device].row.state for device in DEVICES} == {"pointer"}


def strategies() -> list[Strategy]:
    """One asked for on each device, one asked for after the login."""
    return [
        replace(made, user_id=who, request=replace(made.request, user_id=who))
        for who, made in zip((*DEVICES, USER), map(attribution_samples.strategy, range(3)), strict=True)
    ]


def outcomes() -> list[Event]:
    """Each strategy is seen and clicked, on whatever device; what the last recommends is bought once."""
    made: list[Event] = []
    for number, each in enumerate(strategies()):
        for hours, name in ((1.0, "Promotion Viewed"), (2.0, "Promotion Clicked")):
            event = shop.promotion(name, each.strategy_id, START_MS + round((hours + number) * HOUR_MS))
            made.append(said_by((USER, PHONE, TABLET)[number], event))
    made.append(said_by(PHONE, shop.order("o1", {1: "5.00"}, START_MS + 6 * HOUR_MS)))
    return made


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.permutations([*strategies(), *outcomes(), *logins(START_MS + 3 * HOUR_MS)]))
def test_open_strategies_follow_their_customer(records: list[Event | Strategy]) -> None:
    """Named under any id, answered before the merge or after it: every strategy closes once, with the same outcomes."""
    world = Customers(CONTEXT)
    world.read(records)
    world.close(START_MS + 200 * HOUR_MS)
    assert finals(world) == finals(in_order())
    assert len(finals(world)) == 3
    assert all(final.outcomes.shown and final.outcomes.clicked for final in finals(world).values())
    assert sum(final.outcomes.ordered for final in finals(world).values()) == 1


def in_order() -> Customers:
    """The same of a customer who is known from the beginning."""
    world = Customers(CONTEXT)
    world.read([*logins(START_MS), *strategies(), *outcomes()])
    world.close(START_MS + 200 * HOUR_MS)
    return world


def finals(world: Customers) -> dict[str, Reward]:
    """Strategy → its final, which must be the only one; marks and all."""
    rewards = [decode(each.value or b"", Reward) for each in world.told if each.topic == REWARDS.name]
    closed = [reward for reward in rewards if reward.stage == "final"]
    assert len({reward.strategy_id for reward in closed}) == len(closed)
    return {reward.strategy_id: reward for reward in closed}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(histories(), st.randoms(use_true_random=False))
def test_an_id_that_two_customers_claim_is_one_customers(events: list[Event], rng: random.Random) -> None:
    """The claim that is read first holds whatever comes between; the other is one letter, and moves nothing."""
    spread = [said_by(rng.choice((PHONE, USER, OTHER)), event) for event in events]
    claims = [
        replace(shop.identify(PHONE, shop.NOON_MS + n), user_id=who, message_id=f"m {who}")
        for n, who in enumerate((USER, OTHER))
    ]
    records = [*spread, *claims, *(replace(claim, message_id=claim.message_id + " again") for claim in claims)]
    rng.shuffle(records)
    first = next(record.user_id for record in records if record.name == "identify")
    world = Customers(CONTEXT)
    world.read(records)
    assert world.owner(PHONE) == first
    for who in (USER, OTHER):
        own = [r for r in records if r.user_id == who or (r.user_id == PHONE and who == first)]
        assert_same(plain(world.states[who].row.profile), plain(folded(*own)))
    loser = OTHER if first == USER else USER
    assert (world.states[first].row.conflicts, world.states[loser].row.conflicts) == ((), (PHONE,))
    letters = [each for each in world.told if each.topic == DEAD_LETTERS.name]
    assert [dict(letter.headers)["reason"] for letter in letters] == [b"identity_conflict"]
    assert msgspec.json.decode(letters[0].value or b"")["userId"] == loser
