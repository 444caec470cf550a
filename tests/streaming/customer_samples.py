"""A small shop and its events for tests of profiles and triggers: real contract objects, no invented behaviour."""

from datetime import UTC, datetime
from decimal import Decimal

from model.grid import ActionGrid
from streaming.contracts.catalog import Campaign, Creative, Product
from streaming.contracts.codec import instant, to_ms
from streaming.contracts.events import (
    CheckoutProperties,
    Consent,
    Context,
    DecisionProperties,
    EmailProperties,
    Event,
    Line,
    ListProperties,
    OrderProperties,
    ProductProperties,
    PromotionProperties,
    Properties,
    ReversalProperties,
    SearchProperties,
    Traits,
)
from streaming.contracts.ids import derive
from streaming.contracts.kinds import Kind
from streaming.contracts.strategies import StrategyRequest
from streaming.profile import EMPTY, Profile, fold
from streaming.reference import Reference, snapshot
from streaming.row import Row
from streaming.rules import DAY_MS, HOUR_MS, Rules
from streaming.triggers import Moment, on_event, with_timers

NOON_MS = to_ms(datetime(2026, 3, 2, 12, 0, tzinfo=UTC))
"""A Monday."""
MINUTE_MS = 60_000
RULES = Rules()

KINDS = (("grocery", "coffee"), ("grocery", "tea"), ("home", "lamps"), ("drugstore", "soap"))
BRANDS = ("Alba", "Borea", "Casa")


def product(number: int, **changed: object) -> Product:
    """Product `p{number}`: category by number mod 4, brand by number mod 3, price 2.00 to 11.90, cost 60 %."""
    category = KINDS[number % len(KINDS)]
    price = 200 + 45 * (number % 23)
    facts: dict[str, object] = {
        "product_id": f"p{number}",
        "name": f"{BRANDS[number % 3]} {category[1].title()} number {number}",
        "category": (*category, f"{'fine' if number % 2 else 'plain'} {category[1]}"),
        "brand": BRANDS[number % 3],
        "price_minor": price,
        "currency": "USD",
        "unit_cost_minor": price * 6 // 10,
        "stock": 10,
        "launched_at": datetime(2025, 6, 1, tzinfo=UTC),
        "attributes": {"size": "250 g", "category_zh": "咖啡"},
    }
    return Product(**{**facts, **changed})  # type: ignore[arg-type]


def campaign(name: str, kind: str = "ad", **changed: object) -> Campaign:
    """A campaign that runs through March 2026 for everybody."""
    facts: dict[str, object] = {
        "campaign_id": name,
        "kind": kind,
        "name": f"Spring {name}",
        "creatives": (Creative("en", f"Spring with {name}", "Come."), Creative("zh", "春天", "来吧。")),
        "starts_at": datetime(2026, 3, 1, tzinfo=UTC),
        "ends_at": datetime(2026, 4, 1, tzinfo=UTC),
        "budget_minor": 10_000,
        "currency": "USD",
        "product_ids": ("p1", "p2", "p3", "p5"),
        "categories": ("coffee", "tea"),
    }
    return Campaign(**{**facts, **changed})  # type: ignore[arg-type]


SHOP: Reference = snapshot(
    [product(number) for number in range(40)], [campaign("c1"), campaign("c2"), campaign("c3", "promotion")]
).with_popularity({f"p{number}": float(number % 7) for number in range(40)})


def event(name: str, properties: Properties, at_ms: int = NOON_MS, **envelope: object) -> Event:
    """An event of customer `u1`; its message id follows from name, time and properties unless given."""
    facts: dict[str, object] = {
        "message_id": derive("m", name, str(at_ms), repr(properties)), "name": name, "user_id": "u1", "anonymous_id": None,
        "at_ms": at_ms, "properties": properties,
    }  # fmt: skip
    return Event(**{**facts, **envelope})  # type: ignore[arg-type]


