"""What was bought together, from a prepared folder. Pure but for reading the files."""

from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.errors import Refused
from model.data.prepared import table
from model.data.tables import PATH_SEPARATOR
from model.objectives.texts import PARTS, Part
from model.representation.words import Said

Ints = npt.NDArray[np.int64]
MOST_PRODUCTS = 64
"""Of a basket, the first ones by id: what is bought with everything says little, and pairs grow with the square."""


class Baskets(NamedTuple):
    """Sets of at least two products each: `items[starts[i]:starts[i + 1]]` is basket i, bought by `customers[i]`."""

    items: Ints
    starts: Ints
    customers: Ints

    def of(self, basket: int) -> Ints:
        """Products of a basket."""
        return self.items[self.starts[basket] : self.starts[basket + 1]]

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.customers)


class Shop(msgspec.Struct, frozen=True):
    """Products in the order of their ids, with what they say, the part that they may be seen in, and the baskets of each part.

    Args:
        alike: (products,) a number that products of the same text share.
        parts: (products,) `train`, or the part that a held-out product is judged in.
    """

    ids: list[str]
    said: list[Said]
    alike: Ints
    parts: list[Part]
    baskets: dict[Part, Baskets]


def read(folder: Path, window_days: float = 0.0) -> Shop:
    """Products and baskets of a prepared folder. Training has none that is held out, validation none that the test has.

    Args:
        window_days: 0: an order is a basket; else, in training, all that a customer buys within so many days.

    Raises:
        Refused: a file is missing, broken, not prepared, or nothing was bought together in a part.
    """
    products = _table(folder, "products", "product_id", "name", "category", "brand", "description", "size", "split")
    products = products.unique("product_id", keep="first").sort("product_id")
    bought = _table(folder, "transactions", "customer_id", "order_id", "at", "state", "product_id", "split")
    said = [said_of(*row) for row in products.select("name", "category", "brand", "description", "size").iter_rows()]
    numbers: dict[Said, int] = {}
    alike = np.array([numbers.setdefault(each, len(numbers)) for each in said], np.int64)
    parts = [PARTS.get(split, "test") for split in products["split"]]
    bought = bought.filter((pl.col("state") == "order") & pl.col("split").is_in(list(PARTS))).join(
        products.select("product_id", pl.int_range(pl.len(), dtype=pl.Int64).alias("item"), of=pl.col("split")),
        on="product_id",
    )  # fmt: skip
    seen = {"train": ("train",), "valid": ("train", "valid"), "test": ("train", "valid", "test")}
    part_of = pl.col("split").replace_strict(PARTS)
    baskets = {
        part: together(
            bought.filter((part_of == part) & pl.col("of").is_in(list(of))), window_days if part == "train" else 0.0
        )
        for part, of in seen.items()
    }
    for part, found in baskets.items():
        if not found.total:
            raise Refused(f"{folder}: nothing was bought together in its part {part!r}: contrastive learning needs baskets of two products")  # fmt: skip
    return Shop(products["product_id"].to_list(), said, alike, parts, baskets)  # type: ignore[arg-type]  # its keys are parts


def said_of(name: str, category: str | None, brand: str | None, description: str | None = None, size: str | None = None) -> Said:  # fmt: skip
    """What a prepared product says."""
    path = tuple(category.split(PATH_SEPARATOR)) if category else ()
    return Said(name, path, brand or "", " ".join(part for part in (description, size) if part))


def together(bought: pl.DataFrame, window_days: float) -> Baskets:
    """Baskets of purchases with `customer_id, order_id, at, item`, in the order of customers, then time."""
    ordered = bought.sort("customer_id", "at", "order_id", "item")
    if window_days > 0:
        first = pl.col("at").min().over("customer_id")
        key = (
            ((pl.col("at") - first).dt.total_seconds() / 86_400.0 / window_days).floor().cast(pl.Int64).cast(pl.String)
        )
    else:
        key = pl.col("order_id")
    sets = (
        ordered.group_by("customer_id", key.alias("basket"), maintain_order=True)
        .agg(pl.col("item").unique().sort().head(MOST_PRODUCTS))
        .filter(pl.col("item").list.len() > 1)
    )
    starts = np.zeros(len(sets) + 1, np.int64)
    np.cumsum(sets["item"].list.len().to_numpy(), out=starts[1:])
    customers = sets["customer_id"].cast(pl.Categorical).to_physical().cast(pl.Int64).to_numpy()
    return Baskets(sets["item"].explode().to_numpy(), starts, customers)


def log_shares(baskets: Baskets, products: int) -> npt.NDArray[np.float32]:
    """(products,) log of the chance that a basket's draw is this product; one draw more is added to all together, evenly."""
    sizes = np.diff(baskets.starts)
    counts = np.bincount(baskets.items, np.repeat(1.0 / sizes, sizes), products)
    shares = (counts + 1.0 / max(products, 1)) / (baskets.total + 1.0)
    found: npt.NDArray[np.float32] = np.log(shares).astype(np.float32)
    return found


def _table(folder: Path, name: str, *columns: str) -> pl.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise Refused(f"{folder} has no {name}.parquet: contrastive learning needs products and transactions, as `stratagem data prepare --out` makes them")  # fmt: skip
    return table(folder, name, columns).select(columns)
