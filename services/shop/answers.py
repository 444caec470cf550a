"""How a customer answers a strategy: probabilities of seeing, clicking, ordering, refunding, unsubscribing.

Pure. Each slot value adds to three logits (seen, click given seen, order given click); the sum over the slots of a
decision gives the probabilities. The same effects serve the replay, which draws from them, and the report, which sums
them over all actions of a request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import msgspec

from services.shop.customers import Customer
from services.shop.words import PRIVATE_BRANDS
from streaming.contracts.ids import stable_unit
from streaming.contracts.strategies import Candidate, StrategyRequest

BASE_SEEN = {"recommendation": 0.3, "ad": 0.3, "ranking": 1.6, "promotion": 0.3}
BASE_CLICK = {"recommendation": -1.9, "ad": -1.6, "ranking": -1.7, "promotion": -2.0}
BASE_ORDER = {"recommendation": -0.4, "ad": -0.2, "ranking": -0.7, "promotion": -0.4}
"""Kind → logit before any slot."""

CHANNEL_SEEN = {"onsite": 1.2, "email": 0.0, "push": -0.3, "sms": -0.4}
CHANNEL_CLICK = {"onsite": 0.3, "email": 0.0, "push": 0.1, "sms": -0.3}
CHANNEL_LEAVES = {"onsite": 0.0005, "email": 0.004, "push": 0.008, "sms": 0.02}
"""Probability that a seen message makes the customer unsubscribe."""
PLACEMENT_SEEN = {"home": 0.5, "search": 0.9, "category": 0.6, "checkout": -0.4}
PLACEMENT_CLICK = {"home": -0.2, "search": 0.5, "category": 0.3, "checkout": -0.3}
BID_SEEN = {"low": -0.9, "medium": 0.1, "high": 0.8}
TONE_CLICK = {"friendly": 0.15, "urgent": -0.1, "premium": -0.05, "playful": 0.0}
DURATION_CLICK = {"1d": -0.1, "3d": 0.05, "7d": 0.1}
DURATION_ORDER = {"1d": 0.3, "3d": 0.1, "7d": -0.2}
DAYPART = {"morning": 0, "afternoon": 1, "evening": 2}
IN_SESSION = frozenset({"session_start", "search_without_click", "category_interest", "decision_requested"})
"""Triggers that fire while the customer is on the site."""
MEAN_REFUND = 0.056
"""Mean of `refund_probability` over products."""
COMPLAINT_SHARE = 0.15
"""Share of unsubscribing customers who also mark the message as spam."""


class Effect(msgspec.Struct, frozen=True):
    """What a slot value adds to the logits of seen, click given seen and order given click."""

    seen: float = 0.0
    click: float = 0.0
    order: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """Probabilities of one action. `left` is given seen, `refunded` given an order; `units` is a mean count."""

    seen: float
    clicked: float
    ordered: float
    refunded: float
    left: float
    units: float


class Shelf(msgspec.Struct, frozen=True):
    """What customers know of the goods.

    Args:
        price_level: product id → log of its price over its category's median, cut to [-1, 1].
        popularity: product id → rank among the products by lines bought, in [0, 1].
        campaign_categories: campaign id → share of each category label among its products.
    """

    price_level: dict[str, float]
    popularity: dict[str, float]
    campaign_categories: dict[str, dict[str, float]]


def sigmoid(x: float) -> float:
    """Logistic function, safe at both ends."""
    return 1 / (1 + math.exp(-x)) if x > -40 else 0.0  # noqa: PLR2004 -- below double precision


def taste_of(customer: Customer, category: tuple[str, ...]) -> float:
    """Log ratio of a category path: its second part names the category, as the catalog composes it."""
    label = category[1] if len(category) > 1 else category[0]
    return customer.taste.by_category.get(label, customer.taste.other_category)


def product_effect(customer: Customer, shelf: Shelf, candidate: Candidate) -> Effect:
    """Effect of a product by taste, habit, label, price and popularity."""
    taste = taste_of(customer, candidate.category)
    known = 1.0 if candidate.id in customer.bought else 0.0
    own = customer.taste.own_label * (1.0 if candidate.brand in PRIVATE_BRANDS else -0.4)
    dear = shelf.price_level.get(candidate.id, 0.0) * (0.4 + 0.3 * customer.taste.price_sensitivity)
    popular = shelf.popularity.get(candidate.id, 0.0)
    return Effect(
        click=0.75 * taste + 0.6 * known + 0.25 * own - 0.5 * dear + 0.4 * popular,
        order=0.35 * taste + 0.5 * known - 0.4 * dear,
    )


def campaign_effect(customer: Customer, shelf: Shelf, candidate: Candidate) -> Effect:
    """Effect of a campaign by the tastes for its goods and by what the household really did with its coupons."""
    shares = shelf.campaign_categories.get(candidate.id, {})
    taste = sum(
        share * customer.taste.by_category.get(label, customer.taste.other_category) for label, share in shares.items()
    )
    real = 0.4 * (candidate.id in customer.sent) + 0.8 * (candidate.id in customer.redeemed)
    return Effect(click=0.9 * taste + real, order=0.4 * taste + 0.5 * real)


def category_effect(customer: Customer, candidate: Candidate) -> Effect:
    """Effect of the category a ranking is about; a category's id is its label."""
    taste = taste_of(customer, (candidate.id,))
    return Effect(seen=0.2 * taste, click=0.5 * taste)


