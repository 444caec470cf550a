"""Moments: each trigger, its timers, and that order does not matter."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming.contracts.codec import to_ms
from streaming.contracts.events import Event
from streaming.row import Due, Row
from streaming.rules import DAY_MS, HOUR_MS, SESSION_GAP_MS, Rules
from streaming.triggers import Moment, in_audience, on_due, on_price_drop, watched, with_campaign, with_timers
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import MINUTE_MS, NOON_MS, RULES, row_of, run
from tests.streaming.test_profile import histories


def named(moments: list[Moment], trigger: str) -> list[Moment]:
    """Moments of one trigger."""
    return [moment for moment in moments if moment.trigger == trigger]


def timer(row: Row, trigger: str) -> Due | None:
    """The row's timer of one trigger."""
    return next((due for due in row.due if due.trigger == trigger), None)


def test_a_session_starts_with_the_first_event_after_a_gap() -> None:
    """Two events in a session make one moment; one after the gap makes another."""
    _, moments = run(shop.viewed(1), shop.viewed(2, NOON_MS + 1000), shop.viewed(3, NOON_MS + 1000 + SESSION_GAP_MS))
    assert [moment.at_ms for moment in named(moments, "session_start")] == [NOON_MS, NOON_MS + 1000 + SESSION_GAP_MS]


def test_a_late_event_starts_no_session() -> None:
    """An event older than what is known makes no session start."""
    _, moments = run(shop.viewed(1), shop.viewed(2, NOON_MS - DAY_MS))
    assert len(named(moments, "session_start")) == 1


def test_sessions_ask_for_every_kind() -> None:
    """Over many sessions each of the four kinds comes often."""
    kinds = [run(shop.viewed(1, message_id=f"m{at}"))[1][0].kind for at in range(400)]
    assert {kind: kinds.count(kind) > 40 for kind in set(kinds)} == dict.fromkeys(
        ("recommendation", "ranking", "ad", "promotion"), True
    )


def test_interest_is_the_third_product_of_a_category() -> None:
    """Products 0, 4 and 8 are coffees: the third makes one ranking moment, the same one again or a fourth none."""
    views = [shop.viewed(number, NOON_MS + at * MINUTE_MS) for at, number in enumerate((0, 4, 4, 8, 12))]
    _, moments = run(*views)
    interest = named(moments, "category_interest")
    assert [(moment.kind, moment.at_ms, moment.context) for moment in interest] == [
        ("ranking", NOON_MS + 3 * MINUTE_MS, {"category": "coffee"})
    ]


def test_a_decision_can_be_requested() -> None:
    """Decision Requested asks for the kind it names, with its category and query."""
    _, moments = run(shop.asked_for("ad", category="tea", query="green"))
    assert [(m.trigger, m.kind, m.context) for m in moments] == [
        ("decision_requested", "ad", {"category": "tea", "query": "green"})
    ]


def test_an_abandoned_cart_is_due_an_hour_after_its_last_change() -> None:
    """The timer moves with adds and checkouts; removing everything or ordering clears it."""
    row = row_of(shop.about("Product Added", 1, NOON_MS))
    assert timer(row, "cart_abandoned").at_ms == NOON_MS + HOUR_MS  # type: ignore[union-attr]
    later, _ = run(shop.checkout(NOON_MS + 5 * MINUTE_MS), row=row)
    assert timer(later, "cart_abandoned").at_ms == NOON_MS + 5 * MINUTE_MS + HOUR_MS  # type: ignore[union-attr]
    for ending in (shop.order("o1", {2: "2.00"}, NOON_MS + 1), shop.about("Product Removed", 1, NOON_MS + 1)):
        assert timer(run(ending, row=row)[0], "cart_abandoned") is None


def test_a_search_without_a_click_is_due_after_ten_minutes() -> None:
    """A look at a product afterwards clears the timer, one before it does not."""
    row = row_of(shop.viewed(1, NOON_MS - 1), shop.search("coffee"))
    due = timer(row, "search_without_click")
    assert due is not None
    assert (due.at_ms, due.context) == (NOON_MS + 10 * MINUTE_MS, {"query": "coffee"})
    assert timer(run(shop.viewed(1, NOON_MS + 1), row=row)[0], "search_without_click") is None


def test_a_dormant_customer_is_due_outside_quiet_hours() -> None:
    """Thirty days after the last visit; at night the timer waits for the morning of the customer's time zone."""
    assert timer(row_of(shop.viewed(1)), "dormant_customer").at_ms == NOON_MS + 30 * DAY_MS  # type: ignore[union-attr]
    night = to_ms(datetime(2026, 3, 2, 23, 30, tzinfo=UTC))
    morning = to_ms(datetime(2026, 4, 2, 8, 0, tzinfo=UTC))
    assert timer(row_of(shop.viewed(1, night)), "dormant_customer").at_ms == morning  # type: ignore[union-attr]


