"""Products, campaigns and categories as candidates: facts, short text, relation to the customer. Pure.

Texts stay short, because eight candidates share a prompt with the customer.
"""

from functools import partial

from msgspec.structs import replace

from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.contracts.strategies import Candidate
from streaming.features import Relations
from streaming.reference import Reference
from streaming.rules import DAY_MS
from streaming.told import Shelf, Told, group_of

TEXT_CHARS = 80
MAX_ATTRIBUTES = 3
CATEGORY_SAMPLE = 12
"""Products of a campaign or category whose mean it is told by."""


def product_candidate(relations: Relations, told: Told, now_ms: int, cap_pct: int, language: str) -> Candidate:
    """A product as a candidate; `cap_pct` is the largest discount rules and campaign allow, the margin may allow less."""
    plain = told.candidates.get(language)
    if plain is None:
        plain = told.candidates[language] = _plain(told.product, language)
    return replace(
        plain,
        max_discount_pct=min(plain.max_discount_pct, cap_pct),
        age_days=_age_days(told.launched_ms, now_ms),
        relation=relations.of(told),
    )


def _plain(product: Product, language: str) -> Candidate:
    """What does not depend on the customer and the moment; `max_discount_pct` is what the margin allows."""
    margin = product.price_minor - product.unit_cost_minor
    facts = (product.category[-1], product.brand, *_attributes(product, language))
    return Candidate(
        id=product.product_id,
        what="product",
        name=product.name,
        category=product.category,
        brand=product.brand,
        text=", ".join(dict.fromkeys(filter(None, facts)))[:TEXT_CHARS],
        price_minor=product.price_minor,
        margin_minor=margin,
        max_discount_pct=max(0, 100 * margin // product.price_minor),
        age_days=0.0,
    )


def campaign_candidate(relations: Relations, campaign: Campaign, now_ms: int, language: str) -> Candidate:
    """A campaign as a candidate: the mean of what it offers, the text of its creative in the customer's language."""
    creative = next((c for c in campaign.creatives if c.language == language), campaign.creatives[0])
    shelf = relations.reference.shelf(
        "campaign", campaign.campaign_id, campaign.currency, partial(_campaign_shelf, relations.reference, campaign)
    )
    return Candidate(
        id=campaign.campaign_id,
        what="campaign",
        name=campaign.name,
        category=campaign.categories,
        brand="",
        text=creative.title[:TEXT_CHARS],
        price_minor=shelf.price_minor,
        margin_minor=shelf.margin_minor,
        max_discount_pct=0,
        age_days=_age_days(to_ms(campaign.starts_at), now_ms),
        relation=relations.of_any(shelf.group),
    )


def category_candidate(relations: Relations, category: str, now_ms: int, currency: str, cap_pct: int = 0) -> Candidate:
    """A category as a candidate: the mean of its products; its id is its name.

    `cap_pct` is the largest discount rules and campaign allow; the category's thinnest margin may allow less.
    """
    reference = relations.reference
    shelf = reference.shelf("category", category, currency, partial(_category_shelf, reference, category, currency))
    return Candidate(
        id=category,
        what="category",
        name=category,
        category=shelf.category,
        brand="",
        text=shelf.text,
        price_minor=shelf.price_minor,
        margin_minor=shelf.margin_minor,
        max_discount_pct=max(0, min(cap_pct, reference.least_margin_pct(category, currency))),
        age_days=0.0 if shelf.launched_ms is None else _age_days(shelf.launched_ms, now_ms),
        relation=relations.of_any(shelf.group),
    )


def _campaign_shelf(reference: Reference, campaign: Campaign) -> Shelf:
    ids = campaign.product_ids or tuple(p for name in campaign.categories for p in reference.in_category(name))
    return _shelf(_known(ids, reference, campaign.currency), campaign.categories)


def _category_shelf(reference: Reference, category: str, currency: str) -> Shelf:
    products = _known(reference.in_category(category), reference, currency)
    return _shelf(products, products[0].product.category[:2] if products else (category,))


def _shelf(products: list[Told], category: tuple[str, ...]) -> Shelf:
    return Shelf(
        group=group_of(products),
        category=category,
        text=", ".join(dict.fromkeys(told.product.category[-1] for told in products))[:TEXT_CHARS],
        price_minor=_mean([told.product.price_minor for told in products]),
        margin_minor=_mean([told.product.price_minor - told.product.unit_cost_minor for told in products]),
        launched_ms=min((told.launched_ms for told in products), default=None),
    )


def _known(ids: tuple[str, ...], reference: Reference, currency: str) -> list[Told]:
    """An even sample of the products there are."""
    step = max(1, len(ids) // CATEGORY_SAMPLE)
    found = (reference.about(product_id) for product_id in ids[::step])
    return [told for told in found if told and told.product.currency == currency and told.product.stock > 0]


def _attributes(product: Product, language: str) -> list[str]:
    """A few attribute values in the customer's language: `NAME_zh` takes the place of `NAME` for Chinese readers."""
    suffix = "_zh"
    plain = {name: value for name, value in product.attributes.items() if not name.endswith(suffix)}
    if language == "zh":
        chinese = {n.removesuffix(suffix): value for n, value in product.attributes.items() if n.endswith(suffix)}
        plain |= chinese
    return [plain[name] for name in sorted(plain)][:MAX_ATTRIBUTES]


def _age_days(launched_ms: int, now_ms: int) -> float:
    return round((now_ms - launched_ms) / DAY_MS * 100.0) / 100.0 if now_ms > launched_ms else 0.0


def _mean(values: list[int]) -> int:
    return round(sum(values) / len(values)) if values else 0
