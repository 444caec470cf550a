"""Small requests, strategies and events for the tests of attribution; times are hours after a fixed moment."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from streaming.contracts.catalog import Campaign, Creative, Product
from streaming.contracts.codec import instant
from streaming.contracts.events import EVENTS, Event, Line, OrderProperties, Properties, ReversalProperties
from streaming.contracts.ids import strategy_id
from streaming.contracts.kinds import Kind
from streaming.contracts.strategies import (
    Candidate,
    Explanation,
    Features,
    Message,
    PolicyRecord,
    Slot,
    Strategy,
    StrategyRequest,
)
from streaming.open_state import HOUR_MS, Windows
from streaming.reference import snapshot

START_MS = 1_760_000_000_000
WINDOWS = Windows.of(horizon_ms=72 * HOUR_MS, response_ms=24 * HOUR_MS)
PRODUCTS = {
    product_id: Product(product_id, name, ("grocery", head), "acme", 500, "USD", 300, 10, instant(START_MS))
    for product_id, name, head in [("p1", "Ground coffee", "coffee"), ("p2", "Beans", "coffee"), ("p3", "Tea", "tea")]
}


TEA_WEEKS = Campaign(
    "k1",
    "ad",
    "Tea weeks",
    (Creative("en", "Tea"),),
    instant(START_MS),
    instant(START_MS + 30 * 24 * HOUR_MS),
    100_000,
    "USD",
    product_ids=("p3",),
    categories=("coffee",),
)
COFFEE_WEEKS = msgspec.structs.replace(TEA_WEEKS, campaign_id="k2", product_ids=())
ANYTHING = msgspec.structs.replace(TEA_WEEKS, campaign_id="k3", product_ids=(), categories=())
SHELF = snapshot(PRODUCTS.values(), (TEA_WEEKS, COFFEE_WEEKS, ANYTHING))
"""Three products at 5.00 that cost 3.00; campaign k1 offers p3, k2 the category coffee, k3 everything."""


def at(hours: float) -> int:
    """Event time, milliseconds."""
    return START_MS + round(hours * HOUR_MS)


DECISIONS: dict[str, dict[str, str]] = {
    "recommendation": {"product": "p1", "channel": "email", "send_time": "now", "tone": "friendly"},
    "promotion": {
        "product": "p1",
        "offer_type": "free_shipping",
        "discount": "10",
        "duration": "1d",
        "channel": "onsite",
        "tone": "urgent",
    },
    "ranking": {"category": "coffee", "emphasis": "price", "pinned_product": "p3"},
    "ad": {"campaign": "k1", "placement": "search", "bid_tier": "high", "tone": "premium"},
}


def request(number: int, kind: Kind = "recommendation", hours: float = 0.0, currency: str = "USD") -> StrategyRequest:
    """A request with one candidate of each sort, issued `hours` after the start."""
    candidates = (
        Candidate("p1", "product", "Ground coffee", ("grocery", "coffee"), "acme", "", 500, 200, 30, 10.0),
        Candidate("p3", "product", "Tea", ("grocery", "tea"), "acme", "", 500, 200, 30, 10.0),
        Candidate("coffee", "category", "Coffee", ("grocery", "coffee"), "", "", 500, 200, 30, 10.0),
        Candidate("k1", "campaign", "Tea weeks", ("grocery", "tea"), "", "", 500, 200, 30, 10.0),
    )
    return StrategyRequest(
        request_id=f"req_{number}",
        user_id="u1",
        kind=kind,
        trigger="session_start",
        arm="fused",
        issued_at=instant(at(hours)),
        deadline_s=10.0,
        language="en",
        currency=currency,
        features=Features({"recency_days": 1.0}, {"lifecycle": "active"}),
        candidates=candidates,
        slots=tuple(Slot(name, (value,)) for name, value in DECISIONS[kind].items()),
    )


def strategy(
    number: int,
    kind: Kind = "recommendation",
    hours: float = 0.0,
    valid_h: float = 24.0,
    currency: str = "USD",
    **decision: str,
) -> Strategy:
    """A finished strategy, valid `valid_h` hours from its issue."""
    asked = request(number, kind, hours, currency)
    chosen = {**DECISIONS[kind], **decision}
    return Strategy(
        strategy_id=strategy_id(asked.request_id),
        request_id=asked.request_id,
        user_id="u1",
        kind=kind,
        issued_at=asked.issued_at,
        decision=chosen,
        message=Message("en", "Coffee", "Fresh today.", "model"),
        valid_until=instant(at(hours + valid_h)),
        policy=PolicyRecord("base", "base", "critic-1", "fused", "fused", 0.4, 0.5, 0.5, 0.005, 8, 64),
        propensity=0.25,
        slot_propensities=dict.fromkeys(chosen, 0.5),
        explanation=Explanation((), (), ()),
        checks=(),
        request=asked,
    )


def moved(made: Strategy, user: str, at: datetime, until: datetime) -> Strategy:
    """The strategy as one of another customer's, issued at another time."""
    asked = msgspec.structs.replace(made.request, user_id=user, issued_at=at)
    return msgspec.structs.replace(made, user_id=user, issued_at=at, valid_until=until, request=asked)


def echo(name: str, of: Strategy, hours: float, message_id: str = "", **more: Any) -> Event:
    """An event that names the strategy."""
    kind: type[Properties] = EVENTS[name]
    needed: dict[str, Any] = {"product_id": "p1"} if name.startswith("Product ") and "List" not in name else {}
    properties = kind(**{**needed, **more, "strategy_id": of.strategy_id})
    return event(name, hours, properties, message_id or f"{name}-{of.request_id}-{hours}")


def order(order_id: str, hours: float, *products: str, price: str = "5.00", **more: Any) -> Event:
    """One unit of each product, at 5.00 unless said otherwise: margin 2.00 each."""
    lines = tuple(Line(product, price=Decimal(price)) for product in products)
    wanted: dict[str, Any] = {"order_id": order_id, "currency": "USD", "products": lines, **more}
    return event("Order Completed", hours, OrderProperties(**wanted), f"{order_id}-{hours}")


def refund(
    order_id: str, hours: float, *products: str, total: str | None = None, message_id: str = "", currency: str = "USD"
) -> Event:
    """One unit of each product, or an amount, or the whole order."""
    lines = tuple(Line(product) for product in products)
    amount = None if total is None else Decimal(total)
    properties = ReversalProperties(order_id, currency, lines, amount)
    return event("Order Refunded", hours, properties, message_id or f"refund-{order_id}-{hours}")


def event(name: str, hours: float, properties: Properties, message_id: str) -> Event:
    """A decoded event of the customer's."""
    return Event(message_id, name, "u1", None, at(hours), properties)
