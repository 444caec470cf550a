"""Catalog and campaigns as an immutable snapshot with the indexes that candidates are found by. Pure.

A new record gives a new snapshot; indexes are shared as long as no record changes what they index by.
"""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import to_ms
from streaming.contracts.money import exponent
from streaming.told import Shelf, Told
from streaming.vectors import Placed, Vectors

_WORD = re.compile(r"\w+")
MAX_QUERY_CHARS = 200
MAX_LEVEL = 3.0
"""Of the price level, in doublings from the median: beyond it lie errors of the catalog."""
COMPARED = 100
"""Products of one word that a search compares."""


def category_of(product: Product) -> str:
    """The category a customer's interest is counted by: the path's second level, its only one where it has one."""
    return product.category[1 if len(product.category) > 1 else 0]


def words_of(text: str) -> frozenset[str]:
    """Words of a text, lower case, plural s dropped: what searches are matched by."""
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in _WORD.findall(text.lower()))  # noqa: PLR2004 -- "gas", "its" keep their s


class Index:
    """What products can be found by; depends on name, category, brand and currency, not on price or stock."""

    def __init__(self, products: Mapping[str, Product]) -> None:
        """Index products, each list in the order of their ids."""
        self.ids: tuple[str, ...] = tuple(sorted(products))
        self.categories: dict[str, tuple[str, ...]] = {}
        self.brands: dict[str, tuple[str, ...]] = {}
        self.words: dict[str, tuple[str, ...]] = {}
        self.text_of: dict[str, frozenset[str]] = {}
        grouped: tuple[dict[str, list[str]], ...] = (defaultdict(list), defaultdict(list), defaultdict(list))
        for product_id in self.ids:
            product = products[product_id]
            grouped[0][category_of(product)].append(product_id)
            grouped[1][product.brand].append(product_id)
            text = words_of(" ".join((product.name, product.brand, *product.category)))
            self.text_of[product_id] = text
            for word in text:
                grouped[2][word].append(product_id)
        self.categories, self.brands, self.words = ({k: tuple(v) for k, v in group.items()} for group in grouped)


