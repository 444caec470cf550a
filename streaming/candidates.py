"""What may be proposed now: candidates chosen and frozen, with their text and their relation to the customer. Pure.

Only what is in stock, in the customer's currency, not sold below cost and within active campaigns. Candidates come
from what the customer did, from what the moment is about, and a share from the whole assortment, so that nothing
stays unknown; they are ordered by a stable hash, so that a place in the list says nothing.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from operator import itemgetter
from random import Random

from msgspec import Struct

from streaming.behaviour import currency_of
from streaming.candidate_texts import campaign_candidate, category_candidate, product_candidate
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.contracts.ids import stable_seed, stable_units
from streaming.contracts.strategies import Candidate, Exclusion, Removed, Slot, SuppressionReason
from streaming.features import Relations, language_of
from streaming.offers import Terms, offer, sellable
from streaming.reference import Reference, Told, category_of
from streaming.row import Row
from streaming.rules import Rules
from streaming.sources import sources
from streaming.triggers import Moment, in_audience

LIMITS = {"recommendation": 8, "ranking": 6, "promotion": 6, "ad": 8}
"""Candidates of the first kind of slot (a promotion's last one is a category); a ranking adds up to `MAX_CATEGORIES`.
4,096 actions bound them."""
MAX_CATEGORIES = 3
MAX_TOLD = 8
"""Removed candidates told in a request."""
MUST = 4
"""Candidates that the moment itself names: the cart, the search's results, the product whose price fell."""


class Proposal(Struct, frozen=True):
    """Everything a request lets the model say; or why it may say nothing."""

    candidates: tuple[Candidate, ...]
    slots: tuple[Slot, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    removed: tuple[Removed, ...] = ()
    blocked: SuppressionReason | None = None


class Scene(Struct, frozen=True):
    """One moment's view of customer, shop and rules."""

    row: Row
    moment: Moment
    reference: Reference
    now_ms: int
    rules: Rules
    currency: str
    campaign: Campaign | None
    relations: Relations
    language: str


def propose(row: Row, moment: Moment, reference: Reference, now_ms: int, rules: Rules) -> Proposal:
    """Candidates, slots and exclusions of a moment, at most 4,096 allowed actions."""
    campaign = reference.campaign(moment.context.get("campaign", ""))
    currency = currency_of(row.profile, rules.currency)
    relations = Relations(row.profile, now_ms, reference, moment.context.get("query", ""))
    scene = Scene(row, moment, reference, now_ms, rules, currency, campaign, relations, language_of(row.profile))
    if "campaign" in moment.context and (campaign is None or not _running(campaign, now_ms)):
        return Proposal(
            (), removed=(Removed("campaign", moment.context["campaign"], "not_running"),), blocked="no_candidates"
        )
    terms = Terms(row.profile, now_ms, rules, moment.trigger == "dormant_customer", campaign)
    chosen, removed = _chosen(scene, terms)
    if not chosen:
        return Proposal((), removed=removed, blocked="no_candidates")
    said = offer(moment.kind, chosen, terms)
    return Proposal(chosen, said.slots, said.exclusions, (*removed, *said.removed), said.blocked)


def why_not(told: Told, now_ms: int, currency: str) -> str | None:
    """Why a product may not be proposed, or None."""
    product = told.product
    if product.stock == 0:
        return "out_of_stock"
    if product.currency != currency:
        return "other_currency"
    if product.price_minor == 0 or product.unit_cost_minor > product.price_minor:
        return "margin_below_zero"
    return "not_launched" if told.launched_ms > now_ms else None


def _chosen(scene: Scene, terms: Terms) -> tuple[tuple[Candidate, ...], tuple[Removed, ...]]:
    if scene.moment.kind == "ad":
        return _ads(scene)
    if scene.moment.kind == "ranking":
        return _rankings(scene)
    if scene.moment.kind == "promotion":
        return _promotions(scene, terms)
    products, removed = _products(scene, LIMITS[scene.moment.kind])
    return _shuffled(scene, [_candidate(scene, product) for product in products]), removed


def _promotions(scene: Scene, terms: Terms) -> tuple[tuple[Candidate, ...], tuple[Removed, ...]]:
    """Products that leave an offer, and the category that most of them belong to."""
    products, removed = _products(scene, LIMITS["promotion"] - 1)
    candidates = [_candidate(scene, product) for product in products]
    label = _promoted_category(scene, products)
    if label is not None:
        cap = _cap_pct(scene)
        candidates.append(
            category_candidate(scene.relations, label, scene.reference, scene.now_ms, scene.currency, cap)
        )
    removed += tuple(Removed("product", c.id, "no_offer") for c in candidates if not sellable(c, terms))
    return _shuffled(scene, [c for c in candidates if sellable(c, terms)]), removed


def _promoted_category(scene: Scene, products: list[Product]) -> str | None:
    """The category of most of the products, if all of it may be promoted and the campaign is meant for all of it."""
    counted = Counter(category_of(product) for product in products)
    if not counted:
        return None
    label = max(counted, key=lambda name: (counted[name], name))
    campaign, reference = scene.campaign, scene.reference
    meant = campaign is None or (not campaign.product_ids and label in campaign.categories)
    is_a_product = reference.product(label) is not None  # a decision's value must name one thing
    return label if meant and not is_a_product and reference.least_margin_pct(label, scene.currency) >= 0 else None


def _products(scene: Scene, limit: int) -> tuple[list[Product], tuple[Removed, ...]]:
    """Products in play: what the moment names, then one from each source in turn, then exploration."""
    named, others = sources(scene.row.profile, scene.moment, scene.reference, scene.campaign, scene.now_ms)
    explored = 0 if scene.campaign else round(limit * scene.rules.exploration_share)
    found: dict[str, Product] = {}
    told: dict[str, str] = {}
    _take(scene, named, found, told, MUST)
    _take(scene, _in_turn(others), found, told, limit - explored)
    if not _fills_ranking(scene, found):
        _take(scene, _exploration(scene), found, {}, limit)  # what is merely explored is not missed
    return list(found.values()), tuple(Removed("product", key, why) for key, why in list(told.items())[:MAX_TOLD])


def _fills_ranking(scene: Scene, found: dict[str, Product]) -> bool:
    """Whether a ranking of one category has all that it pins: what is explored beside it would be left out again."""
    wanted = scene.moment.context.get("category") if scene.moment.kind == "ranking" else None
    return wanted is not None and sum(category_of(p) == wanted for p in found.values()) >= LIMITS["ranking"]


def _take(scene: Scene, ids: Iterable[str], found: dict[str, Product], told: dict[str, str], limit: int) -> None:
    reference, now_ms, currency = scene.reference, scene.now_ms, scene.currency
    for product_id in ids:
        if len(found) >= limit:
            return
        product = reference.product(product_id)
        if product is None or product_id in found:
            continue
        why = why_not(reference.told(product), now_ms, currency)
        if why is None:
            found[product_id] = product
        else:
            told[product_id] = why


def _in_turn(sources_: list[tuple[str, ...]]) -> Iterator[str]:
    for turn in itertools.zip_longest(*sources_):
        yield from (product_id for product_id in turn if product_id is not None)


def _exploration(scene: Scene) -> Iterator[str]:
    """A stable sample of the whole assortment, never a whole pass over it."""
    if scene.campaign is not None or not scene.reference.product_ids:
        return
    rng = Random(stable_seed("explore", scene.row.user_id, scene.moment.trigger, scene.moment.cause))
    for _ in range(4 * max(LIMITS.values())):
        yield rng.choice(scene.reference.product_ids)


def _ads(scene: Scene) -> tuple[tuple[Candidate, ...], tuple[Removed, ...]]:
    """Campaigns that run, are meant for the customer and may appear on the site."""
    running = [scene.campaign] if scene.campaign else scene.reference.active_campaigns(scene.now_ms, "ad")
    candidates, removed = [], []
    for campaign in running:
        why = _why_no_ad(scene, campaign)
        if why is None:
            candidates.append(
                campaign_candidate(scene.relations, campaign, scene.reference, scene.now_ms, scene.language)
            )
        else:
            removed.append(Removed("campaign", campaign.campaign_id, why))
    return _shuffled(scene, candidates)[: LIMITS["ad"]], tuple(removed[:MAX_TOLD])


def _why_no_ad(scene: Scene, campaign: Campaign) -> str | None:
    if campaign.currency != scene.currency:
        return "other_currency"
    if campaign.budget_minor == 0:
        return "no_budget"
    if campaign.channels and "onsite" not in campaign.channels:
        return "campaign"
    return None if in_audience(scene.row, campaign, scene.now_ms) else "audience"


def _rankings(scene: Scene) -> tuple[tuple[Candidate, ...], tuple[Removed, ...]]:
    """Categories with at least one product each to pin."""
    products, removed = _products(scene, 4 * LIMITS["ranking"])
    wanted = scene.moment.context.get("category")
    grouped: dict[str, list[Product]] = {}
    for product in products:
        grouped.setdefault(category_of(product), []).append(product)
    if wanted:
        grouped = {wanted: grouped[wanted]} if wanted in grouped else {}
    names = list(grouped)[:MAX_CATEGORIES]
    pinned = list(
        itertools.islice(
            (p for turn in itertools.zip_longest(*(grouped[n] for n in names)) for p in turn if p), LIMITS["ranking"]
        )
    )
    categories = [category_candidate(scene.relations, n, scene.reference, scene.now_ms, scene.currency) for n in names]
    tops = [_candidate(scene, product) for product in pinned if product.product_id not in grouped]
    covered = {name for name in names if any(name in top.category for top in tops)}
    return _shuffled(scene, [c for c in categories if c.id in covered] + tops), removed


def _candidate(scene: Scene, product: Product) -> Candidate:
    return product_candidate(scene.relations, product, scene.now_ms, _cap_pct(scene), scene.language)


def _cap_pct(scene: Scene) -> int:
    """The largest discount that rules and campaign allow."""
    cap = scene.rules.max_discount_pct
    return cap if scene.campaign is None else min(cap, scene.campaign.max_discount_pct)


def _shuffled(scene: Scene, candidates: list[Candidate]) -> tuple[Candidate, ...]:
    ids = [candidate.id for candidate in candidates]
    places = stable_units(("order", scene.row.user_id, scene.moment.cause), ids)
    ordered = sorted(zip(places, ids, candidates, strict=True), key=itemgetter(0, 1))
    return tuple(candidate for _, _, candidate in ordered)


def _running(campaign: Campaign, now_ms: int) -> bool:
    return to_ms(campaign.starts_at) <= now_ms < to_ms(campaign.ends_at)
