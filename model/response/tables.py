"""The prepared folder as the response model reads it: what `stratagem data prepare` wrote, whole or up to a moment."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from model.data.errors import Refused
from model.data.prepared import table
from model.data.tables import PATH_SEPARATOR

LABELS = ("click", "collect", "purchase")
OPTIONAL = ("ads", "offers", "products", "transactions")
READ = {
    "exposures": ("exposure", "customer_id", "ad_id", "product_id", "channel", "placement", "at"),
    "behaviours": ("customer_id", "at", "action", "product_id", "ad_id", "query"),
    "ads": ("ad_id", "kind", "title", "body", "placement", "starts_at", "ends_at"),
    "offers": ("offer_id", "ad_id", "product_id"),
    "products": ("product_id", "name", "description", "category", "type", "brand"),
    "transactions": ("customer_id", "at", "state", "product_id", "amount_minor", "discount_minor", "coupon_minor"),
}
"""The columns that features and texts are made of."""
RATES = ("purchases_per_week", "views_per_week")
KNOWN_AT = "known_at"
"""Column of the exposures that stands before the shop's own features."""
VARYING, MOST_VALUES = ("channel", "placement"), 8
DAYPARTS = ("night", "morning", "afternoon", "evening")
"""Quarters of the day, UTC."""
SHOWN_ALONE = "product "
"""Before a product's id, where it was shown without an ad: it is then its own ad."""


