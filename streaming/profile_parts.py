"""What is known of a customer: the profile's structs. Each part says how it folds and who reads it.

`gc=False`, here and wherever structs are made for every event: plain data has no cycles, so Python's cycle collector
need not walk it. Walking a cache of states took a tenth of the time of folding.
"""

from msgspec import Struct

from streaming.stamps import BEGINNING, Stamp


class View(Struct, frozen=True, gc=False, array_like=True):
    """A product looked at."""

    stamp: Stamp
    product_id: str
    category: str = ""


class Search(Struct, frozen=True, gc=False, array_like=True):
    """A search, by its words (cut)."""

    stamp: Stamp
    query: str


class CartLine(Struct, frozen=True, gc=False, array_like=True):
    """The last thing said about a product in the cart; quantity 0: it was taken out.

    `price_minor` is the price of one unit the customer saw, 0 where unknown.
    """

    stamp: Stamp
    quantity: int
    price_minor: int = 0
    currency: str = ""


class Wish(Struct, frozen=True, gc=False, array_like=True):
    """A product on the wishlist, with the price the customer saw."""

    stamp: Stamp
    price_minor: int = 0
    currency: str = ""


class Bought(Struct, frozen=True, gc=False, array_like=True):
    """When a product was last bought."""

    stamp: Stamp


class Order(Struct, frozen=True, gc=False, array_like=True):
    """One order, minor units paid."""

    stamp: Stamp
    order_id: str
    currency: str
    total_minor: int


class Reversal(Struct, frozen=True, gc=False, array_like=True):
    """A refund or cancellation of an order; None: of all of it."""

    stamp: Stamp
    order_id: str
    minor: int | None = None


class Money(Struct, frozen=True, gc=False, array_like=True):
    """Orders ever, per currency: count and minor units paid."""

    orders: int = 0
    spent_minor: int = 0


class Session(Struct, frozen=True, gc=False, array_like=True):
    """An interval of activity without a gap of half an hour."""

    start_ms: int
    end_ms: int


class Touch(Struct, frozen=True, gc=False, array_like=True):
    """What is known of one message to the customer; counted in `channels` once its channel is known."""

    stamp: Stamp
    channel: str = ""
    shown: bool = False
    clicked: bool = False


class Counts(Struct, frozen=True, gc=False, array_like=True):
    """Messages of a channel that were shown and clicked."""

    shown: int = 0
    clicked: int = 0


class Grant(Struct, frozen=True, gc=False, array_like=True):
    """The last word on a purpose of consent."""

    stamp: Stamp
    granted: bool


class Said(Struct, frozen=True, gc=False, array_like=True):
    """The last word on a plain value."""

    stamp: Stamp
    value: str


class Tally(Struct, frozen=True, gc=False, array_like=True):
    """A decayed mean: a sum of values and of their weights (see `stamps.weight`)."""

    total: float = 0.0
    weight: float = 0.0


class Profile(Struct, frozen=True, gc=False, omit_defaults=True):
    """Everything remembered of a customer's behaviour; the same for any order of the same events.

    Args:
        first_ms: first event; tenure.
        sessions: merged intervals, oldest first: session start, recency, activity.
        categories: category → decayed attention: affinities, candidates.
        brands: brand → decayed attention.
        views: last products looked at: category interest, clicks after a search, candidates.
        searches: last searches: search without a click, candidates.
        cart: product → last word: abandoned cart, price drop, candidates.
        emptied: when the cart was last emptied by an order; what was said before is void.
        checkout: when a checkout was last begun: abandoned cart, basket state.
        wishlist: product → wish: price drop, candidates.
        bought: product → last purchase: candidates, voids older wishes.
        orders: last orders: frequency, money.
        reversals: last refunds and cancellations, joined with `orders` when read.
        money: currency → orders and spending ever; the newest order's currency is the customer's.
        price_level: log2(price / category median), decayed mean: price fit, price sensitivity.
        discounted: share of units bought at a discount, decayed mean: discount sensitivity.
        channels: channel → counts: channel response.
        touches: strategy (or e-mail) → what happened to it, until its channel is known.
        consent: purpose → last word: which channels may be used.
        locale: language.
        timezone: local day and hour.
        aliases: anonymous id → when it was said to be this customer's.
    """

    first_ms: int | None = None
    sessions: tuple[Session, ...] = ()
    categories: dict[str, float] = {}
    brands: dict[str, float] = {}
    views: tuple[View, ...] = ()
    searches: tuple[Search, ...] = ()
    cart: dict[str, CartLine] = {}
    emptied: Stamp = BEGINNING
    checkout: Stamp = BEGINNING
    wishlist: dict[str, Wish] = {}
    bought: dict[str, Bought] = {}
    orders: tuple[Order, ...] = ()
    reversals: tuple[Reversal, ...] = ()
    money: dict[str, Money] = {}
    price_level: Tally = Tally()
    discounted: Tally = Tally()
    channels: dict[str, Counts] = {}
    touches: dict[str, Touch] = {}
    consent: dict[str, Grant] = {}
    locale: Said | None = None
    timezone: Said | None = None
    aliases: dict[str, Bought] = {}


EMPTY = Profile()
