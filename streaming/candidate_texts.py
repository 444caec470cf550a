"""Products, campaigns and categories as candidates: facts, short text, relation to the customer. Pure.

Texts stay short, because eight candidates share a prompt with the customer.
"""

from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.contracts.strategies import Candidate
from streaming.features import Relations
from streaming.reference import Reference, Shelf
from streaming.rules import DAY_MS

TEXT_CHARS = 80
MAX_ATTRIBUTES = 3
CATEGORY_SAMPLE = 12
"""Products of a campaign or category whose mean it is told by."""


def product_candidate(relations: Relations, product: Product, now_ms: int, cap_pct: int, language: str) -> Candidate:
    """A product as a candidate; `cap_pct` is the largest discount rules and campaign allow, the margin may allow less."""
    margin = product.price_minor - product.unit_cost_minor
    told = relations.reference.told(product)
    text = told.texts.get(language)
    if text is None:
        facts = (product.category[-1], product.brand, *_attributes(product, language))
        text = told.texts[language] = ", ".join(dict.fromkeys(filter(None, facts)))[:TEXT_CHARS]
    return Candidate(
        id=product.product_id,
        what="product",
        name=product.name,
        category=product.category,
        brand=product.brand,
        text=text,
        price_minor=product.price_minor,
        margin_minor=margin,
        max_discount_pct=max(0, min(cap_pct, 100 * margin // product.price_minor)),
        age_days=_age_days(told.launched_ms, now_ms),
        relation=relations.of(product),
    )


def campaign_candidate(
    relations: Relations,
    campaign: Campaign,
    reference: Reference,
    now_ms: int,
    language: str,
) -> Candidate:
    """A campaign as a candidate: the mean of what it offers, the text of its creative in the customer's language."""
    creative = next((c for c in campaign.creatives if c.language == language), campaign.creatives[0])
    ids = campaign.product_ids or tuple(p for name in campaign.categories for p in reference.in_category(name))
    products = _known(ids, reference, campaign.currency)
    return Candidate(
        id=campaign.campaign_id,
        what="campaign",
        name=campaign.name,
        category=campaign.categories,
        brand="",
        text=creative.title[:TEXT_CHARS],
        price_minor=_mean([p.price_minor for p in products]),
        margin_minor=_mean([p.price_minor - p.unit_cost_minor for p in products]),
        max_discount_pct=0,
        age_days=round(max(0, now_ms - to_ms(campaign.starts_at)) / DAY_MS, 2),
        relation=relations.of_any(products),
    )


def category_candidate(
    relations: Relations,
    category: str,
    reference: Reference,
    now_ms: int,
    currency: str,
    cap_pct: int = 0,
) -> Candidate:
    """A category as a candidate: the mean of its products; its id is its name.

    `cap_pct` is the largest discount rules and campaign allow; the category's thinnest margin may allow less.
    """
    shelf = reference.shelf(category, currency, _shelf)
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
        relation=relations.of_any(shelf.products),
    )


def _shelf(reference: Reference, category: str, currency: str) -> Shelf:
    """What does not depend on the customer."""
    products = tuple(_known(reference.in_category(category), reference, currency))
    return Shelf(
        products=products,
        category=products[0].category[:2] if products else (category,),
        text=", ".join(dict.fromkeys(product.category[-1] for product in products))[:TEXT_CHARS],
        price_minor=_mean([p.price_minor for p in products]),
        margin_minor=_mean([p.price_minor - p.unit_cost_minor for p in products]),
        launched_ms=min((reference.told(product).launched_ms for product in products), default=None),
    )


def _known(ids: tuple[str, ...], reference: Reference, currency: str) -> list[Product]:
    """An even sample of the products there are."""
    step = max(1, len(ids) // CATEGORY_SAMPLE)
    found = (reference.product(product_id) for product_id in ids[::step])
    return [product for product in found if product is not None and product.currency == currency and product.stock > 0]


def _attributes(product: Product, language: str) -> list[str]:
    """A few attribute values in the customer's language: `NAME_zh` takes the place of `NAME` for Chinese readers."""
    suffix = "_zh"
    plain = {name: value for name, value in product.attributes.items() if not name.endswith(suffix)}
    if language == "zh":
        chinese = {n.removesuffix(suffix): value for n, value in product.attributes.items() if n.endswith(suffix)}
        plain |= chinese
    return [plain[name] for name in sorted(plain)][:MAX_ATTRIBUTES]


def _age_days(launched_ms: int, now_ms: int) -> float:
    return round(max(0, now_ms - launched_ms) / DAY_MS, 2)


def _mean(values: list[int]) -> int:
    return round(sum(values) / len(values)) if values else 0
