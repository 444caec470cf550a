"""What the shop and its customers do with a strategy: the events that follow it, each at its moment.

Pure; randomness is seeded by the strategy's id, so that the same strategy always meets the same answer. What happens
is drawn from `answers.py`; this module turns the draws into events of Segment's kinds, with the strategy's id echoed.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from services.shop.answers import COMPLAINT_SHARE, Answer, answer_of
from services.shop.customers import Customer
from services.shop.visits import HOUR_MS, MINUTE_MS
from services.shop.wire import TIMEZONE, Emit, amount, emit
from services.shop.world import World
from streaming.contracts.codec import instant, to_ms
from streaming.contracts.ids import derive, stable_seed
from streaming.contracts.kinds import GRAMMARS, OUTBOUND, SEND_HOUR
from streaming.contracts.strategies import Strategy

LATE_REFUND_SHARE = 0.25
"""Share of refunds that come after a strategy's horizon and correct its final reward."""
REFUND_H = (2.0, 28.0)
LATE_REFUND_H = (60.0, 110.0)
"""Hours from order to refund."""
DELAY_MS = {"onsite": (5_000, 4 * MINUTE_MS), "email": (5 * MINUTE_MS, 5 * HOUR_MS)} | dict.fromkeys(
    ("push", "sms"), (MINUTE_MS, HOUR_MS)
)
"""Channel → least and longest time from sending to being seen."""
CLICK_MS = (4_000, 6 * MINUTE_MS)
ORDER_MS = (2 * MINUTE_MS, 3 * HOUR_MS)


class Draw(msgspec.Struct, frozen=True):
    """What happens: each is only true when what it depends on is."""

    seen: bool
    clicked: bool
    ordered: bool
    refunded: bool
    left: bool
    complained: bool
    units: int


def draw(answer: Answer, rng: Random) -> Draw:
    """Draw what happens from the probabilities."""
    seen = rng.random() < answer.seen
    clicked = rng.random() < answer.clicked and seen
    ordered = rng.random() < answer.ordered and clicked
    refunded = rng.random() < answer.refunded and ordered
    left = rng.random() < answer.left and seen
    complained = rng.random() < COMPLAINT_SHARE and left
    extra = answer.units - 1
    return Draw(seen, clicked, ordered, refunded, left, complained, 1 + int(extra) + (rng.random() < extra % 1))


def send_moment(strategy: Strategy) -> int:
    """When a strategy goes out: at once, or at the next hour its send time names in the customer's time zone."""
    hour = SEND_HOUR.get(strategy.decision.get("send_time", "now"))
    issued = strategy.issued_at
    if hour is None:
        return to_ms(issued)
    local = issued.astimezone(ZoneInfo(TIMEZONE))
    due: datetime = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return to_ms(due if due > local else due + timedelta(days=1))


def product_of(world: World, strategy: Strategy, rng: Random) -> str | None:
    """The product an order from this strategy is for; None when the shop has none to sell."""
    decision = strategy.decision
    direct = decision.get("product") or decision.get("pinned_product")
    if direct in world.catalog:
        return direct
    campaign = world.campaigns.get(decision.get("campaign", ""))
    label = decision.get("category") or decision.get("product", "")  # a promotion may be of a whole category
    offered = campaign.product_ids if campaign else world.by_category.get(label, ())[:10]
    now = strategy.issued_at
    able = [p for p in offered if p in world.catalog and world.catalog[p].stock and world.catalog[p].launched_at <= now]
    return rng.choice(able) if able else None


def react(world: World, strategy: Strategy, clock_ms: int, unsubscribed: frozenset[str]) -> list[Emit]:
    """Plan the events that follow a strategy.

    Args:
        world: who the customer is and what is sold.
        strategy: as published.
        clock_ms: the shop's clock; nothing is stamped before it, or it would be late.
        unsubscribed: channels this customer has left; nothing is sent there any more.
    """
    customer = world.customers.get(strategy.user_id)
    channel = strategy.decision.get("channel", "onsite")
    if customer is None or (channel in OUTBOUND and channel in unsubscribed):
        return []
    rng = Random(stable_seed("answer", str(world.seed), strategy.strategy_id))
    happens = draw(answer_of(customer, world.shelf, strategy.request, strategy.decision), rng)
    sent_ms = max(send_moment(strategy), clock_ms + 1)
    seen_ms = sent_ms + rng.randrange(*DELAY_MS[channel])
    events = []
    if channel == "email":
        events.append(_message_event("Email Delivered", customer, strategy, sent_ms))
    if not happens.seen or instant(seen_ms) > strategy.valid_until:
        return events
    events += shown(world, customer, strategy, seen_ms)
    if happens.left:
        events += leaving(customer, strategy, seen_ms + MINUTE_MS, happens)
    if happens.clicked:
        click_ms = seen_ms + rng.randrange(*CLICK_MS)
        events += clicked(customer, strategy, click_ms)
        product = product_of(world, strategy, rng)
        if happens.ordered and product:
            events += bought(world, customer, strategy, product, click_ms + rng.randrange(*ORDER_MS), happens, rng)
    return events


