"""The shop's catalog: `shop.catalog` records composed from the source's hierarchy, with prices from its lines.

Pure. Real: which product, its place in the hierarchy, its median unit list price, the day it was first sold.
Composed: names, descriptions, brand words. Simulated (seeded by product): unit cost, stock, price drops.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from services.shop.source import Journey, Line, Product
from services.shop.words import (
    FRESH_DEPARTMENTS,
    brand_name,
    category_label,
    category_label_zh,
    department_label,
    size_label,
    title_case,
    type_label,
)
from streaming.contracts.catalog import Product as Record
from streaming.contracts.ids import stable_unit

CURRENCY = "USD"
DAY_S = 86_400.0

MARGIN_RATES = {
    "COSMETICS": (0.38, 0.55),
    "DELI": (0.35, 0.52),
    "DRUG GM": (0.28, 0.48),
    "FLORAL": (0.40, 0.58),
    "GROCERY": (0.20, 0.42),
    "MEAT": (0.18, 0.34),
    "MEAT-PCKGD": (0.20, 0.36),
    "NUTRITION": (0.30, 0.46),
    "PASTRY": (0.40, 0.58),
    "PRODUCE": (0.28, 0.48),
}
"""Department → least and largest share of the price that is margin: invented, in the usual order of a grocer."""
OTHER_MARGIN_RATES = (0.25, 0.45)
PRIVATE_MARGIN_BONUS = 0.08
"""Own labels earn more per unit; this is added to their rate."""

NEW_AFTER_DAYS = 60
"""A product first sold later than this after the source begins counts as launched then; others were there before."""
DROP_PER_DAY = 0.02
"""Share of products whose price drops on a day."""
DROP_DAYS = 6
DROP_DEPTHS = (0.10, 0.15, 0.20, 0.30)


class PriceDrop(msgspec.Struct, frozen=True):
    """A product's lowered price from `starts_at` on, for `DROP_DAYS` days."""

    product_id: str
    starts_at: datetime
    price_minor: int