def test_a_timer_fires_once() -> None:
    """Firing removes the timer and remembers it; the same silence sets no other, a new one does."""
    row = row_of(shop.about("Product Added", 1, NOON_MS))
    due = timer(row, "cart_abandoned")
    assert due is not None
    assert on_due(row, due, due.at_ms - 1, RULES) == (row, ())
    fired, moments = on_due(row, due, due.at_ms, RULES)
    assert [(m.trigger, m.kind, m.cause) for m in moments] == [
        ("cart_abandoned", "promotion", "2026-03-02T13:00:00+00:00")
    ]
    assert timer(fired, "cart_abandoned") is None
    assert on_due(fired, due, due.at_ms, RULES) == (fired, ())
    again, _ = run(shop.about("Product Added", 2, NOON_MS + 2 * HOUR_MS), row=fired)
    assert timer(again, "cart_abandoned") is not None


@settings(derandomize=True, deadline=None, max_examples=80)
@given(histories(), st.randoms(use_true_random=False))
def test_timers_do_not_depend_on_the_order_of_events(events: list[Event], rng: random.Random) -> None:
    """Any permutation of the same events sets the same timers."""
    assert row_of(*events).due == row_of(*rng.sample(events, len(events))).due


def test_a_price_drop_is_below_the_remembered_price() -> None:
    """Five per cent below what was seen makes a moment; less, another currency or an unknown product makes none."""
    row = row_of(shop.about("Product Added to Wishlist", 1, NOON_MS, price="2.00"))
    assert watched(row) == ("p1",)
    assert on_price_drop(row, shop.product(1, price_minor=191), NOON_MS, RULES) == ()
    assert on_price_drop(row, shop.product(1, price_minor=190, currency="EUR"), NOON_MS, RULES) == ()
    assert on_price_drop(row, shop.product(2, price_minor=1), NOON_MS, RULES) == ()
    (moment,) = on_price_drop(row, shop.product(1, price_minor=190), NOON_MS, RULES)
    assert (moment.kind, moment.context) == ("recommendation", {"product": "p1", "price_minor": "190"})


def test_a_drop_already_told_is_no_news() -> None:
    """After a drop was told only a further one counts."""
    row = row_of(shop.about("Product Added", 1, NOON_MS, price="2.00"))
    told = replace(row, asked=replace(row.asked, price_minor={"p1": 150}))
    assert on_price_drop(told, shop.product(1, price_minor=150), NOON_MS, RULES) == ()
    assert on_price_drop(told, shop.product(1, price_minor=140), NOON_MS, RULES) != ()


@pytest.mark.parametrize(
    ("audience", "meant"),
    [((), True), (("u1",), True), (("u2",), False), (("segment:new",), True), (("segment:lifecycle=dormant",), False)],
)
def test_a_campaign_is_meant_for_its_audience(audience: tuple[str, ...], *, meant: bool) -> None:
    """Everybody, named users, or a segment by the value of a category."""
    row = row_of(shop.viewed(1))
    campaign = shop.campaign("c9", audience=audience)
    assert in_audience(row, campaign, NOON_MS) is meant
    assert (timer(with_campaign(row, campaign, 0, NOON_MS, RULES), "campaign_start") is not None) is meant


def test_a_campaign_reaches_customers_at_the_given_rate_and_once() -> None:
    """The thousandth customer at 200 a second is reached five seconds after the start; nobody is scheduled twice."""
    row, campaign = row_of(shop.viewed(1)), shop.campaign("c9", "promotion")
    reached = with_campaign(row, campaign, 1000, NOON_MS, RULES)
    due = timer(reached, "campaign_start")
    assert due is not None
    assert due.at_ms == NOON_MS + 5000
    assert with_campaign(reached, campaign, 0, NOON_MS, RULES) is reached
    fired, (moment,) = on_due(reached, due, due.at_ms, RULES)
    assert (moment.kind, moment.context["campaign"]) == ("promotion", "c9")
    assert with_campaign(fired, campaign, 0, NOON_MS, RULES) is fired
    assert timer(with_timers(reached, Rules()), "campaign_start") == due


def test_ads_start_with_ads() -> None:
    """An ad campaign asks for an ad."""
    reached = with_campaign(row_of(shop.viewed(1)), shop.campaign("c9"), 0, NOON_MS, RULES)
    due = timer(reached, "campaign_start")
    assert due is not None
    assert on_due(reached, due, due.at_ms, RULES)[1][0].kind == "ad"
