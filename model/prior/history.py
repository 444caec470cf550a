"""What a customer had looked at and bought before a moment, in the shares that the agents' profiles have. Pure.

Attention is counted as `streaming/profile_changes.py` counts it, with the same half-life, so that what the critic learns here means the same in a
request. Of what a profile knows this is a part: a prepared log says nothing of carts that stand, of price levels, of local time.
"""

from collections import defaultdict
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.tables import PATH_SEPARATOR
from model.response.tables import Tables

ATTENTION = {"view": 1.0, "click": 1.0, "cart": 3.0, "collect": 3.0, "purchase": 5.0}
"""What one deed adds to the attention that its product's category and brand have."""
HALF_LIFE_MS, BOUGHT_HALF_LIFE_MS = 30 * 86_400_000, 30 * 86_400_000
STRONGEST, MIN_SHARE = 5, 0.02
"""Shares that a request tells, and the least of them."""


class History:
    """Deeds of all customers, by customer and time."""

    def __init__(self, tables: Tables) -> None:
        """Sort the deeds that name a known product."""
        self.category, self.brand = _shelves(tables)
        deeds = tables.behaviours.filter(pl.col("action").is_in(list(ATTENTION)) & pl.col("product_id").is_not_null())
        deeds = deeds.select("customer_id", pl.col("at").dt.epoch("ms"), "product_id", "action").sort("at")
        self._deeds: dict[str, tuple[npt.NDArray[np.int64], list[str], npt.NDArray[np.float64]]] = {}
        for (customer,), part in deeds.group_by("customer_id", maintain_order=True):
            worth = part["action"].replace_strict(ATTENTION, return_dtype=pl.Float64).to_numpy()
            self._deeds[str(customer)] = (part["at"].to_numpy(), part["product_id"].to_list(), worth)

    def before(self, customer: str, at: datetime) -> "Liked":
        """What was known of a customer strictly before a moment."""
        now_ms = round(at.timestamp() * 1000)
        times, products, worth = self._deeds.get(customer, (np.zeros(0, np.int64), [], np.zeros(0)))
        end = int(np.searchsorted(times, now_ms))
        amounts = worth[:end] * 0.5 ** ((now_ms - times[:end]) / HALF_LIFE_MS)
        categories: defaultdict[str, float] = defaultdict(float)
        brands: defaultdict[str, float] = defaultdict(float)
        bought: dict[str, float] = {}
        for product, amount, deed, then in zip(products[:end], amounts, worth, times, strict=False):
            if product in self.category:
                categories[self.category[product]] += float(amount)
            if brand := self.brand.get(product):
                brands[brand] += float(amount)
            if deed == ATTENTION["purchase"]:
                bought[product] = float(0.5 ** ((now_ms - then) / BOUGHT_HALF_LIFE_MS))
        return Liked(_shares(categories), _shares(brands), bought)


class Liked:
    """Shares of attention, and what was bought (1 now, halved every 30 days)."""

    def __init__(self, categories: dict[str, float], brands: dict[str, float], bought: dict[str, float]) -> None:
        """Shares of all attention by category and by brand."""
        self.categories, self.brands, self.bought = categories, brands, bought

    def relation(self, product: str, category: str, brand: str) -> dict[str, float]:
        """Of a candidate to the customer; what is 0 is left out."""
        found = {
            "category_affinity": self.categories.get(category, 0.0),
            "brand_affinity": self.brands.get(brand, 0.0),
            "bought": self.bought.get(product, 0.0),
        }
        return {name: round(value, 3) for name, value in found.items() if value >= 0.0005}  # noqa: PLR2004 -- as `streaming/features.py`

    @property
    def strongest(self) -> dict[str, float]:
        """The categories that a request tells."""
        return _strongest(self.categories)

    @property
    def strongest_brands(self) -> dict[str, float]:
        """The brands that a request tells."""
        return _strongest(self.brands)


def _strongest(shares: dict[str, float]) -> dict[str, float]:
    top = sorted(shares, key=lambda name: (-shares[name], name))[:STRONGEST]
    return {name: round(shares[name], 3) for name in top if shares[name] >= MIN_SHARE}


def _shares(sums: dict[str, float]) -> dict[str, float]:
    total = sum(sums.values())
    return {name: value / total for name, value in sums.items()} if total > 0 else {}


def _shelves(tables: Tables) -> tuple[dict[str, str], dict[str, str]]:
    """Product → the category that interest is counted by (the path's second level, its only one where it has one), and its brand."""
    if tables.products is None:
        return {}, {}
    found = tables.products.select("product_id", "category", "brand").unique("product_id", keep="first")
    paths = {row[0]: row[1].split(PATH_SEPARATOR) for row in found.iter_rows() if row[1]}
    brands = {row[0]: row[2] for row in found.iter_rows() if row[2]}
    return {product: path[1 if len(path) > 1 else 0] for product, path in paths.items()}, brands
