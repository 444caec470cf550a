"""Simulated customers: real tastes (`tastes.py`) with hidden habits drawn by seed.

Pure: takes the random generator. Nothing of this is visible to the system but by what customers do.
"""

from __future__ import annotations

from random import Random
from typing import Literal

import msgspec

from services.shop.tastes import Taste
from streaming.contracts.kinds import CHANNELS, EMPHASES, KIND_NAMES, PLACEMENTS, TONES

CHINESE_SHARE = 0.25
"""Share of customers whose locale is Chinese."""
CHANNEL_SPREAD = 0.7
TONE_SPREAD = 0.35
OTHER_SPREAD = 0.3
"""Standard deviations of a customer's own habits around the segment's, in logits."""
CONSENT_SHARES = {"email": 0.75, "push": 0.55, "sms": 0.35}
"""Share of customers who have agreed to be written to."""

SEGMENT_TONES = {
    "deal_hunter": (0.1, 0.9, -0.7, 0.0),
    "fresh_cook": (0.2, -0.5, 0.8, -0.1),
    "convenience": (0.1, 0.0, -0.4, 0.8),
    "family": (0.8, -0.2, -0.2, 0.1),
}
"""Segment → effect of friendly, urgent, premium, playful on a click, logits."""
SEGMENT_EMPHASES = {
    "deal_hunter": (0.1, 1.0, 0.1, -0.2, -0.7),
    "fresh_cook": (0.5, -0.2, 0.0, 0.7, -0.3),
    "convenience": (0.1, 0.0, 0.9, 0.2, -0.3),
    "family": (0.8, 0.4, 0.2, -0.2, -0.4),
}
"""Segment → effect of relevance, price, popularity, novelty, margin on a click, logits."""
SEGMENT_OFFERS = {
    "deal_hunter": {"percent_off": 0.6, "free_shipping": 0.0, "bundle": 0.1},
    "fresh_cook": {"percent_off": 0.1, "free_shipping": 0.5, "bundle": -0.3},
    "convenience": {"percent_off": 0.1, "free_shipping": 0.4, "bundle": 0.0},
    "family": {"percent_off": 0.2, "free_shipping": 0.0, "bundle": 0.6},
}


class Customer(msgspec.Struct, frozen=True):
    """One simulated customer. Effects are in logits; `bought` holds product ids of the real purchases.

    Args:
        channel: habit of looking at a channel, around 0.
        discount: how much ten percent off adds to a click and to an order.
        sessions_per_day: visits without a purchase, mean.
    """

    user_id: str
    taste: Taste
    language: Literal["en", "zh"]
    consent: frozenset[str]
    channel: dict[str, float]
    placement: dict[str, float]
    tone: dict[str, float]
    emphasis: dict[str, float]
    offer: dict[str, float]
    kind: dict[str, float]
    discount: float
    sessions_per_day: float
    bought: frozenset[str]
    sent: frozenset[str]
    """Campaigns this household really got."""
    redeemed: frozenset[str]
    """Campaigns of which this household really redeemed a coupon."""


def draw_customer(
    user_id: str,
    taste: Taste,
    *,
    bought: frozenset[str],
    sent: frozenset[str],
    redeemed: frozenset[str],
    sessions_per_day: float,
    rng: Random,
) -> Customer:
    """Draw a customer's hidden habits around the segment's."""
    segment = taste.segment
    return Customer(
        user_id=user_id,
        taste=taste,
        language="zh" if rng.random() < CHINESE_SHARE else "en",
        consent=frozenset(c for c in sorted(CONSENT_SHARES) if rng.random() < CONSENT_SHARES[c]),
        channel={name: rng.gauss(0.0, CHANNEL_SPREAD) for name in CHANNELS},
        placement={name: rng.gauss(0.0, OTHER_SPREAD) for name in PLACEMENTS},
        tone=dict(zip(TONES, (rng.gauss(m, TONE_SPREAD) for m in SEGMENT_TONES[segment]), strict=True)),
        emphasis=dict(zip(EMPHASES, (rng.gauss(m, OTHER_SPREAD) for m in SEGMENT_EMPHASES[segment]), strict=True)),
        offer={name: rng.gauss(m, OTHER_SPREAD) for name, m in SEGMENT_OFFERS[segment].items()},
        kind={name: rng.gauss(0.0, OTHER_SPREAD) for name in KIND_NAMES},
        discount=max(0.25 + 0.15 * taste.price_sensitivity + rng.gauss(0.0, 0.08), 0.02),
        sessions_per_day=max(rng.gauss(sessions_per_day, sessions_per_day / 3), sessions_per_day / 4),
        bought=bought,
        sent=sent,
        redeemed=redeemed,
    )
