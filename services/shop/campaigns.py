"""The shop's campaigns: `shop.campaigns` records of the source's campaigns.

Pure. Real: ids, dates, the households each was sent to, the couponed products. Composed: names and texts. Simulated:
kind (large campaigns and every other middle one are promotions, the others ads), budget, channels, offers, bounds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, time

from services.shop.source import CampaignSpan, Journey
from services.shop.words import category_label, category_label_zh, title_case
from streaming.contracts.catalog import Campaign, Creative
from streaming.contracts.catalog import Product as Record
from streaming.contracts.ids import stable_unit
from streaming.contracts.kinds import OFFER_TYPES, Channel

MAX_PRODUCTS = 60
"""Products a campaign's record names; the most bought ones of its coupons."""
BUDGET_PER_HOUSEHOLD_MINOR = 400

TITLES = {
    "promotion": ("{season} savings on {first}", "{first}{season}特惠"),
    "ad": ("Discover {first} for {season}", "{season}好物:{first}"),
}
BODIES = {
    "promotion": (
        "Coupons for {first} and {second} until {end}. While stocks last.",
        "{first}与{second}优惠券,有效期至{end}。售完即止。",
    ),
    "ad": (
        "New on our shelves: {first} and {second}. Come and taste the difference.",
        "新品上架:{first}与{second},欢迎选购。",
    ),
}
SEASONS = {
    12: ("holiday", "节日"), 1: ("winter", "冬季"), 2: ("winter", "冬季"), 3: ("spring", "春季"), 4: ("spring", "春季"),
    5: ("spring", "春季"), 6: ("summer", "夏季"), 7: ("summer", "夏季"), 8: ("summer", "夏季"), 9: ("autumn", "秋季"),
    10: ("autumn", "秋季"), 11: ("autumn", "秋季"),
}  # fmt: skip


def kind_of(span: CampaignSpan) -> str:
    """`promotion` for type A and every other type B, `ad` for the rest."""
    promoted = span.type == "Type A" or (span.type == "Type B" and int(span.campaign_id) % 2 == 0)
    return "promotion" if promoted else "ad"


def user_of(household_id: str) -> str:
    """The customer's id on the wire."""
    return f"u{int(household_id):04d}"


def strongest(source_categories: Counter[str]) -> tuple[list[str], list[str]]:
    """The two leading categories' English and Chinese labels, with words for more where there is no second."""
    leading = [name for name, _ in source_categories.most_common(2)]
    english = [category_label(name) for name in leading] + ["much more"]
    return english[:2], ([category_label_zh(name) for name in leading] + ["更多商品"])[:2]


def creatives_of(span: CampaignSpan, kind: str, source_categories: Counter[str]) -> tuple[Creative, Creative]:
    """Composed texts in both languages."""
    english, chinese = strongest(source_categories)
    season_en, season_zh = SEASONS[span.start.month]
    end_en, end_zh = f"{span.end:%B} {span.end.day}", f"{span.end.month}月{span.end.day}日"
    facts_en = {"season": season_en, "first": english[0], "second": english[1], "end": end_en}
    facts_zh = {"season": season_zh, "first": chinese[0], "second": chinese[1], "end": end_zh}
    title_en = TITLES[kind][0].format(**facts_en)
    return (
        Creative("en", title_en[:1].upper() + title_en[1:], BODIES[kind][0].format(**facts_en)),
        Creative("zh", TITLES[kind][1].format(**facts_zh), BODIES[kind][1].format(**facts_zh)),
    )


def channels_of(span: CampaignSpan) -> tuple[Channel, ...]:
    """Simulated channels: always the site and e-mail, sometimes push or sms."""
    draw = stable_unit("channels", span.campaign_id)
    extra: tuple[Channel, ...] = ("push", "sms") if draw < 0.3 else ("push",) if draw < 0.8 else ()  # noqa: PLR2004
    return ("onsite", "email", *extra)


def campaign_of(span: CampaignSpan, kind: str, products: list[str], source_categories: Counter[str]) -> Campaign:
    """Compose the record of a campaign."""
    english, _ = strongest(source_categories)
    season = SEASONS[span.start.month][0]
    promoted = kind == "promotion"
    name = title_case(f"{season} {english[0]} {'savings' if promoted else 'showcase'} {span.campaign_id}")
    return Campaign(
        campaign_id=f"c{span.campaign_id}",
        kind="promotion" if promoted else "ad",
        name=name,
        creatives=creatives_of(span, kind, source_categories),
        starts_at=datetime.combine(span.start, time(), UTC),
        ends_at=datetime.combine(span.end, time(23, 59, 59), UTC),
        budget_minor=BUDGET_PER_HOUSEHOLD_MINOR * max(len(span.households), 10),
        currency="USD",
        channels=channels_of(span),
        product_ids=tuple(products),
        categories=tuple(dict.fromkeys(category_label(name) for name, _ in source_categories.most_common(5))),
        offer_types=OFFER_TYPES if promoted else (),
        min_discount_pct=5 if promoted else 0,
        max_discount_pct=30 if span.type == "Type A" else 20,
        audience=() if kind == "ad" else tuple(user_of(household) for household in span.households),
    )


def compose_campaigns(journey: Journey, catalog: Mapping[str, Record]) -> dict[str, Campaign]:
    """Compose the records of campaigns that have at least one product in the catalog, by id."""
    bought = Counter(line.product_id for line in journey.lines)
    couponed: dict[str, set[str]] = defaultdict(set)
    for coupon in journey.coupons:
        if coupon.product_id in catalog:
            couponed[coupon.campaign_id].add(coupon.product_id)
    records = {}
    for span in journey.campaigns:
        products = sorted(couponed[span.campaign_id], key=lambda p: (-bought[p], int(p)))[:MAX_PRODUCTS]
        if products:
            categories = Counter(journey.products[product].category for product in products)
            record = campaign_of(span, kind_of(span), products, categories)
            records[record.campaign_id] = record
    return records
