"""`shop.events` and `ads.events`: Segment's e-commerce and e-mail events (v2), and three of our own.

Names and properties follow Segment; prices are decimals in major units, as Segment has them, and become
integer minor units on decoding consumers' side by `money.to_minor`. Unknown properties pass through.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from streaming.contracts.kinds import Kind
from streaming.contracts.money import Currency

Id = Annotated[str, Meta(min_length=1, max_length=200)]
Amount = Annotated[Decimal, Meta(description="major units, finite, >= 0, no finer than the currency's decimals")]
Quantity = Annotated[int, Meta(ge=1, le=100_000)]
StrategyId = Annotated[str, Meta(max_length=200)]


class Consent(Struct, frozen=True, gc=False, rename="camel"):
    """`context.consent`: purpose → granted; purposes read are `email`, `push`, `sms`, `personalization`."""

    category_preferences: dict[str, bool] = {}


class Context(Struct, frozen=True, gc=False):
    """The parts of Segment's context that are used."""

    locale: Annotated[str, Meta(max_length=35)] | None = None
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    consent: Consent | None = None


class Line(Struct, frozen=True, gc=False):
    """One line of an order, a list or a cart."""

    product_id: Id
    quantity: Quantity = 1
    price: Amount | None = None
    """Price of one unit after its own discount."""
    discount: Amount | None = None
    """What one unit was reduced by."""


class ProductProperties(Struct, frozen=True, gc=False):
    """Viewed, clicked, added, removed, wished. `strategy_id` is echoed when a strategy led here."""

    product_id: Id
    quantity: Quantity = 1
    price: Amount | None = None
    currency: Currency | None = None
    strategy_id: StrategyId | None = None


class SearchProperties(Struct, frozen=True, gc=False):
    """Products Searched."""

    query: Annotated[str, Meta(max_length=1000)]


class ListProperties(Struct, frozen=True, gc=False):
    """Product List Viewed: the shown event of a `ranking` strategy."""

    list_id: str = ""
    category: str = ""
    products: tuple[Line, ...] = ()
    strategy_id: StrategyId | None = None


class CheckoutProperties(Struct, frozen=True, gc=False):
    """Checkout Started, Payment Info Entered."""

    order_id: Id | None = None
    checkout_id: str | None = None
    products: tuple[Line, ...] = ()


class OrderProperties(Struct, frozen=True, gc=False):
    """Order Completed. Every line needs a price."""

    order_id: Id
    currency: Currency
    products: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=1000)]
    total: Amount | None = None
    coupon: str | None = None
    strategy_id: StrategyId | None = None


class ReversalProperties(Struct, frozen=True, gc=False):
    """Order Refunded, Order Cancelled. No products and no total means the whole order."""

    order_id: Id
    currency: Currency
    products: tuple[Line, ...] = ()
    total: Amount | None = None


class PromotionProperties(Struct, frozen=True, gc=False):
    """Promotion Viewed, Promotion Clicked: shown and clicked of the other kinds."""

    promotion_id: str = ""
    creative: str = ""
    position: str = ""
    strategy_id: StrategyId | None = None


class EmailProperties(Struct, frozen=True, gc=False):
    """Email Delivered, Opened, Link Clicked, Marked as Spam; Unsubscribed."""

    email_id: str = ""
    campaign_id: str | None = None
    channel: Literal["email", "push", "sms"] = "email"
    strategy_id: StrategyId | None = None


class AdCostProperties(Struct, frozen=True):
    """Ad Cost Recorded (ours): what one exposure cost."""

    cost: Amount
    currency: Currency
    campaign_id: str | None = None
    strategy_id: StrategyId | None = None


class DecisionProperties(Struct, frozen=True):
    """Decision Requested (ours): ask for a strategy now."""

    kind: Kind
    category: str = ""
    query: str = ""


class ClockProperties(Struct, frozen=True):
    """Clock Advanced (ours): the shop's clock in replay; the envelope's timestamp is the clock."""


class PreferenceProperties(Struct, frozen=True):
    """Segment Consent Preference Updated: the choice itself is in `context.consent`."""


class Traits(Struct, frozen=True):
    """`identify`: nothing personal is kept; locale and time zone come from the context."""


Properties = (
    ProductProperties
    | SearchProperties
    | ListProperties
    | CheckoutProperties
    | OrderProperties
    | ReversalProperties
    | PromotionProperties
    | EmailProperties
    | AdCostProperties
    | DecisionProperties
    | ClockProperties
    | PreferenceProperties
    | Traits
)

SHOP_EVENTS: dict[str, type[Properties]] = {
    "Product Viewed": ProductProperties,
    "Product Clicked": ProductProperties,
    "Product Added": ProductProperties,
    "Product Removed": ProductProperties,
    "Product Added to Wishlist": ProductProperties,
    "Products Searched": SearchProperties,
    "Product List Viewed": ListProperties,
    "Checkout Started": CheckoutProperties,
    "Payment Info Entered": CheckoutProperties,
    "Order Completed": OrderProperties,
    "Order Refunded": ReversalProperties,
    "Order Cancelled": ReversalProperties,
    "Segment Consent Preference Updated": PreferenceProperties,
    "Decision Requested": DecisionProperties,
    "Clock Advanced": ClockProperties,
    "identify": Traits,
}
ADS_EVENTS: dict[str, type[Properties]] = {
    "Promotion Viewed": PromotionProperties,
    "Promotion Clicked": PromotionProperties,
    "Email Delivered": EmailProperties,
    "Email Opened": EmailProperties,
    "Email Link Clicked": EmailProperties,
    "Email Marked as Spam": EmailProperties,
    "Unsubscribed": EmailProperties,
    "Ad Cost Recorded": AdCostProperties,
    "Clock Advanced": ClockProperties,
}
EVENTS: dict[str, type[Properties]] = {**SHOP_EVENTS, **ADS_EVENTS}
"""Every known event; either topic accepts all of them, so that a shop may use one stream."""

MONEY_FIELDS = ("price", "discount", "total", "cost")


class Event(Struct, frozen=True, gc=False):
    """A decoded, validated event.

    Args:
        name: of `EVENTS`; `identify` for identify calls.
        user_id: `userId`, else `anonymousId`: the key of the record and of the row.
        anonymous_id: `anonymousId` when both are given (identify).
        at_ms: event time, milliseconds since the epoch, UTC.
    """

    message_id: str
    name: str
    user_id: str
    anonymous_id: str | None
    at_ms: int
    properties: Properties
    context: Context = field(default_factory=Context)


class WireEvent(Struct, frozen=True, rename="camel"):
    """The envelope as published; `properties` depends on `event` (see `EVENTS`)."""

    message_id: Id
    type: Literal["track", "identify"]
    timestamp: datetime
    event: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    user_id: Id | None = None
    anonymous_id: Id | None = None
    properties: dict[str, object] = {}
    context: Context = field(default_factory=Context)
