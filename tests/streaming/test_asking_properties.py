"""Asking, over shops and histories drawn by Hypothesis: no forbidden action has a probability (law 6)."""

import random
from collections.abc import Mapping
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from model.grid import ActionGrid
from streaming.asking import ask
from streaming.candidates import propose
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.contracts.events import Event
from streaming.contracts.kinds import GRAMMARS, KIND_NAMES, MAX_ACTIONS, OUTBOUND
from streaming.contracts.strategies import Candidate, StrategyRequest, candidate_by_id
from streaming.features import Relations
from streaming.reference import Reference, snapshot
from streaming.rules import DAY_MS, Rules
from streaming.triggers import Moment
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, decisions, row_of
from tests.streaming.test_profile import histories


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """Moments of any trigger and kind."""
    kind = draw(st.sampled_from(KIND_NAMES))
    trigger = draw(
        st.sampled_from(["session_start", "cart_abandoned", "dormant_customer", "decision_requested", "campaign_start"])
    )
    context = {"campaign": "c3" if kind == "promotion" else "c1"} if trigger == "campaign_start" else {}
    if trigger == "decision_requested":
        context = draw(st.sampled_from([{}, {"category": "tea"}, {"query": "fine coffee"}]))
    at_ms = draw(st.integers(NOON_MS, NOON_MS + 2 * DAY_MS))
    return Moment(trigger, kind, draw(st.text("abc", max_size=3)), at_ms, context)  # type: ignore[arg-type]


@st.composite
def shops(draw: st.DrawFn) -> Reference:
    """Shops with thin margins, empty shelves and campaigns of all bounds."""
    rng = random.Random(draw(st.integers(0, 10_000)))
    products = []
    for number in range(rng.randrange(1, 60)):
        price = rng.choice([1, 30, 200, 999])
        cost = rng.randrange(price + 2)
        products.append(shop.product(number, price_minor=price, unit_cost_minor=cost, stock=rng.choice([0, 5, 5])))
    low = rng.choice([0, 5, 15])
    bounds = {"min_discount_pct": low, "max_discount_pct": rng.choice([low, 30, 100])}
    ends = datetime(2026, 3, rng.randrange(4, 28), tzinfo=UTC)
    offers = tuple(rng.sample(["percent_off", "free_shipping", "bundle"], rng.randrange(4)))
    promotion = shop.campaign(
        "c3", "promotion", offer_types=offers, ends_at=ends, channels=rng.choice([(), ("email",)]), **bounds
    )
    return snapshot(products, [shop.campaign("c1"), promotion])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(histories(), moments(), shops(), st.sampled_from([10, 30, 100]))
def test_what_must_never_happen_has_probability_zero(
    events: list[Event],
    what: Moment,
    reference: Reference,
    cap: int,
) -> None:
    """Law 6 over every allowed action: stock, margin, caps, campaign bounds, consent, quiet hours, and no dead end."""
    rules = Rules(max_discount_pct=cap)
    row = row_of(*events)
    relations = Relations(row.profile, what.at_ms, reference, what.context.get("query", ""))
    proposal = propose(row, what, relations, what.at_ms, rules)
    if proposal.blocked is not None:
        return
    request = ask(row, what, reference, what.at_ms, rules).request
    if request is None:  # a rule about the customer, tested above
        return
    grid = ActionGrid.of(request)
    assert 1 <= grid.count <= MAX_ACTIONS
    assert grid.allowed.any(axis=tuple(range(1, grid.allowed.ndim))).all(), "a first value that leads nowhere"
    candidates, campaign = candidate_by_id(request), reference.campaign(what.context.get("campaign", ""))
    for decision in decisions(request):
        assert decision.get("channel") not in OUTBOUND or row.profile.consent[decision["channel"]].granted
        if request.kind == "promotion":
            check_promotion(decision, request, candidates, reference, rules, campaign)
        if request.kind == "ranking":
            assert decision["category"] in candidates[decision["pinned_product"]].category
    told = {(gone.slot, gone.value) for gone in request.removed}
    for slot in request.slots:
        for value in GRAMMARS[request.kind].closed.get(slot.name, ()):
            assert (value in slot.values) != ((slot.name, value) in told)


def promised(candidate: Candidate, reference: Reference) -> list[Product]:
    """What a promotion of a candidate holds for: the product, or all of the category that is in stock."""
    if candidate.what == "product":
        return [reference.products[candidate.id]]
    products = [reference.products[product_id] for product_id in reference.in_category(candidate.id)]
    return [product for product in products if product.stock]


def check_promotion(
    decision: dict[str, str],
    request: StrategyRequest,
    candidates: Mapping[str, Candidate],
    reference: Reference,
    rules: Rules,
    campaign: Campaign | None,
) -> None:
    """One promotion obeys price, margin and bounds."""
    off = int(decision["discount"])
    for product in promised(candidates[decision["product"]], reference):
        assert product.stock > 0
        assert product.price_minor * (100 - off) >= 100 * product.unit_cost_minor
    assert off <= min(rules.max_discount_pct, candidates[decision["product"]].max_discount_pct)
    assert (decision["offer_type"] == "percent_off") == (off > 0)
    if decision["offer_type"] == "free_shipping":
        assert candidates[decision["product"]].what == "product"
        assert candidates[decision["product"]].margin_minor >= rules.free_shipping_minor
    if campaign is not None:
        assert off <= campaign.max_discount_pct
        assert off == 0 or off >= campaign.min_discount_pct
        days = int(decision["duration"].removesuffix("d"))
        assert to_ms(request.issued_at) + days * DAY_MS <= to_ms(campaign.ends_at)
        assert not campaign.channels or decision["channel"] in campaign.channels
        assert not campaign.offer_types or decision["offer_type"] in campaign.offer_types
