"""Numbers about an exposure that were known when it was sent. Pure.

Rates and shares rather than counts, which grow with the calendar alone and mean something else in the next season. Small rates are drawn to what
is usual, as if so many more had been seen.
"""

import numpy as np
import polars as pl

from model.response.known import Floats, before, days_since, within
from model.response.tables import LABELS, Tables

PRIOR_RATE, PRIOR_WEIGHT = 0.1, 5.0
MEMORY_DAYS = 60.0
"""After so many days a deed counts for 1/e of what it was."""
WINDOWS_WEEKS = (8, 52)
WEEK_S = 604_800
USUAL_LINES = 30.0
"""A customer's share of an ad's goods is drawn to everybody's, as if so many lines had been seen."""
MOST_KINDS = 8
CUSTOMER = ("customer_id",)

Numbers = dict[str, Floats]


def features(tables: Tables) -> pl.DataFrame:
    """`exposure`, `at` and the features, one row per exposure in the order of time. Nothing missing, nothing infinite."""
    asked = _asked(tables)
    found: Numbers = {**_answers(tables, asked), **_audience(tables, asked), **_habits(tables, asked)}
    found |= _goods(tables, asked)
    found |= _compared(asked, found)
    frame = asked.select("exposure", "at").with_columns([pl.Series(name, values) for name, values in found.items()])
    return frame.with_columns(pl.selectors.float().fill_nan(0.0).fill_null(0.0))


def _asked(tables: Tables) -> pl.DataFrame:
    """The exposures with their ad's kind and end."""
    if tables.ads is None:
        none = pl.lit(None)
        return tables.exposures.with_columns(none.cast(pl.String).alias("kind"), none.alias("starts_at"), none.alias("ends_at"))  # fmt: skip
    ads = tables.ads.select("ad_id", pl.col("kind").fill_null(""), "starts_at", "ends_at").unique("ad_id", keep="first")
    return tables.exposures.join(ads, on="ad_id", how="left", maintain_order="left").with_columns(
        pl.col("kind").fill_null("")
    )


