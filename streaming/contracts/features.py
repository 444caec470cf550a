"""Names of everything a request says about a customer and a candidate: numbers with units, categories, relations.

The agents compute them, the model reads them in words, the critic in bins; so meaning and bins stand in the contract.
"""

import math
from bisect import bisect_right
from typing import Annotated

from msgspec import Meta, Struct


class NumberSpec(Struct, frozen=True):
    """One number of `Features.numbers`.

    Args:
        meaning: what it counts, with its unit.
        edges: ascending bin edges; bin 0 lies below the first, bin `len(edges)` at or above the last.
        when_unknown: the value sent where there is no history to compute it from.
    """

    meaning: str
    edges: Annotated[tuple[float, ...], Meta(min_length=1)]
    when_unknown: float = 0.0


NEVER_DAYS = 9999.0
"""Stands for "never happened" in every number of days since."""

NUMBERS: dict[str, NumberSpec] = {
    "recency_days": NumberSpec(
        "days since the session before the current one ended", (1.0, 7.0, 30.0, 180.0), NEVER_DAYS
    ),
    "tenure_days": NumberSpec("days since the first event", (1.0, 30.0, 180.0)),
    "days_since_order": NumberSpec("days since the latest order", (3.0, 14.0, 60.0, 365.0), NEVER_DAYS),
    "orders_90d": NumberSpec("orders completed within 90 days, cancelled ones excepted", (1.0, 2.0, 4.0, 8.0)),
    "orders_total": NumberSpec("orders completed, ever", (1.0, 3.0, 10.0, 30.0)),
    "spend_90d_major": NumberSpec(
        "paid within 90 days less refunds, major units of the currency", (1.0, 20.0, 80.0, 250.0)
    ),
    "order_value_major": NumberSpec("mean paid per order, ever, major units of the currency", (1.0, 5.0, 15.0, 50.0)),
    "refund_share": NumberSpec(
        "share of the last orders refunded or cancelled, in part or whole, in [0, 1]", (0.01, 0.2)
    ),
    "discount_share": NumberSpec("decayed share of units bought at a discount, in [0, 1]", (0.1, 0.3, 0.6)),
    "price_level": NumberSpec(
        "decayed mean of log2(price / median of the category) over what was bought and looked at",
        (-0.5, -0.1, 0.1, 0.5),
    ),
    "cart_items": NumberSpec("units in the cart", (1.0, 3.0, 8.0)),
    "cart_value_major": NumberSpec("cart at the prices seen, major units of the currency", (1.0, 10.0, 40.0)),
    "checkout_age_hours": NumberSpec(
        "hours since a checkout that no order followed was begun", (1.0, 24.0, 168.0), NEVER_DAYS
    ),
    "wishlist_items": NumberSpec("products wished for and not bought since", (1.0, 4.0)),
    "session_views": NumberSpec("products looked at within the current session", (1.0, 3.0, 8.0)),
    "session_minutes": NumberSpec("length of the current session so far, minutes", (1.0, 5.0, 20.0)),
    "sessions_30d": NumberSpec("sessions within 30 days", (2.0, 5.0, 12.0)),
    "searches_7d": NumberSpec("searches within 7 days, of those remembered", (1.0, 4.0)),
    "searches_unclicked_7d": NumberSpec("searches within 7 days that no click followed", (1.0, 3.0)),
    "known_aliases": NumberSpec("anonymous ids known to be this customer's", (1.0, 3.0)),
    "asked_7d": NumberSpec("strategies asked for within 7 days", (1.0, 4.0, 10.0)),
}

CATEGORIES: dict[str, tuple[str, ...]] = {
    "lifecycle": ("new", "active", "lapsing", "dormant"),
    "daypart": ("night", "morning", "afternoon", "evening"),
    "weekday": ("workday", "weekend"),
    "language": ("en", "zh"),
    "basket": ("empty", "filled", "checkout"),
    "price_band": ("unknown", "budget", "middle", "premium"),
    "deal_seeking": ("unknown", "low", "high"),
}
"""Name of `Features.categories` → every value it may take."""

RELATIONS: dict[str, str] = {
    "category_affinity": "decayed share of the customer's attention that its category has",
    "brand_affinity": "decayed share of the customer's attention that its brand has",
    "bought": "1 bought today, halved every 30 days since; 0 never",
    "viewed": "1 looked at now, halved every 3 days since; 0 not of late",
    "wished": "1 on the wishlist",
    "in_cart": "1 in the cart",
    "searched": "share of the latest search's words that its text has",
    "price_fit": "1 at the customer's price level, falling with the distance in log2 of the price",
    "popularity": "rank among the shop's products by orders, 1 the most ordered; 0 unknown",
}
"""Name of `Candidate.relation` → meaning; each in [0, 1], absent means 0."""


USUAL_SHARE, SHARE_FLOOR = 0.12, 0.02
"""Of a category in a customer's attention; what is added so that none at all has a logarithm."""
USUAL_RATE_LOGIT, RATE_FLOOR = -1.5, 0.01
"""Of answers on a channel; likewise."""


def bin_of(name: str, value: float) -> int:
    """The bin of a number, 0 … `len(edges)`; a value on an edge belongs to the bin above it."""
    return bisect_right(NUMBERS[name].edges, value)


def log_share(share: float) -> float:
    """A share of attention on the scale of logits, 0 where it is usual; half and double are equally far from it."""
    return math.log((share + SHARE_FLOOR) / (USUAL_SHARE + SHARE_FLOOR))


def rate_logit(rate: float) -> float:
    """A response rate on the scale of logits, 0 where it is usual."""
    return math.log((rate + RATE_FLOOR) / (1.0 + RATE_FLOOR - rate)) - USUAL_RATE_LOGIT
