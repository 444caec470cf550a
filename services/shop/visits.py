"""A customer's visits: the real purchases with simulated browsing before them, and visits without a purchase.

Pure; takes the random generator. Real: the order, its products, quantities, prices and moment. Simulated: the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from services.shop.customers import Customer
from services.shop.source import Line
from services.shop.tastes import UTC_OFFSET_H
from services.shop.wire import Emit, amount, emit
from services.shop.world import World
from streaming.contracts.codec import instant

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
SEARCH_BEFORE_ORDER = 0.4
SEARCH_SHARE = 0.35
SEARCH_WITHOUT_CLICK = 0.5
GIVES_UP_SHARE = 0.6
"""Share of searches without a click after which the visit ends."""
CART_SHARE = 0.3
WISH_SHARE = 0.15
LEFT_CART_SHARE = 0.7
"""Share of visits with a cart and no order in which the goods are left lying rather than put back."""
OWN_GOODS_SHARE = 0.55
"""Share of looks at goods the household really bought at some time."""
TRIES = 20
"""Draws of a product before giving up on one that is launched already."""
DAYPART_HOURS = ((7, 12), (12, 17), (17, 22))
"""Local hours of a visit in the morning, afternoon and evening."""


def product_by_taste(world: World, customer: Customer, at_ms: int, rng: Random) -> str:
    """Choose a launched product to look at: one of the household's own, or a popular one of a category it likes."""
    moment = instant(at_ms)
    for _ in range(TRIES):
        product = _any_product_by_taste(world, customer, rng)
        if world.catalog[product].launched_at <= moment:
            return product
    return next(product for product in sorted(world.catalog) if world.catalog[product].launched_at <= moment)


def _any_product_by_taste(world: World, customer: Customer, rng: Random) -> str:
    if rng.random() < OWN_GOODS_SHARE:
        own = sorted(product for product in customer.bought if product in world.catalog)
        if own:
            return rng.choice(own)
    labels = sorted(world.by_category)
    weights = [
        math.exp(1.2 * customer.taste.by_category.get(label, customer.taste.other_category))
        * len(world.by_category[label]) ** 0.5
        for label in labels
    ]
    shelf = world.by_category[rng.choices(labels, weights)[0]]
    return shelf[int(len(shelf) * rng.random() ** 2)]


def query_for(world: World, product_id: str) -> str:
    """Words a customer would type to find a product: the last words of its type."""
    return " ".join(world.catalog[product_id].category[-1].split()[-2:])


def look(world: World, customer: Customer, name: str, product_id: str, at_ms: int, anonymous_id: str | None) -> Emit:
    """A product event: viewed, clicked, added, removed or wished."""
    product = world.catalog[product_id]
    properties = {"product_id": product_id, "price": amount(product.price_minor), "currency": product.currency}
    return emit(name, customer, at_ms, properties, anonymous_id=anonymous_id, cause=product_id)


def search(
    world: World, customer: Customer, product_id: str, at_ms: int, anonymous_id: str | None, *, clicked: bool
) -> list[Emit]:
    """A search, the list it shows, and the click on it, or none."""
    words = query_for(world, product_id)
    listed = world.by_category[world.catalog[product_id].category[1]][:5]
    found = {
        "list_id": "search",
        "category": world.catalog[product_id].category[1],
        "products": [{"product_id": other} for other in listed],
    }
    events = [
        emit("Products Searched", customer, at_ms, {"query": words}, anonymous_id=anonymous_id),
        emit("Product List Viewed", customer, at_ms + 2_000, found, anonymous_id=anonymous_id),
    ]
    if clicked:
        events.append(look(world, customer, "Product Clicked", product_id, at_ms + 15_000, anonymous_id))
    return events


