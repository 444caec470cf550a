"""A shop's traffic as bytes, the same for a seed: the catalog and the events that every system of `streams.py` reads.

Visits of some thirty events, many of them under way at once, over a catalog of twelve categories. Two records of a
hundred repeat an earlier one, one of two hundred is malformed.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec

from streaming.contracts.catalog import Product

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
"""Event time of the first visits: a Monday morning."""
PRODUCTS = 480
CATEGORIES = tuple("coffee tea bread cheese fruit pasta fish wine soap paper toys tools".split())
BRANDS = tuple(f"Brand {letter}" for letter in "ABCDEFGHIJKLMNOP")
EVENTS_PER_CUSTOMER = 30
VISIT_EVENTS = (15, 45)
"""Shortest and longest visit."""
DUPLICATES = 0.02
MALFORMED = 0.005
REMEMBERED = 500
"""Records back from which one is repeated."""
MIX: dict[str, float] = {
    "Product Viewed": 0.52,
    "Product List Viewed": 0.10,
    "Product Clicked": 0.09,
    "Product Added": 0.08,
    "Products Searched": 0.07,
    "Promotion Viewed": 0.05,
    "Product Added to Wishlist": 0.03,
    "Product Removed": 0.02,
    "Checkout Started": 0.02,
    "Order Completed": 0.02,
}
"""Event → share."""


class Visitor(msgspec.Struct):
    """A customer on the site: how many events are still to come, and when the last one was."""

    user_id: str
    left: int
    at: datetime


def catalog() -> list[Product]:
    """The products, always the same."""
    rng = Random(0)
    return [_product(number, rng) for number in range(PRODUCTS)]


def traffic(events: int, seed: int, customers: int | None = None) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of `events` records, duplicates and malformed ones included.

    Args:
        customers: who share the events in visits so short that everybody comes; without it visits have their usual
            length, and there are fewer customers.
    """
    rng = Random(seed)
    names, shares = list(MIX), list(MIX.values())
    products = catalog()
    shelves = [products[at::12] for at in range(12)]
    visit = VISIT_EVENTS if customers is None else (max(1, events // customers // 2), 3 * events // customers // 2 + 1)
    customers = customers or max(8, events // EVENTS_PER_CUSTOMER)
    waiting = deque(_customer(number, visit, rng) for number in rng.sample(range(customers), customers))
    present = [waiting.popleft() for _ in range(customers // 2)]
    recent: deque[tuple[bytes, bytes]] = deque(maxlen=REMEMBERED)
    for number in range(events):
        draw = rng.random()
        if draw < DUPLICATES and recent:
            yield rng.choice(recent)
            continue
        place = rng.randrange(len(present))
        visitor = present[place]
        name = rng.choices(names, shares)[0]
        record = _envelope(f"m{seed}-{number}", name, visitor, _properties(name, rng, shelves, visitor.user_id))
        value = _spoiled(record, rng) if draw > 1.0 - MALFORMED else msgspec.json.encode(record)
        key = visitor.user_id.encode()
        recent.append((key, value))
        yield key, value
        visitor.at += timedelta(seconds=rng.randrange(5, 90))
        visitor.left -= 1
        if not visitor.left:
            present[place] = waiting.popleft()
            waiting.append(_again(visitor, visit, rng))


def _customer(number: int, visit: tuple[int, int], rng: Random) -> Visitor:
    return Visitor(f"customer-{number:06d}", rng.randint(*visit), START + timedelta(minutes=rng.randrange(600)))


def _again(visitor: Visitor, visit: tuple[int, int], rng: Random) -> Visitor:
    """The same customer's next visit, a day or two later."""
    return Visitor(visitor.user_id, rng.randint(*visit), visitor.at + timedelta(hours=rng.randrange(20, 50)))


def _product(number: int, rng: Random) -> Product:
    category = CATEGORIES[number % len(CATEGORIES)]
    price = rng.randrange(150, 4000)
    return Product(
        product_id=f"p{number:04d}",
        name=f"{category} number {number}",
        category=("shop", category, f"{category} {number % 3}"),
        brand=rng.choice(BRANDS),
        price_minor=price,
        currency="USD",
        unit_cost_minor=round(price * rng.uniform(0.5, 0.9)),
        stock=rng.randrange(1, 90),
        launched_at=START - timedelta(days=rng.randrange(1, 700)),
        description=f"A {category} as good as it gets.",
    )


def _envelope(message_id: str, name: str, visitor: Visitor, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "type": "track",
        "event": name,
        "userId": visitor.user_id,
        "timestamp": visitor.at,
        "properties": properties,
        "context": {"locale": "en-US", "timezone": "America/New_York"},
    }


def _properties(name: str, rng: Random, shelves: list[list[Product]], user_id: str) -> dict[str, Any]:
    """Customers look at two or three shelves of their own."""
    taste = Random(user_id)
    shelf = shelves[taste.randrange(12) if rng.random() < 0.6 else rng.randrange(12)]  # noqa: PLR2004 -- a customer's own
    product = rng.choice(shelf)
    if name == "Products Searched":
        return {"query": f"{product.category[1]} {product.brand}"}
    if name == "Product List Viewed":
        return {
            "list_id": "shelf",
            "category": product.category[1],
            "products": [{"product_id": p.product_id} for p in shelf[:5]],
        }
    if name == "Promotion Viewed":
        return {"promotion_id": "spring", "creative": "banner", "position": "home"}
    if name == "Checkout Started":
        return {"checkout_id": f"c{rng.randrange(10**9)}"}
    if name == "Order Completed":
        lines = [{"product_id": p.product_id, "quantity": 1, "price": _major(p)} for p in rng.sample(shelf, 3)]
        return {"order_id": f"o{rng.randrange(10**12)}", "currency": "USD", "products": lines}
    return {"product_id": product.product_id, "price": _major(product), "currency": "USD"}


def _major(product: Product) -> float:
    return product.price_minor / 100


def _spoiled(record: dict[str, Any], rng: Random) -> bytes:
    """A record that no contract takes: cut off, of a wrong type, or without its id."""
    whole = msgspec.json.encode(record)
    return rng.choice(
        (
            whole[:-7],
            msgspec.json.encode(record | {"timestamp": "yesterday"}),
            msgspec.json.encode(record | {"messageId": ""}),
        )
    )