class Tables(msgspec.Struct, frozen=True):
    """Exposures in the order of time with their labels, and what else the folder holds (None: it has no such table)."""

    exposures: pl.DataFrame
    behaviours: pl.DataFrame
    ads: pl.DataFrame | None = None
    offers: pl.DataFrame | None = None
    products: pl.DataFrame | None = None
    transactions: pl.DataFrame | None = None
    said: dict[str, tuple[str, ...]] = {}
    """Column of the exposures → its values, where it has several: the words of the log, whatever moment is looked at."""
    shown_again: bool = False
    """Whether ads are shown at several moments, so that an ad has a past of its own."""

    @property
    def priced(self) -> bool:
        """Whether products have prices."""
        return self.products is not None and self.products["price_minor"].null_count() < self.products.height

    @property
    def own(self) -> tuple[str, ...]:
        """The shop's own features: numbers that were handed to `stratagem data prepare --features`."""
        names = self.exposures.columns
        after = names[names.index(KNOWN_AT) + 1 :] if KNOWN_AT in names else []
        return tuple(name for name in after if self.exposures[name].dtype.is_numeric())

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the exposures have."""
        return tuple(name for name in LABELS if name in self.exposures.columns)

    def until(self, cut: datetime | None) -> "Tables":
        """What was known at a moment: nothing later, and no answer of a window that was still open."""
        if cut is None:
            return self
        shown = self.exposures.filter(pl.col("at") < cut)
        closed = [
            pl.when(pl.col(f"{name}_until") <= cut).then(pl.col(name)).otherwise(None).alias(name)
            for name in self.labels
        ]
        past = pl.col("at") < cut
        paid = None if self.transactions is None else self.transactions.filter(past)
        behaviours = self.behaviours.filter(past)
        return msgspec.structs.replace(
            self, exposures=shown.with_columns(closed), behaviours=behaviours, transactions=paid
        )


def read(folder: Path) -> Tables:
    """The tables of a prepared folder; a label that says the same of every exposure is none.

    Raises:
        Refused: a file is missing or broken, no exposure has a label, or none was answered.
    """
    there = ("exposures", "behaviours", *(name for name in OPTIONAL if (folder / f"{name}.parquet").is_file()))
    frames = {name: table(folder, name, READ[name], RATES if name == "exposures" else ()) for name in there}
    known = [name for name in LABELS if name in frames["exposures"].columns]
    table(folder, "exposures", [f"{name}_until" for name in known], known)
    exposures = frames.pop("exposures").sort("at", "exposure")
    ads, offers, products, transactions = (frames.get(name) for name in OPTIONAL)
    found = as_ads(Tables(exposures, frames["behaviours"], ads, offers, products, transactions))
    moments = found.exposures.drop_nulls("ad_id").group_by("ad_id").agg(pl.col("at").n_unique())["at"]
    again = bool((moments > 1).any())
    found = msgspec.structs.replace(found, said=_said(found.exposures), shown_again=again)
    if not found.labels:
        raise Refused(f"{folder / 'exposures.parquet'} has none of the labels {', '.join(LABELS)}")
    if not any(exposures[name].drop_nulls().sum() for name in found.labels):
        raise Refused(f"no exposure of {folder} was answered: there is nothing to learn")
    varying = [name for name in found.labels if exposures[name].drop_nulls().n_unique() > 1]
    if not varying:
        raise Refused(f"every exposure of {folder} was answered alike: there is nothing to learn")
    same = [name for name in found.labels if name not in varying]
    return msgspec.structs.replace(found, exposures=found.exposures.drop(same))


def daypart() -> pl.Expr:
    """The quarter of the day in which `at` lies."""
    return (pl.col("at").dt.hour() // 6).replace_strict(dict(enumerate(DAYPARTS)), return_dtype=pl.String)


def _said(exposures: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """The commonest values of columns that have several; a column that is always the same says nothing."""
    columns = exposures.select(*VARYING, daypart().alias("daypart"))
    counted = {name: columns[name].drop_nulls().value_counts(sort=True)[name].to_list() for name in columns.columns}
    return {name: tuple(sorted(values[:MOST_VALUES])) for name, values in counted.items() if len(values) > 1}


def as_ads(tables: Tables) -> Tables:
    """Products as ads of their own where some were shown without one: of its department's kind, with its name for a title.

    All products, not only those that the log ever shows: that would be known too early.
    """
    alone = pl.col("ad_id").is_null() & pl.col("product_id").is_not_null()
    shown = tables.exposures.filter(alone).select("product_id")
    if shown.is_empty():
        return tables
    own = pl.concat_str(pl.lit(SHOWN_ALONE), "product_id").alias("ad_id")
    named = pl.when(alone).then(own).otherwise("ad_id").alias("ad_id")
    known = [shown] if tables.products is None else [tables.products.select("product_id"), shown]
    ids = pl.concat(known).unique().sort("product_id").with_columns(own)
    ads = ids if tables.products is None else ids.join(_advertised(tables.products), "product_id", how="left")
    others = [] if tables.ads is None else [tables.ads]
    offers = [] if tables.offers is None else [tables.offers]
    offered = ids.select(pl.col("product_id").alias("offer_id"), "ad_id", "product_id")
    return msgspec.structs.replace(
        tables,
        exposures=tables.exposures.with_columns(named),
        behaviours=_answering(tables.behaviours, tables.exposures.filter(alone)),
        ads=pl.concat([*others, ads.drop("product_id")], how="diagonal_relaxed").pipe(_whole),
        offers=pl.concat([*offers, offered], how="diagonal_relaxed"),
    )


def _answering(behaviours: pl.DataFrame, shown: pl.DataFrame) -> pl.DataFrame:
    """Deeds with a product that the customer had been shown alone before, as deeds with that ad: what is bought unasked answers nothing."""
    first = shown.group_by("customer_id", "product_id").agg(pl.col("at").min().alias("first"))
    joined = behaviours.join(first, on=["customer_id", "product_id"], how="left", maintain_order="left")
    answers = pl.col("ad_id").is_null() & (pl.col("at") >= pl.col("first"))
    own = pl.concat_str(pl.lit(SHOWN_ALONE), "product_id")
    return joined.with_columns(pl.when(answers).then(own).otherwise("ad_id").alias("ad_id")).drop("first")


def _advertised(products: pl.DataFrame) -> pl.DataFrame:
    """What a product says where it is its own ad."""
    department = pl.col("category").str.split(PATH_SEPARATOR).list.first()
    kind = pl.coalesce(department, "type", pl.lit("product")).alias("kind")
    return products.unique("product_id", keep="first").select(
        "product_id", kind, pl.col("name").alias("title"), pl.col("description").alias("body")
    )


def _whole(ads: pl.DataFrame) -> pl.DataFrame:
    """With every column that is read of ads."""
    text, time = pl.lit(None, pl.String), pl.lit(None, pl.Datetime("ms", "UTC"))
    wanted = dict.fromkeys(("kind", "title", "body", "placement"), text) | dict.fromkeys(("starts_at", "ends_at"), time)
    return ads.with_columns([null.alias(name) for name, null in wanted.items() if name not in ads.columns])


def data_sha256(folder: Path, told: Callable[[str], None] = lambda _: None) -> str:
    """Hash of the folder's Parquet files, names included: what a run was made from."""
    digest = sha256()
    for path in sorted(folder.glob("*.parquet")):
        told(path.name)
        digest.update(path.name.encode() + b"\0" + sha256(path.read_bytes()).digest())
    return digest.hexdigest()