def browse(world: World, customer: Customer, start_ms: int, rng: Random, anonymous_id: str | None = None) -> list[Emit]:
    """A visit without a purchase."""
    at_ms, events = start_ms, []
    seen: list[str] = []
    if rng.random() < SEARCH_SHARE:
        product = product_by_taste(world, customer, at_ms, rng)
        clicked = rng.random() >= SEARCH_WITHOUT_CLICK
        events += search(world, customer, product, at_ms, anonymous_id, clicked=clicked)
        if not clicked and rng.random() < GIVES_UP_SHARE:
            return events
        at_ms += rng.randrange(20_000, 2 * MINUTE_MS)
    for _ in range(rng.randint(1, 4)):
        product = product_by_taste(world, customer, at_ms, rng)
        seen.append(product)
        events.append(look(world, customer, "Product Viewed", product, at_ms, anonymous_id))
        at_ms += rng.randrange(15_000, 2 * MINUTE_MS)
    if rng.random() < WISH_SHARE:
        events.append(look(world, customer, "Product Added to Wishlist", seen[0], at_ms, anonymous_id))
        at_ms += rng.randrange(5_000, MINUTE_MS)
    if rng.random() < CART_SHARE:
        events.append(look(world, customer, "Product Added", seen[-1], at_ms, anonymous_id))
        if rng.random() >= LEFT_CART_SHARE:
            back_ms = at_ms + rng.randrange(MINUTE_MS, 4 * MINUTE_MS)
            events.append(look(world, customer, "Product Removed", seen[-1], back_ms, anonymous_id))
    return events


def order_line(line: Line) -> dict[str, object]:
    """A real purchase line as a line of an order: unit price paid and unit discount."""
    price = line.paid_minor // line.quantity
    off = max(line.list_minor - line.paid_minor, 0) // line.quantity
    return {
        "product_id": line.product_id,
        "quantity": line.quantity,
        "price": amount(price),
        "discount": amount(off),
    }


def order(customer: Customer, basket: Sequence[Line]) -> Emit:
    """The real order of a basket, at its real moment."""
    total = sum(line.paid_minor // line.quantity * line.quantity for line in basket)
    properties: dict[str, object] = {
        "order_id": f"o{basket[0].basket_id}",
        "currency": "USD",
        "total": amount(total),
        "products": [order_line(line) for line in basket],
    }
    if any(line.coupon_minor for line in basket):
        properties["coupon"] = "redeemed"
    return emit("Order Completed", customer, round(basket[0].at_s * 1000), properties, cause=basket[0].basket_id)


def purchase(world: World, customer: Customer, basket: Sequence[Line], rng: Random) -> list[Emit]:
    """A real order and the simulated browsing that led to it, which begins up to twenty minutes before."""
    order_ms = round(basket[0].at_s * 1000)
    at_ms = order_ms - rng.randrange(6 * MINUTE_MS, 18 * MINUTE_MS)
    shown = [line.product_id for line in basket[:5]]
    step_ms = (order_ms - at_ms - 2 * MINUTE_MS) // (2 * len(shown) + 1)
    events: list[Emit] = []
    if rng.random() < SEARCH_BEFORE_ORDER:
        events += search(world, customer, shown[0], at_ms, None, clicked=True)
    for product in shown:
        at_ms += step_ms
        events.append(look(world, customer, "Product Viewed", product, at_ms, None))
        at_ms += step_ms
        events.append(look(world, customer, "Product Added", product, at_ms, None))
    checkout = {"checkout_id": f"k{basket[0].basket_id}", "products": [{"product_id": p} for p in shown]}
    events.append(emit("Checkout Started", customer, order_ms - MINUTE_MS, checkout, cause=basket[0].basket_id))
    events.append(order(customer, basket))
    return events


def visit_start(customer: Customer, day_ms: int, rng: Random) -> int:
    """Draw when a visit begins on a day (00:00 UTC), by the household's own shopping hours."""
    part = rng.choices((0, 1, 2), customer.taste.dayparts)[0]
    low, high = DAYPART_HOURS[part]
    local_h = rng.uniform(low, high)
    return day_ms + round((local_h - UTC_OFFSET_H) * HOUR_MS) % (24 * HOUR_MS)
