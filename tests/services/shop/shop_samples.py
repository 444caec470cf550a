"""Requests and strategies as agents and worker would make them, for the shop's tests."""

from datetime import timedelta

from services.shop.world import DEFAULT_START, World
from streaming.contracts.catalog import Product
from streaming.contracts.kinds import GRAMMARS, Kind
from streaming.contracts.strategies import (
    Candidate,
    Explanation,
    Features,
    Message,
    PolicyRecord,
    Slot,
    Strategy,
    StrategyRequest,
)


def candidate_of(product: Product) -> Candidate:
    """A product as agents freeze it."""
    return Candidate(
        id=product.product_id,
        what="product",
        name=product.name,
        category=product.category,
        brand=product.brand,
        text=product.description,
        price_minor=product.price_minor,
        margin_minor=product.price_minor - product.unit_cost_minor,
        max_discount_pct=30,
        age_days=10.0,
    )


def make_request(world: World, kind: Kind, user_id: str) -> StrategyRequest:
    """A request of a kind with every closed value allowed."""
    label = next(name for name, products in world.by_category.items() if len(products) >= 3)
    products = [world.catalog[product] for product in world.by_category[label][:3]]
    candidates = [candidate_of(product) for product in products]
    ids = {"product": [c.id for c in candidates], "pinned_product": [c.id for c in candidates]}
    if kind == "ad":
        campaigns = [c.campaign_id for c in world.campaigns.values() if c.kind == "ad"][:2]
        candidates = [Candidate(c, "campaign", c, ("x",), "", "", 300, 100, 0, 1.0) for c in campaigns]
        ids = {"campaign": campaigns}
    if kind == "ranking":
        candidates.append(Candidate(label, "category", label, (label,), "", "", 300, 100, 0, 1.0))
        ids["category"] = [label]
    grammar = GRAMMARS[kind]
    return StrategyRequest(
        request_id=f"req_{kind}_{user_id}",
        user_id=user_id,
        kind=kind,
        trigger="session_start",
        arm="fused",
        issued_at=DEFAULT_START + timedelta(hours=20),
        deadline_s=10.0,
        language="en",
        currency="USD",
        features=Features({}, {}),
        candidates=tuple(candidates),
        slots=tuple(Slot(name, tuple(ids.get(name, grammar.closed.get(name, ())))) for name in grammar.slots),
    )


def make_strategy(request: StrategyRequest, **chosen: str) -> Strategy:
    """A strategy that answers a request with the first value of every slot, or the given ones."""
    policy = PolicyRecord("base@0", "base", "critic", request.arm, request.arm, 0.4, 0.5, 0.5, 0.005, 8, 100)
    return Strategy(
        strategy_id=f"str_{request.request_id}",
        request_id=request.request_id,
        user_id=request.user_id,
        kind=request.kind,
        issued_at=request.issued_at,
        decision={slot.name: slot.values[0] for slot in request.slots} | chosen,
        message=Message("en", "<b>title</b>", "body", "model"),
        valid_until=request.issued_at + timedelta(days=3),
        policy=policy,
        propensity=0.1,
        slot_propensities={},
        explanation=Explanation((), (), ()),
        checks=(),
        request=request,
    )
