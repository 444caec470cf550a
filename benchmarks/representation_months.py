"""Real purchases as months to be ranked: what was bought before a day, what within the 30 days after it, and which goods may be ranked."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from model.representation.baskets import Baskets, Shop, said_of, together
from model.representation.words import Said
from streaming.contracts.ids import stable_unit

Floats = npt.NDArray[np.floating[Any]]
TUNED = (datetime(2017, 10, 1, tzinfo=UTC), datetime(2017, 11, 1, tzinfo=UTC))
JUDGED = datetime(2017, 12, 1, tzinfo=UTC)
DAYS, HELD_OUT = 30, 0.2
HALF_LIVES, WINDOWS = (90.0, 365.0), (30.0, 365.0)


class Month(NamedTuple):
    """What is known before a day and what is bought after it.

    Args:
        history: half-life in days → (customers, goods) how much was bought, decayed.
        bought: (customers, goods) 1 where bought within the month, of what may be ranked.
        popular: half-life → (goods,) share of all that was bought.
        of_text: (goods,) the text of each.
        said: what the texts say.
        ranked: (goods,) what may be ranked.
        shop: what an encoder may learn from, without its baskets.
        baskets: `_baskets`.
        everybody: `history` of all customers, the judged ones among them.
    """

    history: dict[float, sparse.csr_matrix]
    bought: sparse.csr_matrix
    popular: dict[float, Floats]
    of_text: npt.NDArray[np.int64]
    said: list[Said]
    ranked: npt.NDArray[np.bool_]
    shop: Shop
    baskets: dict[float, Baskets]
    everybody: dict[float, sparse.csr_matrix]


def goods(folder: Path, unit: str) -> tuple[pl.DataFrame, list[str], list[Said]]:
    """Purchases with `item`, the goods' ids in order, and what each says: of a type its name and category, of a product all it has."""
    products = pl.read_parquet(folder / "products.parquet").filter(pl.col("type").is_not_null()).sort("product_id")
    bought = pl.read_parquet(folder / "transactions.parquet").filter(pl.col("state") == "order")
    of = "type" if unit == "type" else "product_id"
    bought = bought.join(products.select("product_id", pl.col(of).alias("good")), on="product_id")
    names = sorted(bought["good"].unique().to_list())
    bought = bought.with_columns(
        pl.col("good").replace_strict({name: at for at, name in enumerate(names)}).alias("item")
    )
    told = products.unique(of, keep="first", maintain_order=True)
    if unit == "type":
        texts = {row[0]: said_of(row[0], *row[1:]) for row in told.select("type", "category", pl.lit("")).iter_rows()}
    else:
        rows = told.select("product_id", "name", "category", "brand", "description", "size").iter_rows()
        texts = {row[0]: said_of(*row[1:]) for row in rows}
    return bought, names, [texts[name] for name in names]


def month(bought: pl.DataFrame, names: list[str], said: list[Said], begin: datetime, *, new: bool) -> Month:
    """The month from `begin` on."""
    numbers: dict[Said, int] = {}
    of_text = np.array([numbers.setdefault(each, len(numbers)) for each in said], np.int64)
    texts = list(numbers)
    held = np.array([new and stable_unit("held out text", f"{t.name} {t.brand} {t.text}") < HELD_OUT for t in texts])[
        of_text
    ]
    customers = {name: at for at, name in enumerate(sorted(bought["customer_id"].unique().to_list()))}
    rows = bought.with_columns(pl.col("customer_id").replace_strict(customers).alias("who"))
    before = rows.filter((pl.col("at") < begin) & ~pl.col("item").is_in(np.flatnonzero(held).tolist()))
    after = rows.filter((pl.col("at") >= begin) & (pl.col("at") < begin + timedelta(days=DAYS)))
    shape = (len(customers), len(names))
    age = ((begin - before["at"]).dt.total_seconds() / 86_400).to_numpy()
    at = (before["who"].to_numpy(), before["item"].to_numpy())
    history = {days: sparse.csr_matrix((0.5 ** (age / days), at), shape) for days in HALF_LIVES}
    found = sparse.csr_matrix((np.ones(len(after)), (after["who"].to_numpy(), after["item"].to_numpy())), shape)
    found = found.multiply(held if new else np.ones(len(names))).tocsr()
    found.eliminate_zeros()
    found.data[:] = 1.0
    judged = np.flatnonzero((np.diff(found.indptr) > 0) & (np.diff(history[HALF_LIVES[0]].indptr) > 0))
    popular = {days: np.asarray(table.sum(0)).ravel() + 1e-3 for days, table in history.items()}
    shop = Shop(names, said, of_text, ["test" if each else "train" for each in held], {})
    return Month(
        {days: table[judged] for days, table in history.items()}, found[judged],
        {days: share / share.sum() for days, share in popular.items()},
        of_text, texts, held if new else np.ones(len(names), np.bool_), shop, _baskets(before, begin), history,
    )  # fmt: skip


def _baskets(before: pl.DataFrame, begin: datetime) -> dict[float, Baskets]:
    """Windows of customers as baskets, by their days; under 0 the last month's, apart from the others: training may stop by them."""
    last = begin - timedelta(days=DAYS)
    rows = before.select("customer_id", "order_id", "at", pl.col("item").cast(pl.Int64))
    found = {days: together(rows.filter(pl.col("at") < last), days) for days in WINDOWS}
    return {**found, 0.0: together(rows.filter(pl.col("at") >= last), DAYS)}
