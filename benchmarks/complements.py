"""A simulated shop with known complements, as a prepared folder: what goes beside what is a rule of kinds and systems, never of shared words.

Kinds come in pairs (a grinder and its beans), and each product follows one of a few systems; a product's complements are those of the other kind of
its pair that follow the same system. Texts name kind, system, a trait and a size. So the nearest text is a substitute, the complement is not
near, and what goes beside a product that nobody has bought yet can be told from its text alone.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

PAIRS = (
    ("grinder", "beans"), ("razor", "blades"), ("printer", "cartridge"), ("kettle", "descaler"), ("camera", "tripod"), ("tent", "lantern"),
    ("pasta", "sauce"), ("cereal", "milk"), ("racket", "shuttles"), ("brush", "canvas"), ("cradle", "mobile"), ("leash", "treats"),
)  # fmt: skip
SYSTEMS = ("orbit", "delta", "lumen", "quartz", "willow")
TRAITS = ("fine", "plain", "strong", "light", "rich", "mild", "dark", "soft")
SIZES = ("small", "large", "family")
KNOWN_SHARE, NEW_SHARE = 0.8, 0.9
"""Below: products of training; between: of validation; above: of the test. Nobody buys what is not of training before the test."""
COMPLEMENTED = 0.6
"""Share of purchases that bring a complement along."""
DAYS, TRAIN_DAYS, VALID_DAYS = 100, 70, 85
ZIPF = 0.8
PARTS = ["train", "valid", "test"]


class World(NamedTuple):
    """Products in the order of their ids: pair, side of it, system, whether they may be learned from, and their texts."""

    pair: npt.NDArray[np.int64]
    side: npt.NDArray[np.int64]
    system: npt.NDArray[np.int64]
    part: npt.NDArray[np.str_]
    names: list[str]

    def complements(self, product: int) -> npt.NDArray[np.bool_]:
        """(products,) which go beside one."""
        other = (self.pair == self.pair[product]) & (self.side != self.side[product])
        found: npt.NDArray[np.bool_] = other & (self.system == self.system[product])
        return found


def world(seed: int) -> World:
    """A world: every pair, side and system with eight traits, each in one size."""
    rng = np.random.default_rng((seed, 1))
    rows = [
        (p, s, y, t)
        for p in range(len(PAIRS))
        for s in range(2)
        for y in range(len(SYSTEMS))
        for t in range(len(TRAITS))
    ]
    table = np.array(rows)
    names = [f"{TRAITS[t]} {SYSTEMS[y]} {PAIRS[p][s]} {SIZES[rng.integers(len(SIZES))]}" for p, s, y, t in rows]
    at = rng.random(len(rows))
    part = np.where(at < KNOWN_SHARE, "train", np.where(at < NEW_SHARE, "valid", "test"))
    return World(table[:, 0], table[:, 1], table[:, 2], part, names)


def write(made: World, folder: Path, baskets: int, seed: int) -> None:
    """Products and orders of the world as `stratagem data prepare` would have them."""
    rng = np.random.default_rng((seed, 2))
    count = len(made.names)
    weight = 1.0 / (1 + rng.permutation(count)) ** ZIPF
    days = rng.uniform(0, DAYS, baskets)
    rows: list[tuple[str, str, float, str]] = []
    for number, day in enumerate(days.tolist()):
        customer = f"c{rng.integers(max(baskets // 4, 1))}"
        open_now = np.isin(made.part, _open(day))
        rows += [(f"o{number}", customer, day, f"p{at:04d}") for at in _basket(made, weight * open_now, rng)]
    folder.mkdir(parents=True, exist_ok=True)
    _products(made).write_parquet(folder / "products.parquet")
    frame = pl.DataFrame(rows, schema=["order_id", "customer_id", "day", "product_id"], orient="row")
    cut = (
        pl.when(pl.col("day") < TRAIN_DAYS).then(pl.lit("train")).when(pl.col("day") < VALID_DAYS).then(pl.lit("valid"))
    )
    at = pl.datetime(2026, 1, 1, time_zone="UTC") + pl.duration(seconds=(pl.col("day") * 86_400).cast(pl.Int64))
    frame.with_columns(
        at.alias("at"), cut.otherwise(pl.lit("test")).alias("split"), pl.lit("order").alias("state")
    ).drop("day").write_parquet(folder / "transactions.parquet")


def _open(day: float) -> list[str]:
    """The parts whose products are bought on a day."""
    return PARTS[: 1 + (day >= TRAIN_DAYS) + (day >= VALID_DAYS)]


def _products(made: World) -> pl.DataFrame:
    ids = [f"p{at:04d}" for at in range(len(made.names))]
    empty = pl.lit(None, pl.String)
    return pl.DataFrame({"product_id": ids, "name": made.names, "split": made.part.tolist()}).with_columns(
        empty.alias("description"), empty.alias("category"), empty.alias("brand"), empty.alias("size")
    )


def _basket(made: World, weight: npt.NDArray[np.floating], rng: np.random.Generator) -> list[int]:
    """One to three purchases by popularity, each with a complement or not."""
    chance = weight / weight.sum()
    found: list[int] = []
    for _ in range(int(rng.integers(1, 4))):
        product = int(rng.choice(len(chance), p=chance))
        found.append(product)
        beside = made.complements(product) * chance
        if rng.random() < COMPLEMENTED and beside.sum() > 0:
            found.append(int(rng.choice(len(chance), p=beside / beside.sum())))
    return list(dict.fromkeys(found))
