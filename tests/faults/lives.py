"""What recorded customers do, drawn by a given generator: shopping, and responses to what they are told. Pure."""

from collections.abc import Iterator
from random import Random
from typing import Any

from msgspec import Struct

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
PRODUCTS = 40
PRICES = {f"p{number}": (200 + 45 * (number % 23)) / 100 for number in range(PRODUCTS)}
"""As the samples' catalog has them, USD."""
EUROPEAN = 11
"""Every so many customers one pays in euros."""


class Act(Struct, frozen=True):
    """Something that a customer does.

    Args:
        at_ms: event time after the start.
        ads: said on `ads.events`.
        user: another id than the customer's own; empty: theirs.
        said_ms: when it is published; 0: at once.
        more: further fields of the envelope.
    """

    at_ms: int
    name: str
    properties: dict[str, Any]
    ads: bool = False
    user: str = ""
    said_ms: int = 0
    more: dict[str, Any] = {}


def day(rng: Random, number: int, begins_ms: int) -> Iterator[Act]:
    """Two or three visits with views, searches, a cart and perhaps an order; some customers begin anonymously."""
    currency = "EUR" if number % EUROPEAN == 0 else "USD"
    if number % 4 == 1:
        yield from _anonymous(rng, number, begins_ms)
    at_ms = begins_ms
    for visit in range(rng.choice((2, 3))):
        at_ms += rng.randrange(40, 150) * MINUTE_MS
        for act in _visit(rng, number, visit, currency):
            at_ms += rng.randrange(1000, 4 * MINUTE_MS)
            yield Act(at_ms, act.name, act.properties, more=act.more)


def _anonymous(rng: Random, number: int, begins_ms: int) -> Iterator[Act]:
    """A visit under an anonymous id, who that is, and more under the old id, which some devices keep."""
    anon = f"anon{number}"
    for index in range(3):
        at_ms = begins_ms + index * MINUTE_MS + 1
        yield Act(at_ms, "Product Viewed", {"product_id": _product(rng)}, user=anon)
    known = {"anonymousId": anon, "context": {"locale": "zh-CN", "timezone": "Asia/Shanghai"}}
    yield Act(begins_ms + 10 * MINUTE_MS, "identify", {}, more=known)
    for index in range(2):
        at_ms = begins_ms + (20 + index) * MINUTE_MS
        yield Act(at_ms, "Product Viewed", {"product_id": _product(rng)}, user=anon)


def _visit(rng: Random, number: int, visit: int, currency: str) -> Iterator[Act]:
    """What happens in a visit; the times are the caller's."""
    yield Act(0, "Product List Viewed", {"list_id": "l", "category": "tea"})
    yield Act(0, "Products Searched", {"query": rng.choice(("tea", "green tea", "lamp", "咖啡"))})
    for _ in range(rng.randrange(3, 7)):
        yield Act(0, rng.choice(("Product Viewed", "Product Viewed", "Product Clicked")), {"product_id": _product(rng)})
    if rng.random() < 0.4:
        yield Act(0, "Product Added to Wishlist", _priced(_product(rng), currency))
    if rng.random() < 0.15:
        choice = {"consent": {"categoryPreferences": {"email": rng.random() < 0.5, "personalization": True}}}
        yield Act(0, "Segment Consent Preference Updated", {}, more={"context": choice})
    cart = [_product(rng) for _ in range(rng.randrange(3))]
    for product in cart:
        yield Act(0, "Product Added", _priced(product, currency) | {"quantity": rng.randrange(1, 4)})
    if len(cart) > 1:
        yield Act(0, "Product Removed", _priced(cart[0], currency))
    if cart and rng.random() < 0.6:
        yield Act(0, "Checkout Started", {"checkout_id": f"k{number}-{visit}"})
        yield from _bought(rng, f"o{number}-{visit}", cart, currency)


def _bought(rng: Random, order_id: str, cart: list[str], currency: str) -> Iterator[Act]:
    lines = [{"product_id": each, "price": PRICES[each], "quantity": rng.randrange(1, 3)} for each in cart]
    if rng.random() < 0.3:
        lines[0] |= {"discount": 0.5}
    yield Act(0, "Order Completed", {"order_id": order_id, "currency": currency, "products": lines})
    if rng.random() < 0.25:
        name = rng.choice(("Order Refunded", "Order Cancelled"))
        yield Act(0, name, {"order_id": order_id, "currency": currency})


def response(rng: Random, kind: str, strategy: str, number: int, at_ms: int, *, late_ms: int) -> Iterator[Act]:
    """Shown or not, clicked, bought, given back, complained; a few clicks are said late.

    Args:
        late_ms: when late clicks are said and when what was bought is given back, after every final of the first day.
    """
    named = {"strategy_id": strategy}
    first_day = at_ms < late_ms
    if number % 8 == 7 and first_day:
        return  # nobody saw it
    seen_ms = at_ms + rng.randrange(1, 10) * MINUTE_MS
    ranked = kind == "ranking"  # shown by the list itself, clicked by its products, all on the shop's own topic
    yield Act(seen_ms, "Product List Viewed" if ranked else "Promotion Viewed", named, ads=not ranked)
    clicked = number % 2 == 0
    if clicked:
        what = named | ({"product_id": "p3"} if ranked else {})
        said_ms = late_ms + MINUTE_MS if number % 10 == 4 and not ranked and first_day else 0
        clicked_ms = seen_ms + rng.randrange(1, 30) * MINUTE_MS
        yield Act(
            clicked_ms, "Product Clicked" if ranked else "Promotion Clicked", what, ads=not ranked, said_ms=said_ms
        )
    if number % 9 == 5:
        yield Act(seen_ms + MINUTE_MS, "Email Opened", named | {"email_id": "e1"}, ads=True)
        yield Act(seen_ms + HOUR_MS, rng.choice(("Unsubscribed", "Email Marked as Spam")), named, ads=True)
    if kind == "ad":
        yield Act(seen_ms, "Ad Cost Recorded", named | {"cost": 0.31, "currency": "USD"}, ads=True)
    if number % 3 == 0 or (clicked and first_day):
        yield from _order(rng, f"s{number}-{strategy[-6:]}", seen_ms, given_back_ms=late_ms if number % 6 == 0 else 0)


def _order(rng: Random, order_id: str, seen_ms: int, *, given_back_ms: int) -> Iterator[Act]:
    """An order of what was offered; part of it comes back after the final, if a time for that is given."""
    lines = [{"product_id": "p1", "price": PRICES["p1"], "quantity": 2}, {"product_id": "p3", "price": PRICES["p3"]}]
    at_ms = seen_ms + rng.randrange(31, 200) * MINUTE_MS
    yield Act(at_ms, "Order Completed", {"order_id": order_id, "currency": "USD", "products": lines})
    if given_back_ms > at_ms:
        part = {"order_id": order_id, "currency": "USD", "products": [{"product_id": "p1", "quantity": 1}]}
        yield Act(given_back_ms + MINUTE_MS, "Order Refunded", part)


def _product(rng: Random) -> str:
    return f"p{rng.randrange(PRODUCTS)}"


def _priced(product: str, currency: str) -> dict[str, Any]:
    return {"product_id": product, "price": PRICES[product], "currency": currency}
