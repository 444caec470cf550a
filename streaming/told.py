"""What is told of products whoever the customer is: worked out once per snapshot, asked for by thousands. Pure data."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

from streaming.contracts.catalog import Product
from streaming.contracts.strategies import Candidate


class Told(NamedTuple):
    """What follows from one product and its snapshot.

    Args:
        category: `category_of` it.
        sellable: it is in stock, has a price and is not sold below cost.
        popularity: rank in [0, 1] by orders; 0 where unknown.
        level: log2(price / median of its category) within `MAX_LEVEL`; None where either is unknown.
        words: of its name, brand and category: what searches are matched by.
        candidates: a language → the product as a candidate of nobody's, filled by who words it.
    """

    product: Product
    category: str
    sellable: bool
    launched_ms: int
    level: float | None
    popularity: float
    words: frozenset[str]
    candidates: dict[str, Candidate]


class Group(NamedTuple):
    """What several products are together, for what a customer has to do with any of them.

    Args:
        levels: price levels, ascending.
        popularity: the greatest.
        words: of each product.
    """

    ids: frozenset[str]
    categories: frozenset[str]
    brands: frozenset[str]
    levels: tuple[float, ...]
    popularity: float
    words: frozenset[frozenset[str]]

    def nearest_level(self, level: float) -> float | None:
        """The price level that is nearest to another one; None where no product has any."""
        levels = self.levels
        at = bisect_left(levels, level)
        if at == len(levels):
            return levels[-1] if levels else None
        above = levels[at]
        return above if at == 0 or above - level < level - levels[at - 1] else levels[at - 1]


class Shelf(NamedTuple):
    """Products that are proposed as one thing, a category or a campaign, in one currency.

    Args:
        launched_ms: of the oldest of them; None where there is none.
    """

    group: Group
    category: tuple[str, ...]
    text: str
    price_minor: int
    margin_minor: int
    launched_ms: int | None


def group_of(products: Iterable[Told]) -> Group:
    """Products as a group."""
    told = tuple(products)
    return Group(
        ids=frozenset(each.product.product_id for each in told),
        categories=frozenset(each.category for each in told),
        brands=frozenset(each.product.brand for each in told if each.product.brand),
        levels=tuple(sorted(each.level for each in told if each.level is not None)),
        popularity=max((each.popularity for each in told), default=0.0),
        words=frozenset(each.words for each in told),
    )