def _answers(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """How the customer answered before: per label, so far and by closed windows, of all ads and of this kind."""
    one = pl.lit(1.0).alias("one")
    shown = asked.select("customer_id", pl.col("kind").fill_null(""), "at", one)
    asked = asked.with_columns(pl.col("kind").fill_null(""))
    seen = before(asked, shown, CUSTOMER, "one")
    found: Numbers = {"exposed": seen / (seen + 3), "exposed_lately": _fading(days_since(asked, shown, CUSTOMER))}
    of_kind = before(asked, shown, ("customer_id", "kind"), "one")
    for name in tables.labels:
        answers = _answers_of(tables, asked, name)
        first = answers.sort("at").unique(["customer_id", "ad_id"], keep="first", maintain_order=True)
        hits, all_hits = before(asked, first, CUSTOMER, "one"), before(asked, answers, CUSTOMER, "one")
        found[f"{name}_so_far"] = _rate(hits, seen)
        found[f"{name}_per_exposure"] = np.log1p(all_hits / (seen + 3))
        found[f"{name}_of_kind"] = _rate(before(asked, first, ("customer_id", "kind"), "one"), of_kind)
        found[f"{name}_lately"] = _fading(days_since(asked, answers, CUSTOMER))
        found[f"{name}_rate"] = asked[f"{name}_rate"].to_numpy() if f"{name}_rate" in asked.columns else _rate(hits, seen)  # fmt: skip
        closed = asked.filter(pl.col(name).is_not_null())
        closed = closed.select("kind", pl.col(f"{name}_until").alias("at"), pl.col(name).cast(pl.Float64), one)
        found[f"{name}_by_kind"] = (before(asked, closed, ("kind",), name) + 1) / (before(asked, closed, ("kind",), "one") + 10)  # fmt: skip
    return found


def _answers_of(tables: Tables, asked: pl.DataFrame, name: str) -> pl.DataFrame:
    """The customers' answers of one action to ads, where the ads have names; else to the products shown."""
    deeds = tables.behaviours.filter(pl.col("action") == name)
    if asked["ad_id"].null_count() == asked.height:
        deeds = deeds.with_columns(pl.col("product_id").alias("ad_id"))
    kinds = asked.select("ad_id", "kind").drop_nulls("ad_id").unique("ad_id", keep="first", maintain_order=True)
    deeds = deeds.filter(pl.col("ad_id").is_not_null()).join(kinds, on="ad_id", how="left", maintain_order="left")
    return deeds.select("customer_id", "ad_id", pl.col("kind").fill_null(""), "at", pl.lit(1.0).alias("one"))


def _rate(hits: Floats, shown: Floats) -> Floats:
    rate: Floats = (hits + PRIOR_RATE * PRIOR_WEIGHT) / (shown + PRIOR_WEIGHT)
    return rate


def _fading(days: Floats) -> Floats:
    faded: Floats = np.where(np.isnan(days), 0.0, np.exp(-np.nan_to_num(days) / MEMORY_DAYS))
    return faded


def _audience(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """The ad itself: to how many it goes at once, how long it lasts, of which kind it is."""
    sent = asked.select(pl.len().over("ad_id", "at").log()).to_series().cast(pl.Float64).to_numpy()
    lasts = (asked["ends_at"].cast(pl.Int64, strict=False) - asked["at"].cast(pl.Int64)).cast(pl.Float64) / 86_400_000
    found: Numbers = {"audience": sent, "lasts_days": lasts.fill_null(0.0).clip(0, 400).to_numpy()}
    kinds = [] if tables.ads is None else tables.ads["kind"].drop_nulls().unique().sort().to_list()
    for kind in kinds[:MOST_KINDS]:
        found[f"kind {kind}"] = (asked["kind"] == kind).cast(pl.Float64).fill_null(0.0).to_numpy()
    return found


def _habits(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """How much the customer buys and looks, and how much of it at a discount or with coupons."""
    found: Numbers = {
        name: np.log1p(asked[name].fill_null(0.0).clip(0.0).to_numpy())
        for name in ("views_per_week", "purchases_per_week")
        if name in asked.columns
    }
    lines = tables.transactions
    if lines is None:
        return found
    money = {name: pl.col(f"{name}_minor").fill_null(0).cast(pl.Float64) for name in ("amount", "discount", "coupon")}
    one, used = pl.lit(1.0).alias("one"), (money["coupon"] > 0).cast(pl.Float64).alias("used")
    lines = lines.filter(pl.col("state") == "order").select("customer_id", "at", one, used, **money)
    began = lines["at"].min()
    for weeks in WINDOWS_WEEKS:
        of = {name: within(asked, lines, CUSTOMER, name, weeks) for name in ("one", "used", *money)}
        lived = (asked["at"] - began).dt.total_seconds().to_numpy() / WEEK_S
        lived = np.clip(np.nan_to_num(lived, nan=1.0), 1, weeks)
        found[f"lines_per_week_{weeks}"] = np.log1p(np.maximum(of["one"], 0) / lived)
        found[f"spend_per_week_{weeks}"] = np.log1p(np.maximum(of["amount"], 0) / lived / 100)
        found[f"coupon_share_{weeks}"] = (of["coupon"] + 10) / (np.abs(of["amount"]) + 3_000)
        found[f"discount_share_{weeks}"] = (of["discount"] + 100) / (np.abs(of["amount"] + of["discount"]) + 1_000)
        found[f"coupon_lines_{weeks}"] = (of["used"] + 0.4) / (of["one"] + 20)
    return found


def _goods(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """What the ad offers, and whether the customer buys such: by product, type and category."""
    if tables.offers is None or tables.products is None or tables.transactions is None:
        return {}
    middle = pl.col("category").str.split(" > ").list.get(1, null_on_oob=True).alias("shelf")
    goods = tables.products.select("product_id", "type", "brand", middle)
    offers = tables.offers.join(goods, on="product_id", how="left")
    lines = tables.transactions.filter(pl.col("state") == "order").select("customer_id", "at", "product_id")
    lines = lines.join(goods, on="product_id", how="left").with_columns(
        pl.lit(1.0).alias("one"), pl.lit(0).alias("all")
    )
    bought, sold = (
        before(asked, lines, CUSTOMER, "one"),
        before(asked.with_columns(pl.lit(0).alias("all")), lines, ("all",), "one"),
    )
    lived = np.clip((asked["at"] - lines["at"].min()).dt.total_seconds().fill_null(0).to_numpy() / WEEK_S, 1, None)
    found: Numbers = {}
    for key in ("product_id", "type", "shelf"):
        pairs = offers.select("ad_id", key).drop_nulls().unique()
        such = (
            lines.select("customer_id", "at", key, "one")
            .join(pairs, on=key)
            .select("customer_id", "ad_id", "at", "one")
        )
        mine, everybody = before(asked, such, ("customer_id", "ad_id"), "one"), before(asked, such, ("ad_id",), "one")
        share = (everybody + 1) / (sold + 100)
        found[f"{key}_share"] = share
        found[f"{key}_affinity"] = np.log((mine + share * USUAL_LINES) / (bought + USUAL_LINES) / share)
        found[f"{key}_per_week"] = np.log1p(mine / lived)
    made = offers.group_by("ad_id").agg(
        pl.col("offer_id").n_unique(), pl.len().alias("goods"), (pl.col("brand") == "National").mean().alias("national")
    )
    made = asked.join(made, on="ad_id", how="left", maintain_order="left")
    found["offers"] = np.log1p(made["offer_id"].fill_null(0).to_numpy().astype(np.float64))
    found["goods"] = np.log1p(made["goods"].fill_null(0).to_numpy().astype(np.float64))
    found["national"] = made["national"].fill_null(0.0).to_numpy()
    return found


def _compared(asked: pl.DataFrame, found: Numbers) -> Numbers:
    """The customer's rate beside the mean of all who are sent the same ad at the same time."""
    more: Numbers = {}
    for name in LABELS:
        if f"{name}_so_far" not in found:
            continue
        mine = found[f"{name}_so_far"]
        mean = asked.select("ad_id", "at", pl.Series("mine", mine)).select(pl.col("mine").mean().over("ad_id", "at"))
        more[f"{name}_audience"] = mean.to_series().to_numpy()
        more[f"{name}_above_audience"] = mine - more[f"{name}_audience"]
    return more