def candidate_effect(customer: Customer, shelf: Shelf, candidate: Candidate) -> Effect:
    """Effect of a candidate of any sort."""
    if candidate.what == "product":
        return product_effect(customer, shelf, candidate)
    if candidate.what == "campaign":
        return campaign_effect(customer, shelf, candidate)
    return category_effect(customer, candidate)


def send_time_effect(customer: Customer, value: str, trigger: str) -> Effect:
    """Effect of when a message goes out: own habits for a part of the day, presence for `now`."""
    if value == "now":
        return Effect(seen=0.6 if trigger in IN_SESSION else -0.1)
    return Effect(seen=0.7 * math.log(3 * customer.taste.dayparts[DAYPART[value]]))


def closed_effect(customer: Customer, slot: str, value: str, trigger: str) -> Effect:
    """Effect of a closed slot's value.

    Raises:
        KeyError: a slot or value that the contracts do not have.
    """
    if slot == "send_time":
        return send_time_effect(customer, value, trigger)
    return CLOSED_EFFECTS[slot](customer, value)


def discount_effect(customer: Customer, value: str) -> Effect:
    """Effect of a percentage off, by the customer's own sensitivity."""
    gain = customer.discount * int(value) / 10
    return Effect(click=gain, order=0.8 * gain)


CLOSED_EFFECTS: dict[str, Callable[[Customer, str], Effect]] = {
    "channel": lambda c, v: Effect(seen=CHANNEL_SEEN[v] + c.channel[v], click=CHANNEL_CLICK[v]),
    "tone": lambda c, v: Effect(click=TONE_CLICK[v] + c.tone[v]),
    "placement": lambda c, v: Effect(seen=PLACEMENT_SEEN[v] + c.placement[v], click=PLACEMENT_CLICK[v]),
    "bid_tier": lambda _, v: Effect(seen=BID_SEEN[v]),
    "emphasis": lambda c, v: Effect(click=c.emphasis[v], order=-0.3 if v == "margin" else 0.0),
    "offer_type": lambda c, v: Effect(click=c.offer[v], order=0.5 * c.offer[v]),
    "discount": discount_effect,
    "duration": lambda _, v: Effect(click=DURATION_CLICK[v], order=DURATION_ORDER[v]),
}
"""Closed slot → effect of one of its values for a customer."""


def effects_of(customer: Customer, shelf: Shelf, request: StrategyRequest) -> dict[str, dict[str, Effect]]:
    """Effects of every allowed value of every slot of a request."""
    candidates = {candidate.id: candidate for candidate in request.candidates}
    return {
        slot.name: {
            value: candidate_effect(customer, shelf, candidates[value])
            if value in candidates
            else Effect()
            if slot.name in ("category", "pinned_product", "product", "campaign")
            else closed_effect(customer, slot.name, value, request.trigger)
            for value in slot.values
        }
        for slot in request.slots
    }


def base_effect(customer: Customer, kind: str) -> Effect:
    """Logits of a kind before any slot, with the customer's own response to it."""
    return Effect(BASE_SEEN[kind], BASE_CLICK[kind] + customer.kind[kind], BASE_ORDER[kind])


def refund_probability(product_id: str) -> float:
    """Simulated share of orders of a product that come back: most goods rarely, some often; the mean where unknown."""
    if not product_id:
        return MEAN_REFUND
    return 0.02 + 0.18 * stable_unit("refund", product_id) ** 4


def _ordered_product(request: StrategyRequest, decision: Mapping[str, str]) -> str:
    """The product an order would be of; empty where that is open, as for a campaign or a category."""
    named = decision.get("product") or decision.get("pinned_product") or ""
    return named if any(c.id == named and c.what == "product" for c in request.candidates) else ""


def answer_of(customer: Customer, shelf: Shelf, request: StrategyRequest, decision: Mapping[str, str]) -> Answer:
    """Probabilities of the customer's answers to one decision."""
    effects = effects_of(customer, shelf, request)
    parts = [base_effect(customer, request.kind)] + [effects[slot][value] for slot, value in decision.items()]
    return Answer(
        seen=sigmoid(sum(part.seen for part in parts)),
        clicked=sigmoid(sum(part.click for part in parts)),
        ordered=sigmoid(sum(part.order for part in parts)),
        refunded=refund_probability(_ordered_product(request, decision)),
        left=CHANNEL_LEAVES.get(decision.get("channel", ""), 0.0),
        units=max(customer.taste.units_per_line, 1.0),
    )