def viewed(number: int, at_ms: int = NOON_MS, name: str = "Product Viewed", **envelope: object) -> Event:
    """Product Viewed, or another event of one product."""
    return event(name, ProductProperties(f"p{number}"), at_ms, **envelope)


def about(name: str, number: int, at_ms: int, *, price: str | None = None, quantity: int = 1) -> Event:
    """Added, removed or wished, with the price seen."""
    money = Decimal(price) if price else None
    return event(name, ProductProperties(f"p{number}", quantity, money, "USD" if price else None), at_ms)


def search(query: str, at_ms: int = NOON_MS) -> Event:
    """Products Searched."""
    return event("Products Searched", SearchProperties(query), at_ms)


def order(
    order_id: str, lines: dict[int, str], at_ms: int = NOON_MS, *, currency: str = "USD", off: str | None = None
) -> Event:
    """Order Completed: product number → price of one unit."""
    discount = Decimal(off) if off else None
    bought = tuple(Line(f"p{number}", 1, Decimal(price), discount) for number, price in lines.items())
    return event("Order Completed", OrderProperties(order_id, currency, bought), at_ms)


def refund(order_id: str, at_ms: int = NOON_MS, *, total: str | None = None, name: str = "Order Refunded") -> Event:
    """Order Refunded, whole where no total is given."""
    return event(name, ReversalProperties(order_id, "USD", (), Decimal(total) if total else None), at_ms)


def checkout(at_ms: int = NOON_MS) -> Event:
    """Checkout Started."""
    return event("Checkout Started", CheckoutProperties(), at_ms)


def promotion(name: str, strategy_id: str, at_ms: int = NOON_MS) -> Event:
    """Promotion Viewed or Clicked."""
    return event(name, PromotionProperties(strategy_id=strategy_id), at_ms)


def listed(strategy_id: str, at_ms: int = NOON_MS) -> Event:
    """Product List Viewed."""
    return event("Product List Viewed", ListProperties(category="coffee", strategy_id=strategy_id), at_ms)


def mail(name: str, email_id: str, at_ms: int = NOON_MS) -> Event:
    """An e-mail event without a strategy."""
    return event(name, EmailProperties(email_id), at_ms)


def told(at_ms: int = NOON_MS, **preferences: bool) -> Event:
    """Segment Consent Preference Updated."""
    context = Context(consent=Consent(preferences))
    return event("Segment Consent Preference Updated", Traits(), at_ms, context=context)


def identify(anonymous_id: str, at_ms: int = NOON_MS) -> Event:
    """An identify call."""
    return event("identify", Traits(), at_ms, anonymous_id=anonymous_id)


def asked_for(kind: Kind, at_ms: int = NOON_MS, category: str = "", query: str = "") -> Event:
    """Decision Requested."""
    return event("Decision Requested", DecisionProperties(kind, category, query), at_ms)


def folded(*events: Event, profile: Profile = EMPTY, reference: Reference = SHOP) -> Profile:
    """The profile after events."""
    for one in events:
        profile = fold(profile, one, reference)
    return profile


def row_of(*events: Event, arm: str = "fused") -> Row:
    """The row of `u1` after events, timers set."""
    return run(*events, arm=arm)[0]


def run(*events: Event, arm: str = "fused", row: Row | None = None, rules: Rules = RULES) -> tuple[Row, list[Moment]]:
    """The row after events, and every moment on the way."""
    row = row or Row("u1", arm)  # type: ignore[arg-type]
    moments: list[Moment] = []
    for one in events:
        after = Row(
            **{name: getattr(row, name) for name in row.__struct_fields__} | {"profile": fold(row.profile, one, SHOP)}
        )
        moments += on_event(row, after, one, rules)
        row = with_timers(after, rules)
    return row, moments


__all__ = ["DAY_MS", "HOUR_MS", "instant"]


def decisions(request: StrategyRequest) -> list[dict[str, str]]:
    """Every allowed action."""
    grid = ActionGrid.of(request)
    return [grid.decision(tuple(int(i) for i in index)) for index in zip(*grid.allowed.nonzero(), strict=True)]
