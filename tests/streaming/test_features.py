"""Features: names are the contract's, and every field of the profile changes something."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from streaming.asking import ask
from streaming.contracts.codec import encode
from streaming.contracts.events import Context, Event
from streaming.contracts.features import CATEGORIES, NEVER_DAYS, NUMBERS, RELATIONS, bin_of, log_share, rate_logit
from streaming.contracts.strategies import Strategy
from streaming.features import Relations, features, language_of, strongest
from streaming.profile import EMPTY, Profile, fold_strategy
from streaming.row import Asked, Row
from streaming.rules import DAY_MS, HOUR_MS
from streaming.told import group_of
from streaming.triggers import Moment, on_price_drop, with_timers
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import MINUTE_MS, NOON_MS, RULES, SHOP, folded
from tests.streaming.test_profile import histories, told_strategies

NOW_MS = NOON_MS + HOUR_MS
BUSY = folded(
    shop.viewed(9, NOON_MS - 20 * DAY_MS),
    shop.order("o1", {1: "2.00", 5: "3.00"}, NOON_MS - 10 * DAY_MS, off="0.50"),
    shop.order("o2", {2: "4.00"}, NOON_MS - 3 * DAY_MS),
    shop.refund("o2", NOON_MS - 2 * DAY_MS, total="1.00"),
    shop.promotion("Promotion Viewed", "s1", NOON_MS - DAY_MS),
    shop.told(NOON_MS - DAY_MS, email=True),
    msgspec.structs.replace(shop.identify("a1", NOON_MS - DAY_MS), context=Context(locale="zh-CN", timezone="Asia/Shanghai")),
    shop.viewed(9, NOON_MS),
    shop.search("fine tea", NOON_MS + MINUTE_MS),
    shop.about("Product Added to Wishlist", 13, NOON_MS + 2 * MINUTE_MS, price="7.00"),
    shop.about("Product Added", 9, NOON_MS + 3 * MINUTE_MS, price="6.00", quantity=2),
    shop.checkout(NOON_MS + 4 * MINUTE_MS),
    profile=fold_strategy(EMPTY, told_strategies()[0]),
)  # fmt: skip


def test_names_and_values_are_the_contracts() -> None:
    """Every number, category and relation of a busy and of an empty customer is one of the contract's, in range."""
    for profile in (BUSY, EMPTY):
        told = features(profile, Asked(), NOW_MS)
        assert list(told.numbers) == list(NUMBERS)
        assert all(told.categories[name] in allowed for name, allowed in CATEGORIES.items())
        assert told.categories.keys() == CATEGORIES.keys()
        for share in (told.category_affinity, told.brand_affinity, told.channel_response):
            assert all(0 <= value <= 1 for value in share.values())
        for product in SHOP.products.values():
            related = Relations(profile, NOW_MS, SHOP).of(SHOP.told(product))
            assert related.keys() <= RELATIONS.keys()
            assert all(0 < value <= 1 for value in related.values())


def test_an_empty_customer_has_the_values_of_the_unknown() -> None:
    """Where nothing is known each number has its `when_unknown`."""
    assert features(EMPTY, Asked(), NOW_MS).numbers == {name: spec.when_unknown for name, spec in NUMBERS.items()}


def test_numbers_of_a_busy_customer() -> None:
    """Hand-counted: two orders, one of them refunded by a quarter; two units in the cart; a search without a click."""
    numbers = features(BUSY, Asked(issued_ms=(NOON_MS,)), NOON_MS + 5 * MINUTE_MS).numbers
    assert numbers["orders_90d"] == numbers["orders_total"] == 2
    assert numbers["spend_90d_major"] == 8.0  # 5.00 + 4.00 - 1.00
    assert numbers["order_value_major"] == 4.5
    assert numbers["refund_share"] == 0.5
    assert numbers["discount_share"] == pytest.approx(
        2 * 2 ** (-10 / 30) / (2 * 2 ** (-10 / 30) + 2 ** (-3 / 30)), abs=1e-4
    )
    assert (numbers["cart_items"], numbers["cart_value_major"]) == (2, 12.0)
    assert numbers["recency_days"] == pytest.approx(3, abs=0.01)
    assert (numbers["session_views"], numbers["session_minutes"]) == (1, 4)
    assert (numbers["searches_7d"], numbers["searches_unclicked_7d"]) == (1, 1)
    assert numbers["checkout_age_hours"] == pytest.approx(1 / 60, abs=1e-4)
    assert (numbers["known_aliases"], numbers["asked_7d"], numbers["wishlist_items"]) == (1, 1, 1)


def test_cancelled_orders_do_not_count() -> None:
    """An order cancelled as a whole is no order of the last 90 days, whichever was read first."""
    one, gone = shop.order("o1", {1: "2.00"}, NOON_MS - DAY_MS), shop.refund("o1", NOON_MS, name="Order Cancelled")
    for profile in (folded(one, gone), folded(gone, one)):
        numbers = features(profile, Asked(), NOW_MS).numbers
        assert (numbers["orders_90d"], numbers["spend_90d_major"]) == (0, 0)


def test_affinities_fade() -> None:
    """Interest in coffee of two months ago counts a quarter of interest in tea of today."""
    profile = folded(shop.viewed(0, NOON_MS - 60 * DAY_MS), shop.viewed(1, NOON_MS))
    assert features(profile, Asked(), NOW_MS).category_affinity == {"tea": 0.8, "coffee": 0.2}
    assert strongest({}) == {}


@pytest.mark.parametrize(
    ("locale", "language"), [("zh-CN", "zh"), ("zh_TW", "zh"), ("ZH", "zh"), ("en-GB", "en"), ("de", "en")]
)
def test_chinese_locales_read_chinese(locale: str, language: str) -> None:
    """Every locale that begins with zh reads Chinese, every other English."""
    assert language_of(folded(shop.viewed(1, context=Context(locale=locale)))) == language


