"""The four kinds of strategy: each a small grammar of slots in a fixed order.

Shown and success events say which event of the shop, echoing which id, counts for a kind.
"""

from typing import Literal

import msgspec

Kind = Literal["recommendation", "ad", "ranking", "promotion"]
Arm = Literal["fused", "lm", "critic", "random", "holdout"]
Channel = Literal["onsite", "email", "push", "sms"]

KIND_NAMES: tuple[Kind, ...] = ("recommendation", "ad", "ranking", "promotion")
ARM_NAMES: tuple[Arm, ...] = ("fused", "lm", "critic", "random", "holdout")
CHANNELS: tuple[Channel, ...] = ("onsite", "email", "push", "sms")
OUTBOUND: frozenset[str] = frozenset({"email", "push", "sms"})
"""Channels that need the customer's consent and respect quiet hours."""

SEND_TIMES = ("now", "morning", "afternoon", "evening")
"""`now`, or the next 09:00, 14:00 or 19:00 of the customer's time zone."""
SEND_HOUR: dict[str, int] = {"morning": 9, "afternoon": 14, "evening": 19}
TONES = ("friendly", "urgent", "premium", "playful")
PLACEMENTS = ("home", "search", "category", "checkout")
BID_TIERS = ("low", "medium", "high")
EMPHASES = ("relevance", "price", "popularity", "novelty", "margin")
OFFER_TYPES = ("percent_off", "free_shipping", "bundle")
DISCOUNT_LEVELS = ("0", "5", "10", "15", "20", "30")
"""Percent off, as text: a slot's values are strings on the wire."""
DURATIONS = ("1d", "3d", "7d")

MAX_ACTIONS = 4096
"""A request's frozen candidates allow at most this many actions, so that sums over completions are exact."""
MAX_CANDIDATES = 12


class Grammar(msgspec.Struct, frozen=True):
    """What a kind may say, and which events answer it.

    Args:
        slots: names in decoding order; the first holds the candidates' ids.
        candidate_slots: slots whose values are candidate ids (pointed at, not named).
        closed: values of every other slot, before rules.
        shown_event: event of `ads.events` or `shop.events` that opens the window.
        click_event: event that answers it; success is an attributed order.
    """

    slots: tuple[str, ...]
    candidate_slots: tuple[str, ...]
    closed: dict[str, tuple[str, ...]]
    shown_event: str
    click_event: str
    topic_of_shown: str


GRAMMARS: dict[str, Grammar] = {
    "recommendation": Grammar(
        slots=("product", "channel", "send_time", "tone"),
        candidate_slots=("product",),
        closed={"channel": CHANNELS, "send_time": SEND_TIMES, "tone": TONES},
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
    "ad": Grammar(
        slots=("campaign", "placement", "bid_tier", "tone"),
        candidate_slots=("campaign",),
        closed={"placement": PLACEMENTS, "bid_tier": BID_TIERS, "tone": TONES},
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
    "ranking": Grammar(
        slots=("category", "emphasis", "pinned_product"),
        candidate_slots=("category", "pinned_product"),
        closed={"emphasis": EMPHASES},
        shown_event="Product List Viewed",
        click_event="Product Clicked",
        topic_of_shown="shop.events",
    ),
    "promotion": Grammar(
        slots=("product", "offer_type", "discount", "duration", "channel", "tone"),
        candidate_slots=("product",),
        closed={
            "offer_type": OFFER_TYPES,
            "discount": DISCOUNT_LEVELS,
            "duration": DURATIONS,
            "channel": CHANNELS,
            "tone": TONES,
        },
        shown_event="Promotion Viewed",
        click_event="Promotion Clicked",
        topic_of_shown="ads.events",
    ),
}
