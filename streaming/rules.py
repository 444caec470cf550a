"""The rules of the shop: when to ask, how often, and what may never be proposed. Pure; built by `services`."""

from msgspec import Struct, field

from streaming.contracts.kinds import Arm

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MIN_RETENTION_DAYS = 60
"""Longer than dormancy, horizons and the waiting for refunds: nothing of a customer is still to come after it."""
SESSION_GAP_MS = 30 * 60_000
"""Silence that ends a session: half an hour, as web analytics has it. Fixed, because stored sessions were merged by it."""


def _cooldowns() -> dict[str, int]:
    return {
        "session_start": 4 * HOUR_MS,
        "cart_abandoned": DAY_MS,
        "search_without_click": 4 * HOUR_MS,
        "price_drop": DAY_MS,
        "category_interest": 4 * HOUR_MS,
        "dormant_customer": 14 * DAY_MS,
        "campaign_start": HOUR_MS,
        "decision_requested": 0,
    }


def _shares() -> dict[Arm, float]:
    return {"fused": 0.60, "lm": 0.05, "critic": 0.10, "random": 0.20, "holdout": 0.05}


class Rules(Struct, frozen=True, kw_only=True):
    """What the marketer decides; careful by default.

    Args:
        daily_cap: strategies per customer and local day; `decision_requested` counts like any other.
        stale_after_ms: a moment older than this (event time) is suppressed.
        quiet_start_hour: no outbound message from this local hour on ...
        quiet_end_hour: ... to this one; equal hours mean that no hour is quiet.
        deadline_s: a request waits at most this long, wall clock.
        shares: arm → share of customers, any positive scale.
        arm_salt: changes who is in which arm.
        max_message_ids: message ids remembered per customer.
        profile_retention_days: a customer of whom nothing was heard for so long (event time) is forgotten; 0: nobody is.
        campaign_mark_days: so long after its start the mark of a campaign that is over goes (event time); 0: it stays.
        cart_abandoned_after_ms: silence of a filled cart or a begun checkout.
        search_wait_ms: a search without a click for so long found nothing.
        interest_views: products of one category looked at in one session that mean interest.
        dormant_after_ms: silence of a customer.
        price_drop_pct: a price this much below the remembered one is a drop.
        cooldown_ms: trigger → shortest time between two requests of it for one customer.
        campaign_rate_per_s: customers that the start of a campaign reaches per second.
        exploration_share: share of a request's candidates drawn from the whole assortment.
        currency: of customers who have no order yet.
        free_shipping_minor: what a free delivery costs; not offered where the margin is smaller.
    """

    daily_cap: int = 3
    max_discount_pct: int = 30
    stale_after_ms: int = HOUR_MS
    quiet_start_hour: int = 21
    quiet_end_hour: int = 8
    deadline_s: float = 10.0
    shares: dict[Arm, float] = field(default_factory=_shares)
    arm_salt: str = "stratagem"
    max_message_ids: int = 256
    profile_retention_days: int = 0
    campaign_mark_days: int = 0
    cart_abandoned_after_ms: int = HOUR_MS
    search_wait_ms: int = 10 * 60_000
    interest_views: int = 3
    dormant_after_ms: int = 30 * DAY_MS
    price_drop_pct: int = 5
    cooldown_ms: dict[str, int] = field(default_factory=_cooldowns)
    campaign_rate_per_s: float = 200.0
    exploration_share: float = 0.25
    currency: str = "USD"
    free_shipping_minor: int = 20

    def __post_init__(self) -> None:
        """Refuse a retention that is shorter than what is still to come of a customer."""
        if 0 < self.profile_retention_days < MIN_RETENTION_DAYS:
            message = f"profile_retention_days {self.profile_retention_days}: 0 or at least {MIN_RETENTION_DAYS} wanted"
            raise ValueError(message)
