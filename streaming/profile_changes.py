"""What each event changes in a profile: one function per family of events, each giving the changed fields. Pure."""

from msgspec.structs import replace

from streaming.contracts.events import (
    CheckoutProperties,
    EmailProperties,
    Event,
    Line,
    ListProperties,
    OrderProperties,
    ProductProperties,
    PromotionProperties,
    ReversalProperties,
    SearchProperties,
)
from streaming.contracts.money import to_minor
from streaming.profile_parts import (
    Bought,
    CartLine,
    Counts,
    Grant,
    Money,
    Order,
    Profile,
    Reversal,
    Search,
    Tally,
    Touch,
    View,
    Wish,
)
from streaming.reference import Reference
from streaming.stamps import Stamp, add, newest, put, weight
from streaming.told import Told

MAX_VIEWS = 32
MAX_SEARCHES = 8
MAX_CART = 48
MAX_WISHES = 32
MAX_BOUGHT = 64
MAX_ORDERS = 24
MAX_REVERSALS = 16
MAX_TOUCHES = 32
MAX_CATEGORIES = 96
MAX_BRANDS = 96
MAX_ALIASES = 8
MAX_UNITS = 10
"""Units of one line that count for the share of discounts: a bulk order is one decision."""
PURPOSES = ("email", "push", "sms", "personalization")
MAX_QUERY = 120
"""Characters of a query that are remembered."""

ATTENTION: dict[str, float] = {
    "Product Viewed": 1.0,
    "Product Clicked": 1.0,
    "Product Added": 3.0,
    "Product Added to Wishlist": 3.0,
    "Order Completed": 5.0,
}
"""What one event about a product adds to the attention its category and brand have."""
Changes = dict[str, object]


def looked_at(profile: Profile, event: Event, stamp: Stamp, reference: Reference) -> Changes:
    """Product Viewed, Product Clicked."""
    said = event.properties
    assert isinstance(said, ProductProperties)
    told = reference.about(said.product_id)
    view = View(stamp, said.product_id, told.category if told else "")
    changes = attention(profile, event, told)
    changes["views"] = newest(profile.views, view, MAX_VIEWS)
    if event.name == "Product Clicked" and said.strategy_id:
        changes |= touched(profile, said.strategy_id, Touch(stamp, clicked=True))
    return changes


def added(profile: Profile, event: Event, stamp: Stamp, reference: Reference) -> Changes:
    """Product Added: its last word wins; what an order has emptied since stays out."""
    said = event.properties
    assert isinstance(said, ProductProperties)
    told = reference.about(said.product_id)
    price, currency = _price(said, told)
    changes = attention(profile, event, told)
    if stamp > profile.emptied:
        line = CartLine(stamp, said.quantity, price, currency)
        changes["cart"] = put(profile.cart, said.product_id, line, MAX_CART)
    return changes


