"""The shop's world: data, catalog, campaigns and customers of one seed, the same for replay and for the report.

Pure but for reading the source. Rebuilding it from the same settings gives the same customers, so that the report can
say what every action of a request would have brought.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import msgspec

from services.shop.answers import Shelf
from services.shop.campaigns import compose_campaigns, user_of
from services.shop.catalog import assortment, compose_catalog
from services.shop.customers import Customer, draw_customer
from services.shop.source import Journey, Line, load_journey
from services.shop.tastes import estimate_tastes
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.ids import stable_seed

DEFAULT_START = datetime(2017, 11, 6, tzinfo=UTC)
"""The demo's first day: several real campaigns run, and more start in the weeks that follow."""
DEFAULT_DAYS = 55.0
"""Length of the demo's span."""
DAY_S = 86_400
SESSIONS_PER_DAY = 0.25
"""Simulated visits without a purchase per customer and day, mean; the real lines are a sample, visits are not."""


class World(msgspec.Struct, frozen=True):
    """Everything the shop knows, and what its customers keep to themselves."""

    seed: int
    begin: datetime
    end: datetime
    catalog: dict[str, Product]
    campaigns: dict[str, Campaign]
    customers: dict[str, Customer]
    """By user id."""
    lines: tuple[Line, ...]
    """Purchases of these customers within the span, in time order."""
    shelf: Shelf
    by_category: dict[str, tuple[str, ...]]
    """Category label → product ids, most bought first."""
    left_out: int
    """Lines of the source that are no merchandise."""


def choose_customers(lines: Iterable[Line], households: int | None) -> set[str]:
    """Choose the households with most lines; all when `households` is None."""
    count = Counter(line.household_id for line in lines)
    ranked = sorted(count, key=lambda household: (-count[household], int(household)))
    return set(ranked[:households])


def price_levels(catalog: Mapping[str, Product]) -> dict[str, float]:
    """Log of each price over its category's median, cut to [-1, 1]."""
    prices: dict[str, list[int]] = defaultdict(list)
    for product in catalog.values():
        prices[product.category[1]].append(product.price_minor)
    middle = {label: sorted(all_)[len(all_) // 2] for label, all_ in prices.items()}
    return {
        product_id: min(max(math.log(max(p.price_minor, 1) / max(middle[p.category[1]], 1)), -1.0), 1.0)
        for product_id, p in catalog.items()
    }


def popularities(catalog: Mapping[str, Product], bought: Counter[str]) -> dict[str, float]:
    """Rank of each product by lines bought, in [0, 1]."""
    ranked = sorted(catalog, key=lambda product: (bought[product], int(product)))
    return {product: rank / max(len(ranked) - 1, 1) for rank, product in enumerate(ranked)}


def campaign_categories(
    campaigns: Mapping[str, Campaign], catalog: Mapping[str, Product]
) -> dict[str, dict[str, float]]:
    """Share of each category label among a campaign's products."""
    shares = {}
    for campaign_id, campaign in campaigns.items():
        count = Counter(catalog[product].category[1] for product in campaign.product_ids)
        shares[campaign_id] = {label: n / sum(count.values()) for label, n in count.items()}
    return shares


def draw_customers(journey: Journey, chosen: set[str], seed: int) -> dict[str, Customer]:
    """Estimate tastes from all lines of the source, and draw the chosen households' habits."""
    tastes = estimate_tastes(journey.lines, journey.products)
    bought: dict[str, set[str]] = defaultdict(set)
    for line in journey.lines:
        bought[line.household_id].add(line.product_id)
    sent: dict[str, set[str]] = defaultdict(set)
    for span in journey.campaigns:
        for household in span.households:
            sent[household].add(f"c{span.campaign_id}")
    redeemed: dict[str, set[str]] = defaultdict(set)
    for redemption in journey.redemptions:
        redeemed[redemption.household_id].add(f"c{redemption.campaign_id}")
    return {
        user_of(household): draw_customer(
            user_of(household),
            tastes[household],
            bought=frozenset(bought[household]),
            sent=frozenset(sent[household]),
            redeemed=frozenset(redeemed[household]),
            sessions_per_day=SESSIONS_PER_DAY,
            rng=Random(stable_seed("customer", str(seed), household)),
        )
        for household in sorted(chosen, key=int)
    }


def span_of(lines: Sequence[Line], begin: datetime | None, days: float | None) -> tuple[datetime, datetime]:
    """First and end moment that are replayed, from lines in time order; whole days of the source where not given.

    Raises:
        ValueError: nothing was bought from `begin` on.
    """
    if not lines or (begin is not None and lines[-1].at_s < begin.timestamp()):
        message = (
            f"no purchase from {begin.date() if begin else 'any day'} on; the source's last is of {_last_day(lines)}"
        )
        raise ValueError(message)
    begin = begin or datetime.fromtimestamp(lines[0].at_s // DAY_S * DAY_S, UTC)
    last = datetime.fromtimestamp((lines[-1].at_s // DAY_S + 1) * DAY_S, UTC)
    return begin, last if days is None else begin + timedelta(days=days)


def _last_day(lines: Sequence[Line]) -> str:
    return str(datetime.fromtimestamp(lines[-1].at_s, UTC).date()) if lines else "no day at all"


def build_world(
    journey: Journey,
    *,
    seed: int,
    households: int | None,
    begin: datetime | None = DEFAULT_START,
    days: float | None = DEFAULT_DAYS,
) -> World:
    """Build the world of a seed over a span of the source.

    Args:
        journey: the source.
        seed: of everything that is drawn.
        households: how many customers, those with most purchases; None for all.
        begin: first moment that is replayed; the source's first day if None.
        days: length of the span, up to the source's last day if None; the catalog holds what is bought or couponed in it.
    """
    begin, end = span_of(journey.lines, begin, days)
    chosen = choose_customers(journey.lines, households)
    catalog = compose_catalog(journey, assortment(journey, begin.timestamp(), end.timestamp()))
    campaigns = compose_campaigns(journey, catalog)
    bought = Counter(line.product_id for line in journey.lines)
    by_category: dict[str, list[str]] = defaultdict(list)
    for product in sorted(catalog, key=lambda p: (-bought[p], int(p))):
        by_category[catalog[product].category[1]].append(product)
    return World(
        seed=seed,
        begin=begin,
        end=end,
        catalog=catalog,
        campaigns=campaigns,
        customers=draw_customers(journey, chosen, seed),
        lines=tuple(
            line
            for line in journey.lines
            if line.household_id in chosen and begin.timestamp() <= line.at_s < end.timestamp()
        ),
        shelf=Shelf(
            price_level=price_levels(catalog),
            popularity=popularities(catalog, bought),
            campaign_categories=campaign_categories(campaigns, catalog),
        ),
        by_category={label: tuple(products) for label, products in by_category.items()},
        left_out=journey.lines_left_out,
    )


def load_world(
    folder: Path | None,
    *,
    seed: int,
    households: int | None,
    begin: datetime | None = DEFAULT_START,
    days: float | None = DEFAULT_DAYS,
) -> World:
    """Read a source (the shipped extract when `folder` is None) and build its world."""
    return build_world(load_journey(folder), seed=seed, households=households, begin=begin, days=days)