def unit_prices(lines: Iterable[Line]) -> dict[str, int]:
    """Median unit list price per product, in cents; lines of goods by weight price the piece that was bought."""
    seen: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        seen[line.product_id].append(max(line.list_minor // line.quantity, 1))
    return {product: int(statistics.median_low(prices)) for product, prices in seen.items()}


def category_prices(products: dict[str, Product], prices: dict[str, int]) -> dict[str, int]:
    """Median price per source category, for products that nobody bought."""
    seen: dict[str, list[int]] = defaultdict(list)
    for product_id, price in prices.items():
        seen[products[product_id].category].append(price)
    return {category: int(statistics.median_low(all_)) for category, all_ in seen.items()}


def first_sales(lines: Iterable[Line]) -> dict[str, float]:
    """Epoch seconds of each product's first line; lines come in time order."""
    first: dict[str, float] = {}
    for line in lines:
        first.setdefault(line.product_id, line.at_s)
    return first


def launch_time(product_id: str, first_s: float | None, begin_s: float) -> datetime:
    """When a product came: its first sale's day if that is late in the source, else a seeded day of the year before."""
    if first_s is not None and first_s > begin_s + NEW_AFTER_DAYS * DAY_S:
        at_s = first_s // DAY_S * DAY_S
    else:
        at_s = begin_s // DAY_S * DAY_S - (1 + int(364 * stable_unit("launch", product_id))) * DAY_S
    return datetime.fromtimestamp(at_s, UTC)


def unit_cost(product: Product, price_minor: int) -> int:
    """Simulated unit cost in cents, at least 1 below a price above 1."""
    low, high = MARGIN_RATES.get(product.department, OTHER_MARGIN_RATES)
    rate = low + (high - low) * stable_unit("margin", product.product_id)
    if product.brand == "Private":
        rate += PRIVATE_MARGIN_BONUS
    return max(min(round(price_minor * (1 - rate)), price_minor - 1), 0)


def stock_of(product: Product) -> int:
    """Simulated stock; about one product in fifty is sold out."""
    draw = stable_unit("stock", product.product_id)
    return 0 if draw < 0.02 else 5 + int(400 * draw)  # noqa: PLR2004 -- the share told above


def name_of(product: Product) -> str:
    """Composed product name: brand, what it is, size."""
    brand = brand_name(product.manufacturer_id, product.brand, product.department)
    what = title_case(type_label(product.type, product.category))
    size = size_label(product.package_size)
    return f"{brand} {what}, {size}" if size else f"{brand} {what}"


def description_of(product: Product) -> str:
    """Composed description of one sentence."""
    label = category_label(product.category)
    whose = "from our own label" if product.brand == "Private" else "a known brand"
    where = "our fresh counters" if product.department in FRESH_DEPARTMENTS else f"our {label} shelf"
    return f"{title_case(type_label(product.type, product.category))}, {whose}, on {where}."


def attributes_of(product: Product) -> dict[str, str]:
    """Attributes: label kind, size, Chinese category, freshness."""
    attributes = {
        "label": "own" if product.brand == "Private" else "national",
        "category_zh": category_label_zh(product.category),
        "counter": "fresh" if product.department in FRESH_DEPARTMENTS else "shelf",
    }
    size = size_label(product.package_size)
    return attributes | ({"size": size} if size else {})


def record_of(product: Product, price_minor: int, launched_at: datetime) -> Record:
    """Compose the `shop.catalog` record of a product."""
    return Record(
        product_id=product.product_id,
        name=name_of(product),
        category=(
            department_label(product.department),
            category_label(product.category),
            type_label(product.type, product.category),
        ),
        brand=brand_name(product.manufacturer_id, product.brand, product.department),
        price_minor=price_minor,
        currency=CURRENCY,
        unit_cost_minor=unit_cost(product, price_minor),
        stock=stock_of(product),
        launched_at=launched_at,
        description=description_of(product),
        attributes=attributes_of(product),
    )


def assortment(journey: Journey, begin_s: float, end_s: float) -> set[str]:
    """Products in play in a span: bought in it, or couponed by a campaign that runs in it (the bought ones first)."""
    bought = {line.product_id for line in journey.lines if begin_s <= line.at_s < end_s}
    running = {
        span.campaign_id
        for span in journey.campaigns
        if span.start <= datetime.fromtimestamp(end_s, UTC).date()
        and span.end >= datetime.fromtimestamp(begin_s, UTC).date()
    }
    extra: dict[str, list[str]] = defaultdict(list)
    for coupon in journey.coupons:
        if coupon.campaign_id in running:
            extra[coupon.campaign_id].append(coupon.product_id)
    for products in extra.values():
        bought.update(products[:40])
    return bought


def compose_catalog(journey: Journey, product_ids: Iterable[str]) -> dict[str, Record]:
    """Compose the records of products, by id."""
    prices = unit_prices(journey.lines)
    fallback = category_prices(journey.products, prices)
    first, begin_s = first_sales(journey.lines), journey.lines[0].at_s
    records = {}
    for product_id in sorted(product_ids, key=int):
        product = journey.products[product_id]
        price = prices.get(product_id) or fallback.get(product.category) or 299
        records[product_id] = record_of(product, price, launch_time(product_id, first.get(product_id), begin_s))
    return records


def price_drops(catalog: dict[str, Record], day: datetime, seed: int) -> list[PriceDrop]:
    """Draw the drops that start on a day (00:00 UTC); never below cost."""
    drops = []
    for product_id, record in catalog.items():
        draw = stable_unit("drop", str(seed), day.date().isoformat(), product_id)
        if draw >= DROP_PER_DAY or record.stock == 0:
            continue
        depth = DROP_DEPTHS[int(draw / DROP_PER_DAY * len(DROP_DEPTHS))]
        price = max(round(record.price_minor * (1 - depth)), record.unit_cost_minor)
        if price < record.price_minor:
            at_s = 36_000 * stable_unit("drop hour", product_id, day.date().isoformat())
            drops.append(PriceDrop(product_id, day + timedelta(seconds=round(at_s)), price))
    return drops