class Popularity:
    """Ranks of products by orders, and their order; shared by snapshots."""

    def __init__(self, rank: Mapping[str, float]) -> None:
        """Keep the ranks, product id → (0, 1]."""
        self.rank = rank

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Ids, the most popular first."""
        return tuple(sorted(self.rank, key=lambda product_id: (-self.rank[product_id], product_id)))


UNKNOWN = Popularity({})


class Reference:
    """All products and campaigns known now.

    Args:
        products: product id → record.
        campaigns: campaign id → record.
        popularity: product id → rank in (0, 1] by orders; those not in it have 0.
        vectors: of products, where the shop has them.
    """

    def __init__(
        self,
        products: Mapping[str, Product] | None = None,
        campaigns: Mapping[str, Campaign] | None = None,
        popularity: Popularity | Mapping[str, float] = UNKNOWN,
        index: Index | None = None,
        vectors: Vectors | None = None,
        placed: Placed | None = None,
    ) -> None:
        """Keep the maps (never changed afterwards); `index` and `placed` are shared by snapshots they fit."""
        self.products: Mapping[str, Product] = products or {}
        self.campaigns: Mapping[str, Campaign] = campaigns or {}
        self._popularity = popularity if isinstance(popularity, Popularity) else Popularity(popularity)
        self._index = index
        self.vectors, self._placed = vectors, placed
        self._medians: dict[tuple[str, str], int | None] = {}
        self._least_margins: dict[tuple[str, str], int] = {}
        self._told: dict[str, Told] = {}
        self._shelves: dict[tuple[str, str, str], Shelf] = {}

    @cached_property
    def index(self) -> Index:
        """Made when first asked for, so that reading a catalog record by record costs one index."""
        return self._index or Index(self.products)

    @cached_property
    def placed(self) -> Placed | None:
        """Products by their vectors; None where the shop has none."""
        if self.vectors is None:
            return None
        return self._placed or self.vectors.placed(self.products)

    @property
    def product_ids(self) -> tuple[str, ...]:
        """Every product id, sorted."""
        return self.index.ids

    @property
    def popular(self) -> tuple[str, ...]:
        """Ids of products with a known popularity, the most popular first."""
        return self._popularity.order

    def product(self, product_id: str) -> Product | None:
        """The product, or None where it is unknown (or not known yet)."""
        return self.products.get(product_id)

    def campaign(self, campaign_id: str) -> Campaign | None:
        """The campaign, or None."""
        return self.campaigns.get(campaign_id)

    def in_category(self, category: str) -> tuple[str, ...]:
        """Product ids of a category (`category_of`), sorted."""
        return self.index.categories.get(category, ())

    def popularity(self, product_id: str) -> float:
        """Rank in [0, 1] by orders; 0 where unknown."""
        return self._popularity.rank.get(product_id, 0.0)

    def by_popularity(self, ids: Sequence[str]) -> Sequence[str]:
        """Product ids, the more popular first; equally popular ones stay in their order."""
        rank = self._popularity.rank
        return sorted(ids, key=lambda product_id: rank.get(product_id, 0.0), reverse=True) if rank else ids

    def active_campaigns(self, at_ms: int, kind: str) -> tuple[Campaign, ...]:
        """Campaigns of a kind that run at a time, by id."""
        running = (c for c in self.campaigns.values() if c.kind == kind and _runs(c, at_ms))
        return tuple(sorted(running, key=lambda campaign: campaign.campaign_id))

    def median_price(self, category: str, currency: str) -> int | None:
        """Median price of a category in a currency, minor units; None where there is none."""
        key = (category, currency)
        if key not in self._medians:
            prices = [
                self.products[p].price_minor
                for p in self.in_category(category)
                if self.products[p].currency == currency
            ]
            self._medians[key] = int(statistics.median_low(prices)) if prices else None
        return self._medians[key]

    def about(self, product_id: str) -> Told | None:
        """What follows from a product of this snapshot; None where it is unknown."""
        found = self._told.get(product_id)
        if found is None and (product := self.products.get(product_id)) is not None:
            found = self._told[product_id] = self._made(product)
        return found

    def told(self, product: Product) -> Told:
        """The same of a product at hand, which need not be the snapshot's."""
        found = self.about(product.product_id)
        return found if found is not None and found.product is product else self._made(product)

    def _made(self, product: Product) -> Told:
        return Told(
            product=product,
            category=category_of(product),
            sellable=product.stock > 0 and 0 < product.price_minor >= product.unit_cost_minor,
            launched_ms=to_ms(product.launched_at),
            level=self._level(product),
            popularity=self.popularity(product.product_id),
            words=self.index.text_of.get(product.product_id, frozenset()),
            candidates={},
        )

    def shelf(self, what: str, name: str, currency: str, make: Callable[[], Shelf]) -> Shelf:
        """What is told of a category or campaign, made once per snapshot by who words it."""
        key = (what, name, currency)
        found = self._shelves.get(key)
        if found is None:
            found = self._shelves[key] = make()
        return found

    def _level(self, product: Product) -> float | None:
        median = self.median_price(category_of(product), product.currency)
        if not median or product.price_minor <= 0:
            return None
        return max(-MAX_LEVEL, min(MAX_LEVEL, math.log2(product.price_minor / median)))

    def least_margin_pct(self, category: str, currency: str) -> int:
        """Margin over price, percent rounded down, of the category's thinnest product in stock; 0 where nothing is.

        What is promised on a category holds for each of its products, so the thinnest one bounds it. Negative where one
        costs more than it brings.
        """
        key = (category, currency)
        if key not in self._least_margins:
            products = (self.products[p] for p in self.in_category(category))
            sold = [p for p in products if p.currency == currency and p.stock > 0 and p.price_minor > 0]
            shares = [100 * (p.price_minor - p.unit_cost_minor) // p.price_minor for p in sold]
            self._least_margins[key] = min(shares, default=0)
        return self._least_margins[key]

    def search(self, query: str, limit: int) -> tuple[str, ...]:
        """Ids of products that share the most words with a query, among those that have its rarest word.

        Of a word that very many products have an even sample is compared, so that no query costs a pass over the shop.
        """
        words = words_of(query[:MAX_QUERY_CHARS])
        lists = sorted(
            (found for word in words if (found := self.index.words.get(word))), key=lambda ids: (len(ids), ids[0])
        )
        scores: dict[str, int] = {}
        for ids in lists:
            if len(scores) >= limit:
                break
            for product_id in ids[:: max(1, len(ids) // COMPARED)]:
                scores[product_id] = -len(words & self.index.text_of[product_id])
        return tuple(sorted(scores, key=lambda product_id: (scores[product_id], product_id))[:limit])

    def with_product(self, product_id: str, product: Product | None) -> "Reference":
        """The snapshot after one record of `shop.catalog`; None (a tombstone) removes the product."""
        products = dict(self.products)
        old = products.pop(product_id, None)
        if product is not None:
            products[product_id] = product
        same = old is not None and product is not None and _indexed(old) == _indexed(product)
        shared = self._shared() if same else (None, self.vectors, None)
        return Reference(products, self.campaigns, self._popularity, *shared)

    def with_campaign(self, campaign_id: str, campaign: Campaign | None) -> "Reference":
        """The snapshot after one record of `shop.campaigns`; None removes the campaign."""
        campaigns = {key: value for key, value in self.campaigns.items() if key != campaign_id}
        if campaign is not None:
            campaigns[campaign_id] = campaign
        return Reference(self.products, campaigns, self._popularity, *self._shared())

    def with_popularity(self, orders: Mapping[str, float]) -> "Reference":
        """The snapshot with popularity as the rank by a (decayed) count of orders per product."""
        return Reference(self.products, self.campaigns, Popularity(ranks(orders)), *self._shared())

    def _shared(self) -> tuple[Index | None, Vectors | None, Placed | None]:
        """What a snapshot of products with the same texts takes over, where it was made already."""
        return self.__dict__.get("index"), self.vectors, self.__dict__.get("placed")


def ranks(counts: Mapping[str, float]) -> dict[str, float]:
    """Counts as ranks in (0, 1]; equal counts have equal ranks; a count of zero has none."""
    levels = sorted({count for count in counts.values() if count > 0})
    place = {count: (index + 1) / len(levels) for index, count in enumerate(levels)}
    return {key: place[count] for key, count in counts.items() if count > 0}


def snapshot(products: Iterable[Product], campaigns: Iterable[Campaign] = ()) -> Reference:
    """A snapshot of records."""
    return Reference({p.product_id: p for p in products}, {c.campaign_id: c for c in campaigns})


def major(minor: int, currency: str) -> float:
    """Minor units as a float of major ones, for features only."""
    return minor / float(10 ** exponent(currency))


def _runs(campaign: Campaign, at_ms: int) -> bool:
    return to_ms(campaign.starts_at) <= at_ms < to_ms(campaign.ends_at)


def _indexed(product: Product) -> tuple[object, ...]:
    return (product.name, product.category, product.brand)
