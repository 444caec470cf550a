"""Slots, exclusions and what rules removed: what may be said with given candidates (law 6). Pure.

Every value of a closed slot is either allowed or removed with its reason; a combination that must never happen is
excluded, so it has probability zero before anything is sampled.
"""

from msgspec import Struct

from streaming.contracts.catalog import Campaign
from streaming.contracts.codec import to_ms
from streaming.contracts.kinds import (
    CHANNELS,
    DISCOUNT_LEVELS,
    DURATIONS,
    GRAMMARS,
    OFFER_TYPES,
    OUTBOUND,
    SEND_TIMES,
    Kind,
)
from streaming.contracts.strategies import Candidate, Exclusion, Removed, Slot, SuppressionReason
from streaming.local_time import quiet_now, quiet_send_times
from streaming.profile_parts import Profile
from streaming.rules import DAY_MS, Rules

DURATION_MS: dict[str, int] = {"1d": DAY_MS, "3d": 3 * DAY_MS, "7d": 7 * DAY_MS}


class Terms(Struct, frozen=True):
    """What the rules of one moment depend on.

    Args:
        away: the customer is not there and comes back only if written to.
        campaign: whose bounds hold, if the moment is about one.
    """

    profile: Profile
    now_ms: int
    rules: Rules
    away: bool = False
    campaign: Campaign | None = None


class Offer(Struct, frozen=True):
    """Slots and exclusions, or why there is nothing to say (`blocked`)."""

    slots: tuple[Slot, ...]
    exclusions: tuple[Exclusion, ...]
    removed: tuple[Removed, ...]
    blocked: SuppressionReason | None = None


def offer(kind: Kind, candidates: tuple[Candidate, ...], terms: Terms) -> Offer:
    """What may be said of a kind with these candidates."""
    if kind == "recommendation":
        return _recommendation(candidates, terms)
    if kind == "ranking":
        return _ranking(candidates)
    if kind == "promotion":
        return _promotion(candidates, terms)
    return Offer(_slots(kind, {"campaign": tuple(c.id for c in candidates)}), (), ())


def channels(terms: Terms, *, may_wait: bool) -> tuple[tuple[str, ...], tuple[Removed, ...], SuppressionReason | None]:
    """Allowed channels, those removed, and the reason where none is left.

    Args:
        may_wait: the kind has a send time, so an outbound message can be sent after the quiet hours.
    """
    why: dict[str, str] = {}
    quiet = quiet_now(terms.profile, terms.now_ms, terms.rules)
    for channel in CHANNELS:
        grant = terms.profile.consent.get(channel)
        if terms.campaign and terms.campaign.channels and channel not in terms.campaign.channels:
            why[channel] = "campaign"
        elif channel not in OUTBOUND:
            if terms.away:
                why[channel] = "customer_away"
        elif grant is None or not grant.granted:
            why[channel] = "no_consent"
        elif quiet and not (may_wait and _any_hour_is_left(terms.rules)):
            why[channel] = "quiet_hours"
    allowed = tuple(channel for channel in CHANNELS if channel not in why)
    removed = tuple(Removed("channel", channel, reason) for channel, reason in why.items())
    if allowed:
        return allowed, removed, None
    return (), removed, "quiet_hours" if "quiet_hours" in why.values() else "no_consent"


def _any_hour_is_left(rules: Rules) -> bool:
    """Whether any send time but `now` lies outside the quiet hours."""
    return len(quiet_send_times(rules)) < len(SEND_TIMES) - 1


def _recommendation(candidates: tuple[Candidate, ...], terms: Terms) -> Offer:
    allowed, removed, blocked = channels(terms, may_wait=True)
    exclusions = []
    if "onsite" in allowed:  # the site is there whenever the customer is
        exclusions.append(Exclusion("channel", "onsite", "send_time", SEND_TIMES[1:]))
    if not OUTBOUND.isdisjoint(allowed) and (quiet := _quiet_times(terms)):
        exclusions += [Exclusion("channel", channel, "send_time", quiet) for channel in allowed if channel in OUTBOUND]
    values = {"product": tuple(c.id for c in candidates), "channel": allowed}
    return Offer(_slots("recommendation", values) if allowed else (), tuple(exclusions), removed, blocked)


def _quiet_times(terms: Terms) -> tuple[str, ...]:
    """Send times at which no message may go out."""
    quiet = quiet_send_times(terms.rules)
    return ("now", *quiet) if quiet_now(terms.profile, terms.now_ms, terms.rules) else quiet