def _message_event(name: str, customer: Customer, strategy: Strategy, at_ms: int) -> Emit:
    channel = strategy.decision.get("channel", "email")
    properties = {
        "email_id": f"m-{strategy.strategy_id}",
        "channel": channel if channel in OUTBOUND else "email",
        "strategy_id": strategy.strategy_id,
    }
    return emit(name, customer, at_ms, properties, cause=strategy.strategy_id)


def _promotion(strategy: Strategy) -> dict[str, object]:
    decision = strategy.decision
    return {
        "promotion_id": decision.get("campaign") or decision.get("product") or "",
        "creative": decision.get("tone", ""),
        "position": decision.get("placement") or decision.get("channel") or "",
        "strategy_id": strategy.strategy_id,
    }


def shown(world: World, customer: Customer, strategy: Strategy, at_ms: int) -> list[Emit]:
    """The shown event of the strategy's kind, and the opening of an e-mail."""
    name = GRAMMARS[strategy.kind].shown_event
    if strategy.kind == "ranking":
        pinned = strategy.decision.get("pinned_product", "")
        listed = dict.fromkeys(p for p in (pinned, *world.by_category.get(strategy.decision["category"], ())[:8]) if p)
        properties: dict[str, object] = {
            "list_id": "ranked",
            "category": strategy.decision["category"],
            "products": [{"product_id": product} for product in listed if product in world.catalog],
            "strategy_id": strategy.strategy_id,
        }
        return [emit(name, customer, at_ms, properties, cause=strategy.strategy_id)]
    events = [emit(name, customer, at_ms, _promotion(strategy), cause=strategy.strategy_id)]
    if strategy.decision.get("channel") == "email":
        events.append(_message_event("Email Opened", customer, strategy, at_ms))
    return events


def clicked(customer: Customer, strategy: Strategy, at_ms: int) -> list[Emit]:
    """The click event of the strategy's kind, and the link of an e-mail."""
    name = GRAMMARS[strategy.kind].click_event
    if strategy.kind == "ranking":
        properties = {"product_id": strategy.decision["pinned_product"], "strategy_id": strategy.strategy_id}
        return [emit(name, customer, at_ms, properties, cause=strategy.strategy_id)]
    events = [emit(name, customer, at_ms, _promotion(strategy), cause=strategy.strategy_id)]
    if strategy.decision.get("channel") == "email":
        events.append(_message_event("Email Link Clicked", customer, strategy, at_ms))
    return events


def leaving(customer: Customer, strategy: Strategy, at_ms: int, happens: Draw) -> list[Emit]:
    """The customer unsubscribes from the channel; some mark the message as spam first."""
    events = [_message_event("Unsubscribed", customer, strategy, at_ms)]
    if happens.complained:
        events.append(_message_event("Email Marked as Spam", customer, strategy, at_ms - 1_000))
    return events


def bought(
    world: World, customer: Customer, strategy: Strategy, product_id: str, at_ms: int, happens: Draw, rng: Random
) -> list[Emit]:
    """The order that followed, at the promised discount, and its refund where one follows."""
    product = world.catalog[product_id]
    price = promised_price(strategy, product_id, product.price_minor)
    order_id = derive("o", strategy.strategy_id)
    line = {
        "product_id": product_id,
        "quantity": happens.units,
        "price": amount(price),
        "discount": amount(max(product.price_minor - price, 0)),
    }
    total = amount(price * happens.units)
    sale = {"order_id": order_id, "currency": product.currency, "total": total, "products": [line]}
    sale["strategy_id"] = strategy.strategy_id
    events = [emit("Order Completed", customer, at_ms, sale, cause=order_id)]
    if happens.refunded:
        hours = rng.uniform(*(LATE_REFUND_H if rng.random() < LATE_REFUND_SHARE else REFUND_H))
        back = {"order_id": order_id, "currency": product.currency, "products": [line], "total": total}
        events.append(emit("Order Refunded", customer, at_ms + round(hours * HOUR_MS), back, cause=order_id))
    return events


def promised_price(strategy: Strategy, product_id: str, price_minor: int) -> int:
    """Unit price of an order: the request's frozen price of a candidate, less the promised discount."""
    frozen = {candidate.id: candidate.price_minor for candidate in strategy.request.candidates}
    off = int(strategy.decision.get("discount", "0"))
    full = frozen.get(product_id, price_minor)
    return full - full * off // 100