def removed(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """Product Removed."""
    said = event.properties
    assert isinstance(said, ProductProperties)
    if stamp <= profile.emptied:
        return {}
    return {"cart": put(profile.cart, said.product_id, CartLine(stamp, 0), MAX_CART)}


def wished(profile: Profile, event: Event, stamp: Stamp, reference: Reference) -> Changes:
    """Product Added to Wishlist, with the price it had; a later purchase has fulfilled it."""
    said = event.properties
    assert isinstance(said, ProductProperties)
    told = reference.about(said.product_id)
    price, currency = _price(said, told)
    changes = attention(profile, event, told)
    bought = profile.bought.get(said.product_id)
    if bought is None or bought.stamp < stamp:
        changes["wishlist"] = put(profile.wishlist, said.product_id, Wish(stamp, price, currency), MAX_WISHES)
    return changes


def searched(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """Products Searched."""
    assert isinstance(event.properties, SearchProperties)
    search = Search(stamp, event.properties.query[:MAX_QUERY])
    return {"searches": newest(profile.searches, search, MAX_SEARCHES)}


def checked_out(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """Checkout Started, Payment Info Entered."""
    assert isinstance(event.properties, CheckoutProperties)
    return {"checkout": max(profile.checkout, stamp)}


def ordered(profile: Profile, event: Event, stamp: Stamp, reference: Reference) -> Changes:
    """Order Completed: money, purchases, an empty cart, fulfilled wishes, affinities, price and discount sensitivity."""
    said = event.properties
    assert isinstance(said, OrderProperties)
    total = order_total(said)
    old = profile.money.get(said.currency, Money())
    emptied = max(profile.emptied, stamp)
    bought, wishlist = profile.bought, profile.wishlist
    for line in said.products:
        bought = put(bought, line.product_id, Bought(stamp), MAX_BOUGHT)
        wish = wishlist.get(line.product_id)
        if wish is not None and wish.stamp < stamp:
            wishlist = {key: value for key, value in wishlist.items() if key != line.product_id}
    changes: Changes = {
        "orders": newest(profile.orders, Order(stamp, said.order_id, said.currency, total), MAX_ORDERS),
        "money": profile.money | {said.currency: Money(old.orders + 1, old.spent_minor + total)},
        "emptied": emptied,
        "cart": {key: line for key, line in profile.cart.items() if line.stamp > emptied},
        "bought": bought,
        "wishlist": wishlist,
    }
    return changes | _tastes(profile, event, stamp, reference)


def reversed_order(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """Order Refunded, Order Cancelled: joined with its order when read, for it may come before it."""
    said = event.properties
    assert isinstance(said, ReversalProperties)
    minor: int | None = None
    if said.total is not None:
        minor = to_minor(said.total, said.currency, "properties.total")
    elif said.products:
        minor = sum(line_minor(line, said.currency) for line in said.products)
    return {"reversals": newest(profile.reversals, Reversal(stamp, said.order_id, minor), MAX_REVERSALS)}


def exposed(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """What was shown or clicked: Promotion and Product List events with a strategy, e-mail events with or without."""
    said, name = event.properties, event.name
    if isinstance(said, (PromotionProperties, ListProperties)):
        clicked = name == "Promotion Clicked"
        return touched(profile, said.strategy_id, Touch(stamp, shown=True, clicked=clicked)) if said.strategy_id else {}
    assert isinstance(said, EmailProperties)
    key = said.strategy_id or said.email_id or event.message_id
    changes = touched(profile, key, Touch(stamp, said.channel, shown=True, clicked=name == "Email Link Clicked"))
    if name in {"Unsubscribed", "Email Marked as Spam"}:
        changes["consent"] = put(profile.consent, said.channel, Grant(stamp, granted=False), len(PURPOSES))
    return changes


def identified(profile: Profile, event: Event, stamp: Stamp, _: Reference) -> Changes:
    """Identify: an anonymous id that is this customer's."""
    if event.anonymous_id is None:
        return {}
    return {"aliases": put(profile.aliases, event.anonymous_id, Bought(stamp), MAX_ALIASES)}


def touched(profile: Profile, key: str, said: Touch) -> Changes:
    """Join what is said of one message; its channel's counts change by the difference it makes."""
    old = profile.touches.get(key)
    new = said if old is None else Touch(
        max(old.stamp, said.stamp), max(old.channel, said.channel), old.shown or said.shown, old.clicked or said.clicked,
    )  # fmt: skip
    if new == old:
        return {}
    channels = counted(counted(profile.channels, old, -1), new, 1)
    touches = profile.touches | {key: new}
    if len(touches) > MAX_TOUCHES:
        del touches[min(touches, key=lambda name: touches[name].stamp)]
    return {"touches": touches, "channels": channels}


def attention(profile: Profile, event: Event, told: Told | None) -> Changes:
    """Affinities and price level after attention to a product; one that the catalog lacks tells nothing."""
    if told is None:
        return {}
    amount = ATTENTION[event.name] * weight(event.at_ms)
    changes: Changes = {"categories": add(profile.categories, told.category, amount, MAX_CATEGORIES)}
    if brand := told.product.brand:
        changes["brands"] = add(profile.brands, brand, amount, MAX_BRANDS)
    if told.level is not None:
        level = profile.price_level
        changes["price_level"] = Tally(level.total + told.level * amount, level.weight + amount)
    return changes


def order_total(said: OrderProperties) -> int:
    """Minor units paid: the total, else the sum of the lines."""
    if said.total is not None:
        return to_minor(said.total, said.currency, "properties.total")
    return sum(line_minor(line, said.currency) for line in said.products)


def line_minor(line: Line, currency: str) -> int:
    """Minor units of a line; 0 where it has no price."""
    if line.price is None:
        return 0
    return to_minor(line.price, currency, "properties.products.price") * line.quantity


def _tastes(profile: Profile, event: Event, stamp: Stamp, reference: Reference) -> Changes:
    said = event.properties
    assert isinstance(said, OrderProperties)
    cheap = units = 0.0
    now = weight(stamp.at_ms)
    liked = profile
    for line in said.products:
        units += min(line.quantity, MAX_UNITS)
        cheap += min(line.quantity, MAX_UNITS) if line.discount else 0.0
        if changes := attention(liked, event, reference.about(line.product_id)):
            liked = replace(liked, **changes)
    old = profile.discounted
    return {
        "categories": liked.categories,
        "brands": liked.brands,
        "price_level": liked.price_level,
        "discounted": Tally(old.total + cheap * now, old.weight + units * now),
    }


def _price(said: ProductProperties, told: Told | None) -> tuple[int, str]:
    if said.price is not None and said.currency is not None:
        return to_minor(said.price, said.currency, "properties.price"), said.currency
    return (told.product.price_minor, told.product.currency) if told else (0, "")


def counted(channels: dict[str, Counts], touch: Touch | None, sign: int) -> dict[str, Counts]:
    """A channel's counts with one message more (sign 1) or less (-1); none while channel or showing is unknown."""
    if touch is None or not touch.channel or not (touch.shown or touch.clicked):
        return channels
    old = channels.get(touch.channel, Counts())
    new = Counts(old.shown + sign, old.clicked + sign * touch.clicked)
    if new == Counts():  # a message said to be of two channels left this one
        return {name: counts for name, counts in channels.items() if name != touch.channel}
    return channels | {touch.channel: new}
