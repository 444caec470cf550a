"""The fold: order and duplicates do not matter, bounds hold."""

import math
import random
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.contracts.events import Context, Event
from streaming.contracts.strategies import Strategy
from streaming.profile import EMPTY, Profile, fold, fold_strategy
from streaming.profile_parts import Counts, Money
from streaming.row import Row, remember, remembers
from streaming.rules import SESSION_GAP_MS, Rules
from streaming.sessions import current, merged, with_activity
from tests.model.sample import request_of
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS, SHOP, folded

TIMES = st.one_of(
    st.integers(NOON_MS, NOON_MS + 3 * HOUR_MS),
    st.integers(NOON_MS - 40 * DAY_MS, NOON_MS),
    st.sampled_from([NOON_MS, NOON_MS + 1, NOON_MS + SESSION_GAP_MS, NOON_MS + MINUTE_MS]),
)
NUMBERS = st.integers(0, 5)
CONTEXTS = st.sampled_from([
    Context(), Context(locale="zh-CN"), Context(locale="en", timezone="Asia/Tokyo"),
    Context(consent=msgspec.convert({"categoryPreferences": {"email": True, "push": False}}, type=Context.__annotations__["consent"])),
])  # fmt: skip


def product_events() -> st.SearchStrategy[Event]:
    """Views, clicks, carts and wishes."""
    names = ["Product Viewed", "Product Clicked", "Product Added", "Product Removed", "Product Added to Wishlist"]
    prices = st.sampled_from([None, "1.00", "9.99"])
    return st.builds(
        lambda name, number, at_ms, price, quantity: shop.about(name, number, at_ms, price=price, quantity=quantity),
        st.sampled_from(names), NUMBERS, TIMES, prices, st.integers(1, 3),
    )  # fmt: skip


def other_events() -> st.SearchStrategy[Event]:
    """Searches, orders, refunds, messages, consent."""
    orders = st.sampled_from(["o1", "o2", "o3"])
    keys = st.sampled_from(["s1", "s2"])
    return st.one_of(
        st.builds(shop.search, st.sampled_from(["coffee", "green tea"]), TIMES),
        st.builds(lambda o, n, at_ms, off: shop.order(o, {n: "2.50", n + 1: "1.10"}, at_ms, off=off), orders, NUMBERS, TIMES,
                  st.sampled_from([None, "0.30"])),
        st.builds(lambda o, at_ms, total: shop.refund(o, at_ms, total=total), orders, TIMES, st.sampled_from([None, "1.00"])),
        st.builds(shop.checkout, TIMES),
        st.builds(shop.promotion, st.sampled_from(["Promotion Viewed", "Promotion Clicked"]), keys, TIMES),
        st.builds(shop.listed, keys, TIMES),
        st.builds(shop.mail, st.sampled_from(["Email Delivered", "Email Link Clicked", "Unsubscribed"]), keys, TIMES),
        st.builds(lambda at_ms, granted: shop.told(at_ms, email=granted, sms=not granted), TIMES, st.booleans()),
    )  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Up to 14 events with ids of their own; ties of the clock are frequent."""
    events = draw(st.lists(st.one_of(product_events(), other_events()), max_size=14))
    contexts = draw(st.lists(CONTEXTS, min_size=len(events), max_size=len(events)))
    return [
        msgspec.structs.replace(one, message_id=f"m{at}", context=context if context != Context() else one.context)
        for at, (one, context) in enumerate(zip(events, contexts, strict=True))
    ]


def told_strategies() -> list[Strategy]:
    """Two strategies whose channels are known from their decisions."""
    issued = datetime(2026, 3, 2, 11, tzinfo=UTC)
    made = []
    for key, decision in (("s1", {"channel": "email"}), ("s2", {"emphasis": "price"})):
        request = request_of(1)
        known = {
            "strategy_id": key,
            "issued_at": issued,
            "decision": decision,
            "kind": request.kind,
            "request": request,
        }
        made.append(Strategy(**{**dict.fromkeys(Strategy.__struct_fields__), **known}))  # type: ignore[arg-type]
    return made


def deduplicated(items: list[Event | Strategy]) -> Profile:
    """Fold as the agents do: what the row remembers is dropped."""
    row, profile = Row("u1", "fused"), EMPTY
    for item in items:
        key = item.strategy_id if isinstance(item, Strategy) else item.message_id
        if remembers(row, key):
            continue
        row = remember(row, key, Rules())
        profile = fold_strategy(profile, item) if isinstance(item, Strategy) else fold(profile, item, SHOP)
    return profile


def assert_same(one: object, other: object, where: str = "profile") -> None:
    """Equal in everything, floats within a billionth."""
    if isinstance(one, float) and isinstance(other, float):
        assert math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9 * max(abs(one), 1.0)), where
    elif isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    else:
        assert one == other, where


def plain(profile: Profile) -> dict[str, object]:
    """The profile as JSON values; a decayed mean of opposite values is compared by its weight's scale."""
    value: dict[str, object] = msgspec.json.decode(msgspec.json.encode(profile))
    for name in ("price_level", "discounted"):
        total, weight = getattr(profile, name).total, getattr(profile, name).weight
        value[name] = total / weight if weight else 0.0
    return value