def _ranking(candidates: tuple[Candidate, ...]) -> Offer:
    categories = tuple(c for c in candidates if c.what == "category")
    products = tuple(c for c in candidates if c.what == "product")
    exclusions = []
    for category in categories:
        foreign = tuple(p.id for p in products if category.id not in p.category)
        if foreign:
            exclusions.append(Exclusion("category", category.id, "pinned_product", foreign))
    values = {"category": tuple(c.id for c in categories), "pinned_product": tuple(p.id for p in products)}
    return Offer(_slots("ranking", values), tuple(exclusions), ())


def _promotion(candidates: tuple[Candidate, ...], terms: Terms) -> Offer:
    allowed, removed, blocked = channels(terms, may_wait=False)
    closed = {
        "offer_type": _offer_types(candidates, terms),
        "discount": _discounts(terms),
        "duration": _durations(terms),
    }
    values: dict[str, tuple[str, ...]] = {"product": tuple(c.id for c in candidates), "channel": allowed}
    gone = list(removed)
    for slot, why in closed.items():
        values[slot] = tuple(v for v in GRAMMARS["promotion"].closed[slot] if v not in why)
        gone += [Removed(slot, value, reason) for value, reason in why.items()]
    if blocked is None and not all(values.values()):
        blocked = "no_candidates"
    slots = () if blocked else _slots("promotion", values)
    return Offer(slots, _discount_rules(candidates, values, terms), tuple(gone), blocked)


def _offer_types(candidates: tuple[Candidate, ...], terms: Terms) -> dict[str, str]:
    """Offer type → why it is removed for every candidate."""
    wanted = terms.campaign.offer_types if terms.campaign and terms.campaign.offer_types else OFFER_TYPES
    why = {name: "campaign" for name in OFFER_TYPES if name not in wanted}
    low, high = _bounds(terms)
    levels = [int(level) for level in DISCOUNT_LEVELS if max(low, 1) <= int(level) <= high]
    if not any(level <= candidate.max_discount_pct for candidate in candidates for level in levels):
        why.setdefault("percent_off", "discount_over_margin")
    if not any(_carries_shipping(candidate, terms) for candidate in candidates):
        why.setdefault("free_shipping", "cost_over_margin")
    return why


def _bounds(terms: Terms) -> tuple[int, int]:
    low = terms.campaign.min_discount_pct if terms.campaign else 0
    high = min(terms.rules.max_discount_pct, terms.campaign.max_discount_pct if terms.campaign else 100)
    return low, high


def _discounts(terms: Terms) -> dict[str, str]:
    low, high = _bounds(terms)
    over = {level: "over_cap" for level in DISCOUNT_LEVELS if int(level) > high}
    return over | {level: "campaign" for level in DISCOUNT_LEVELS if 0 < int(level) < low}


def _durations(terms: Terms) -> dict[str, str]:
    if terms.campaign is None:
        return {}
    left_ms = to_ms(terms.campaign.ends_at) - terms.now_ms
    return {name: "campaign_ends" for name in DURATIONS if DURATION_MS[name] > left_ms}


def _discount_rules(
    candidates: tuple[Candidate, ...],
    values: dict[str, tuple[str, ...]],
    terms: Terms,
) -> tuple[Exclusion, ...]:
    """Zero goes with every offer but a percentage; no candidate's discount exceeds its cap; no dead end is left."""
    above_zero = tuple(level for level in values["discount"] if level != "0")
    rules = []
    if "percent_off" in values["offer_type"]:
        rules.append(Exclusion("offer_type", "percent_off", "discount", ("0",)))
    if above_zero:
        rules += [
            Exclusion("offer_type", v, "discount", above_zero) for v in values["offer_type"] if v != "percent_off"
        ]
    for candidate in candidates:
        over = tuple(level for level in above_zero if int(level) > candidate.max_discount_pct)
        if over:
            rules.append(Exclusion("product", candidate.id, "discount", over))
        never: tuple[str, ...] = () if len(over) < len(above_zero) else ("percent_off",)
        if not _carries_shipping(candidate, terms):
            never += ("free_shipping",)
        present = tuple(v for v in never if v in values["offer_type"])
        if present:
            rules.append(Exclusion("product", candidate.id, "offer_type", present))
    return tuple(rules)


def _carries_shipping(candidate: Candidate, terms: Terms) -> bool:
    """Whether its margin pays for a delivery; a category's does not, since its cheapest product may be all that is bought."""
    return candidate.what == "product" and candidate.margin_minor >= terms.rules.free_shipping_minor


def sellable(candidate: Candidate, terms: Terms) -> bool:
    """Whether a promotion of this candidate leaves any offer type: else it is a dead end and no candidate."""
    return len(_offer_types((candidate,), terms)) < len(OFFER_TYPES)


def _slots(kind: Kind, values: dict[str, tuple[str, ...]]) -> tuple[Slot, ...]:
    grammar = GRAMMARS[kind]
    return tuple(Slot(name, values.get(name) or grammar.closed[name]) for name in grammar.slots)