def test_relations_of_what_the_customer_did() -> None:
    """Bought, viewed, wished, carted and searched products say so."""
    relations = Relations(BUSY, NOON_MS + MINUTE_MS, SHOP)
    assert {"bought"} <= relations.of(SHOP.told(shop.product(1))).keys()
    assert relations.of(SHOP.told(shop.product(9)))["viewed"] == 1
    assert (
        relations.of(SHOP.told(shop.product(9)))["in_cart"] == relations.of(SHOP.told(shop.product(13)))["wished"] == 1
    )
    assert relations.of(SHOP.told(shop.product(1)))["searched"] == 1.0  # "fine tea" is in its category


@settings(derandomize=True, deadline=None, max_examples=60)
@given(histories(), st.lists(st.sampled_from(sorted(SHOP.products)), unique=True, max_size=12))
def test_relations_of_a_group_are_the_strongest_of_its_products(events: list[Event], ids: list[str]) -> None:
    """What a customer has to do with any of several products is the most that they have to do with one."""
    ranked = SHOP.with_popularity({product_id: float(len(product_id) + at) for at, product_id in enumerate(ids[1:])})
    relations = Relations(folded(*events), NOW_MS, ranked)
    products = [ranked.told(ranked.products[product_id]) for product_id in ids]
    of_each = [relations.of(told) for told in products]
    wanted = {
        name: max(each.get(name, 0.0) for each in of_each) for name in RELATIONS if any(name in e for e in of_each)
    }
    assert relations.of_any(group_of(products)) == wanted


def test_bins_are_ordered() -> None:
    """Edges ascend, a value on an edge lies above it, and never is the last bin of days."""
    for name, spec in NUMBERS.items():
        assert list(spec.edges) == sorted(set(spec.edges))
        assert bin_of(name, spec.edges[0]) == 1
        assert bin_of(name, spec.edges[0] - 1e-9) == 0
    assert bin_of("recency_days", NEVER_DAYS) == len(NUMBERS["recency_days"].edges)


def observed(profile: Profile) -> list[bytes]:
    """Everything that features, rules and triggers make of a profile: what leaves the row, as bytes."""
    seen = [encode(features(profile, Asked(), NOW_MS))]
    row = with_timers(Row("u1", "fused", profile), RULES)
    seen.append(encode([(due.at_ms, due.trigger) for due in row.due]))
    for kind in ("recommendation", "promotion"):
        answer = ask(row, Moment("decision_requested", kind, "c", NOW_MS), SHOP, NOW_MS, RULES)
        seen.append(encode(answer.request or answer.suppression))
    seen.append(encode([on_price_drop(row, shop.product(n, price_minor=1), NOW_MS, RULES) != () for n in (9, 13)]))
    return seen


LATE = {"touches", "emptied"}
"""Fields that matter for what comes late: tested below."""


@pytest.mark.parametrize("name", [field.name for field in fields(Profile) if field.name not in LATE])
def test_every_field_of_the_profile_changes_something(name: str) -> None:
    """A profile without what one field remembers gives other features, timers, candidates or rules."""
    without = replace(BUSY, **{name: getattr(EMPTY, name)})
    assert without != BUSY, "the field is not filled by the busy customer's events"
    assert observed(without) != observed(BUSY)


def test_open_touches_become_channel_responses() -> None:
    """What `touches` remembers decides which channel's response a strategy read later changes."""
    strategy: Strategy = replace(told_strategies()[1], issued_at=told_strategies()[0].issued_at)
    known = fold_strategy(folded(shop.promotion("Promotion Viewed", "s2", NOON_MS), profile=BUSY), strategy)
    forgotten = fold_strategy(BUSY, strategy)
    assert observed(known) != observed(forgotten)


def test_an_emptied_cart_voids_what_comes_late() -> None:
    """What `emptied` remembers keeps an add, read after the order that came later than it, out of the cart."""
    late = shop.about("Product Added", 17, NOON_MS - 4 * DAY_MS)
    assert observed(folded(late, profile=BUSY)) != observed(folded(late, profile=replace(BUSY, emptied=EMPTY.emptied)))


CHANGES: dict[str, Event] = {
    "a view": shop.viewed(21, NOON_MS + 5 * MINUTE_MS),
    "a removal": shop.about("Product Removed", 9, NOON_MS + 5 * MINUTE_MS),
    "an order": shop.order("o3", {3: "1.00"}, NOON_MS + 5 * MINUTE_MS),
    "a cancellation": shop.refund("o1", NOON_MS, name="Order Cancelled"),
    "a click": shop.promotion("Promotion Clicked", "s1", NOON_MS),
    "an unsubscription": shop.mail("Unsubscribed", "e1", NOON_MS),
    "a refused channel": shop.told(NOON_MS, email=False),
    "a time zone": shop.viewed(9, NOON_MS + MINUTE_MS, context=Context(timezone="America/New_York")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_family_of_events_changes_something(what: str) -> None:
    """One event more of each family changes what leaves the row."""
    assert observed(folded(CHANGES[what], profile=BUSY)) != observed(BUSY)


def test_shares_and_rates_are_logits_around_what_is_usual() -> None:
    """Both rise, are zero where a value is usual, and stay finite at either end."""
    for scale, usual in ((log_share, 0.12), (rate_logit, 1 / (1 + math.exp(1.5)))):
        found = [scale(share) for share in (0.0, usual, 1.0)]
        assert found == sorted(found)
        assert found[1] == pytest.approx(0.0, abs=0.05)
        assert all(math.isfinite(value) for value in found)