@settings(derandomize=True, deadline=None, max_examples=150)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_duplicates_give_the_same_profile(events: list[Event], rng: random.Random) -> None:
    """Any permutation with any duplicates of the same events and strategies gives the same profile."""
    items: list[Event | Strategy] = [*events, *told_strategies()]
    shuffled = items + rng.choices(items, k=len(items) // 2)
    rng.shuffle(shuffled)
    assert_same(plain(deduplicated(items)), plain(deduplicated(shuffled)))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_a_long_history_out_of_order_within_the_lateness_gives_the_same_profile(seed: int) -> None:
    """Hundreds of events, each late by up to ten minutes, fill every bound and still agree with the order of time."""
    rng = random.Random(seed)
    ordered = [_random_event(rng, NOON_MS + at * 7 * MINUTE_MS + rng.randrange(MINUTE_MS), at) for at in range(400)]
    late = sorted(ordered, key=lambda one: one.at_ms + rng.randrange(10 * MINUTE_MS))
    assert_same(plain(folded(*ordered)), plain(folded(*late)))


def _random_event(rng: random.Random, at_ms: int, number: int) -> Event:
    names = ["Product Viewed", "Product Added", "Product Added to Wishlist", "Products Searched", "Order Completed"]
    name = rng.choices(names, [8, 3, 2, 2, 1])[0]
    if name == "Products Searched":
        made = shop.search(rng.choice(["coffee", "lamps"]), at_ms)
    elif name == "Order Completed":
        made = shop.order(f"o{number}", {rng.randrange(40): "3.00"}, at_ms)
    else:
        made = shop.about(name, rng.randrange(40), at_ms, price="2.00")
    return msgspec.structs.replace(made, message_id=f"m{number}")


def test_an_order_empties_the_cart_and_fulfils_the_wish() -> None:
    """What was added or wished before an order is gone after it; what came later stays."""
    profile = folded(
        shop.about("Product Added", 1, NOON_MS, price="2.00"),
        shop.about("Product Added to Wishlist", 2, NOON_MS),
        shop.order("o1", {1: "2.00", 2: "2.10"}, NOON_MS + MINUTE_MS),
        shop.about("Product Added", 3, NOON_MS + 2 * MINUTE_MS),
    )
    assert list(profile.cart) == ["p3"]
    assert not profile.wishlist
    assert profile.money == {"USD": Money(1, 410)}


def test_a_late_add_does_not_refill_an_emptied_cart() -> None:
    """An add read after the order that came later than it changes nothing in the cart."""
    late = shop.about("Product Added", 1, NOON_MS - MINUTE_MS)
    assert folded(shop.order("o1", {1: "2.00"}, NOON_MS), late).cart == {}


def test_channels_count_once_per_strategy_whatever_comes_first() -> None:
    """Two views and a click of one strategy are one shown and one clicked message of its channel."""
    strategy = told_strategies()[0]
    events = [shop.promotion("Promotion Viewed", "s1", NOON_MS + at) for at in (1, 2)] + [
        shop.promotion("Promotion Clicked", "s1")
    ]
    before = folded(*events, profile=fold_strategy(EMPTY, strategy))
    after = fold_strategy(folded(*events), strategy)
    assert before.channels == after.channels == {"email": Counts(1, 1)}


def test_a_ranking_counts_for_the_site() -> None:
    """A strategy without a channel slot acts on the site: its list view is shown, its product click is a click."""
    click = shop.event("Product Clicked", msgspec.structs.replace(shop.viewed(1).properties, strategy_id="s2"))
    profile = folded(shop.listed("s2"), click, profile=fold_strategy(EMPTY, told_strategies()[1]))
    assert profile.channels == {"onsite": Counts(1, 1)}


def test_unsubscribing_withdraws_the_channel() -> None:
    """Unsubscribed and spam complaints withdraw consent; a later preference gives it again."""
    profile = folded(shop.told(NOON_MS, email=True), shop.mail("Unsubscribed", "e1", NOON_MS + 1))
    assert not profile.consent["email"].granted
    assert folded(shop.told(NOON_MS + 2, email=True), profile=profile).consent["email"].granted


def test_passive_events_are_no_visit() -> None:
    """A delivered e-mail, a refund or an advanced clock starts no session."""
    assert folded(shop.mail("Email Delivered", "e1"), shop.refund("o1")).sessions == ()


def test_unknown_products_are_remembered_without_taste() -> None:
    """A product the catalog lacks is a view, and tells nothing of categories."""
    profile = folded(shop.viewed(999))
    assert profile.views[0].product_id == "p999"
    assert profile.categories == {}


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 12 * SESSION_GAP_MS), max_size=12), st.randoms(use_true_random=False))
def test_sessions_are_the_merged_intervals(times: list[int], rng: random.Random) -> None:
    """Any order of times gives intervals that no gap of half an hour divides and that are half an hour apart."""
    sessions: tuple[object, ...] = ()
    shuffled = rng.sample(times, len(times))
    for at_ms in shuffled:
        sessions = with_activity(sessions, at_ms)  # type: ignore[arg-type]
    expected: list[tuple[int, int]] = []
    for at_ms in sorted(times):
        if expected and at_ms - expected[-1][1] < SESSION_GAP_MS:
            expected[-1] = (expected[-1][0], at_ms)
        else:
            expected.append((at_ms, at_ms))
    assert [(s.start_ms, s.end_ms) for s in sessions] == expected  # type: ignore[attr-defined]
    assert merged(sessions, sessions) == sessions  # type: ignore[arg-type]


def test_a_session_ends_after_half_an_hour() -> None:
    """The session under way is that whose last event is less than half an hour ago."""
    sessions = with_activity((), NOON_MS)
    assert current(sessions, NOON_MS + SESSION_GAP_MS - 1) is not None
    assert current(sessions, NOON_MS + SESSION_GAP_MS) is None


@pytest.mark.parametrize("name", ["Ad Cost Recorded", "Clock Advanced"])
def test_what_says_nothing_of_the_customer_changes_nothing(name: str) -> None:
    """Costs and the shop's clock leave the profile as it is."""
    assert fold(EMPTY, shop.event(name, shop.viewed(1).properties), SHOP) is EMPTY
