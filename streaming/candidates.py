"""What may be proposed now: candidates chosen and frozen, with their text and their relation to the customer. Pure.

Only what is in stock, in the customer's currency, not sold below cost and within active campaigns. Candidates come
from what the customer did, from what the moment is about, and a share from the whole assortment, so that nothing
stays unknown; they are ordered by a stable hash, so that a place in the list says nothing.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from streaming.behaviour import currency_of
from streaming.candidate_texts import campaign_candidate, category_candidate, product_candidate
from streaming.contracts.catalog import Campaign
from streaming.contracts.codec import to_ms
from streaming.contracts.strategies import Candidate, Exclusion, Removed, Slot, SuppressionReason
from streaming.features import Relations, language_of
from streaming.offers import Terms, offer, sellable
from streaming.reference import Reference
from streaming.row import Row
from streaming.rules import Rules
from streaming.sampling import Draws, dice, drawn, one_of, shuffled
from streaming.sources import sources
from streaming.told import Told
from streaming.triggers import Moment, in_audience

LIMITS = {"recommendation": 8, "ranking": 6, "promotion": 6, "ad": 8}
"""Candidates of the first kind of slot (a promotion's last one is a category); a ranking adds up to `MAX_CATEGORIES`.
4,096 actions bound them."""
MAX_CATEGORIES = 3
EXPLORED = 64
"""Products of the whole assortment that are looked at to find some that may be proposed, at most."""
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


def propose(row: Row, moment: Moment, relations: Relations, now_ms: int, rules: Rules) -> Proposal:
    """Candidates, slots and exclusions of a moment, at most 4,096 allowed actions.

    Args:
        relations: of the customer at `now_ms`, to the moment's query where it has one.
    """
    reference = relations.reference
    campaign = reference.campaign(moment.context.get("campaign", ""))
    currency, language = currency_of(row.profile, rules.currency), language_of(row.profile)
    scene = Scene(row, moment, reference, now_ms, rules, currency, campaign, relations, language)
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
    if told.sellable and product.currency == currency:
        return "not_launched" if told.launched_ms > now_ms else None
    if product.stock == 0:
        return "out_of_stock"
    return "other_currency" if product.currency != currency else "margin_below_zero"


def _chosen(scene: Scene, terms: Terms) -> tuple[tuple[Candidate, ...], tuple[Removed, ...]]:
    """Candidates in an order that says nothing. One stream of draws decides all of a moment: the same whenever it is asked."""
    moment = scene.moment
    if moment.kind == "ad" and not _running_ads(scene):
        return (), ()
    draws = dice("candidates", scene.row.user_id, moment.trigger, moment.cause)
    if moment.kind == "ad":
        candidates, removed = _ads(scene, draws)
    elif moment.kind == "ranking":
        candidates, removed = _rankings(scene, draws)
    elif moment.kind == "promotion":
        candidates, removed = _promotions(scene, draws, terms)
    else:
        products, removed = _products(scene, draws, LIMITS[moment.kind])
        candidates = _candidates(scene, products)
    return tuple(shuffled(candidates, draws)), removed


def _promotions(scene: Scene, draws: Draws, terms: Terms) -> tuple[list[Candidate], tuple[Removed, ...]]:
    """Products that leave an offer, and the category that most of them belong to."""
    products, removed = _products(scene, draws, LIMITS["promotion"] - 1)
    candidates = _candidates(scene, products)
    label = _promoted_category(scene, products)
    if label is not None:
        candidates.append(category_candidate(scene.relations, label, scene.now_ms, scene.currency, _cap_pct(scene)))
    sold = [candidate for candidate in candidates if sellable(candidate, terms)]
    if len(sold) < len(candidates):
        removed += tuple(Removed("product", c.id, "no_offer") for c in candidates if c not in sold)
    return sold, removed


def _promoted_category(scene: Scene, products: list[Told]) -> str | None:
    """The category of most of the products, if all of it may be promoted and the campaign is meant for all of it."""
    counted = Counter(told.category for told in products)
    if not counted:
        return None
    label = max(counted, key=lambda name: (counted[name], name))
    campaign, reference = scene.campaign, scene.reference
    meant = campaign is None or (not campaign.product_ids and label in campaign.categories)
    is_a_product = reference.product(label) is not None  # a decision's value must name one thing
    return label if meant and not is_a_product and reference.least_margin_pct(label, scene.currency) >= 0 else None


def _products(scene: Scene, draws: Draws, limit: int) -> tuple[list[Told], tuple[Removed, ...]]:
    """Products in play: what the moment names, then one from each source in turn, then exploration."""
    named, others = sources(scene.row.profile, scene.moment, scene.relations, scene.campaign, scene.now_ms, draws)
    bound = scene.campaign is not None or (scene.moment.kind == "ranking" and "category" in scene.moment.context)
    explored = 0 if bound else round(limit * scene.rules.exploration_share)
    found: dict[str, Told] = {}
    removed: dict[str, str] = {}
    _take(scene, named, found, removed, MUST)
    _take(scene, _in_turn(others), found, removed, limit - explored)
    if not bound:
        _take(scene, _exploration(scene, draws), found, {}, limit)  # what is merely explored is not missed
    return list(found.values()), tuple(Removed("product", key, why) for key, why in list(removed.items())[:MAX_TOLD])


def _take(scene: Scene, ids: Iterable[str], found: dict[str, Told], removed: dict[str, str], limit: int) -> None:
    about, now_ms, currency = scene.reference.about, scene.now_ms, scene.currency
    for product_id in ids:
        if len(found) >= limit:
            return
        if product_id in found or (told := about(product_id)) is None:
            continue
        why = why_not(told, now_ms, currency)
        if why is None:
            found[product_id] = told
        else:
            removed[product_id] = why


def _in_turn(sources_: list[Sequence[str]]) -> Iterable[str]:
    return filter(None, itertools.chain.from_iterable(itertools.zip_longest(*sources_)))


def _exploration(scene: Scene, draws: Draws) -> Iterator[str]:
    """A sample of the whole assortment, never a whole pass over it."""
    ids = scene.reference.product_ids
    for _ in range(EXPLORED if ids else 0):
        yield one_of(ids, draws)


def _running_ads(scene: Scene) -> Sequence[Campaign]:
    return [scene.campaign] if scene.campaign else scene.reference.active_campaigns(scene.now_ms, "ad")


def _ads(scene: Scene, draws: Draws) -> tuple[list[Candidate], tuple[Removed, ...]]:
    """A sample of the campaigns that run, are meant for the customer and may appear on the site."""
    meant, removed = [], []
    for campaign in _running_ads(scene):
        why = _why_no_ad(scene, campaign)
        if why is None:
            meant.append(campaign)
        else:
            removed.append(Removed("campaign", campaign.campaign_id, why))
    chosen = [meant[place] for place in drawn(range(len(meant)), LIMITS["ad"], draws)]
    candidates = [campaign_candidate(scene.relations, campaign, scene.now_ms, scene.language) for campaign in chosen]
    return candidates, tuple(removed[:MAX_TOLD])


def _why_no_ad(scene: Scene, campaign: Campaign) -> str | None:
    if campaign.currency != scene.currency:
        return "other_currency"
    if campaign.budget_minor == 0:
        return "no_budget"
    if campaign.channels and "onsite" not in campaign.channels:
        return "campaign"
    return None if in_audience(scene.row, campaign, scene.now_ms) else "audience"


def _rankings(scene: Scene, draws: Draws) -> tuple[list[Candidate], tuple[Removed, ...]]:
    """Categories with at least one product each to pin."""
    wanted = scene.moment.context.get("category")
    products, removed = _products(scene, draws, LIMITS["ranking"] if wanted else 4 * LIMITS["ranking"])
    grouped: dict[str, list[Told]] = {}
    for told in products:
        grouped.setdefault(told.category, []).append(told)
    if wanted:
        grouped = {wanted: grouped[wanted]} if wanted in grouped else {}
    names = list(grouped)[:MAX_CATEGORIES]
    turns = itertools.zip_longest(*(grouped[name] for name in names))
    pinned = itertools.islice((told for turn in turns for told in turn if told), LIMITS["ranking"])
    tops = _candidates(scene, [told for told in pinned if told.product.product_id not in grouped])
    covered = [name for name in names if any(name in top.category for top in tops)]
    categories = [category_candidate(scene.relations, name, scene.now_ms, scene.currency) for name in covered]
    return categories + tops, removed


def _candidates(scene: Scene, products: list[Told]) -> list[Candidate]:
    cap = _cap_pct(scene)
    return [product_candidate(scene.relations, told, scene.now_ms, cap, scene.language) for told in products]


def _cap_pct(scene: Scene) -> int:
    """The largest discount that rules and campaign allow."""
    cap = scene.rules.max_discount_pct
    return cap if scene.campaign is None else min(cap, scene.campaign.max_discount_pct)


def _running(campaign: Campaign, now_ms: int) -> bool:
    return to_ms(campaign.starts_at) <= now_ms < to_ms(campaign.ends_at)
