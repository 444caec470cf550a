"""Numbers about an exposure that were known when it was sent. Pure.

Rates and shares rather than counts, which grow with the calendar alone and mean something else in the next season. Small rates are drawn to what
is usual, as if so many more had been seen.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from model.data import exposures as prepared
from model.response.known import Floats, before, days_since, within
from model.response.tables import VARYING, Tables, daypart

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
    asked = with_ads(tables, tables.exposures)
    sent = asked.select(pl.len().over("ad_id", "at").log()).to_series().cast(pl.Float64).to_numpy()
    found = _own(tables, asked, asked, sent)
    return _framed(asked, found | _compared(asked, found, tables.labels))


def features_of(tables: Tables, asked: pl.DataFrame, logged: pl.DataFrame) -> pl.DataFrame:
    """The same for exposures that were never made: what would have been known of them at their moment.

    Args:
        asked: `exposure, customer_id, ad_id, channel, placement, at` and the shop's own features.
        logged: the features of the exposures that were made: what is usual of an ad's audience is read from them.
    """
    asked = with_ads(tables, asked.with_columns(_prepared(tables, asked)))
    usual = _usual_audiences(tables, asked, logged)
    found = _own(tables, asked, with_ads(tables, tables.exposures), usual.pop("audience"))
    for name in tables.labels:
        usual[f"{name}_above_audience"] = found[f"{name}_so_far"] - usual[f"{name}_audience"]
    return _framed(asked, found | usual).select(logged.columns)


def _own(tables: Tables, asked: pl.DataFrame, made: pl.DataFrame, sent: Floats) -> Numbers:
    """All but what compares with who else is sent the same.

    Args:
        made: the exposures that were, with their ads.
        sent: log of how many are sent the ad at once.
    """
    found: Numbers = {**_answers(tables, asked, made), "audience": sent, **_ad(tables, asked)}
    found |= {**_habits(tables, asked), **_goods(tables, asked)}
    return found | {f"own {name}": asked[name].cast(pl.Float64).to_numpy() for name in tables.own}


def _framed(asked: pl.DataFrame, found: Numbers) -> pl.DataFrame:
    frame = asked.select("exposure", "at").with_columns([pl.Series(name, values) for name, values in found.items()])
    return frame.with_columns(pl.selectors.float().fill_nan(0.0).fill_null(0.0))


def with_ads(tables: Tables, exposures: pl.DataFrame) -> pl.DataFrame:
    """The exposures with their ad's kind and end, and their daypart."""
    exposures = exposures.with_columns(daypart().alias("daypart"))
    if tables.ads is None:
        none = pl.lit(None)
        return exposures.with_columns(pl.lit("").alias("kind"), none.alias("starts_at"), none.alias("ends_at"))
    ads = tables.ads.select("ad_id", pl.col("kind").fill_null(""), "starts_at", "ends_at").unique("ad_id", keep="first")
    joined = exposures.join(ads, on="ad_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("kind").fill_null(""))


def _prepared(tables: Tables, asked: pl.DataFrame) -> list[pl.Series]:
    """What `stratagem data prepare` tells of every exposure, for those that were never made."""
    one, made, found = pl.lit(1.0).alias("one"), tables.exposures, []
    for name in tables.labels:
        closed = made.filter(pl.col(name).is_not_null())
        closed = closed.select("customer_id", pl.col(f"{name}_until").alias("at"), pl.col(name).cast(pl.Float64), one)
        hits, count = before(asked, closed, CUSTOMER, name), before(asked, closed, CUSTOMER, "one")
        found.append(pl.Series(f"{name}_rate", (hits + prepared.PRIOR_RATE * prepared.PRIOR_WEIGHT) / (count + prepared.PRIOR_WEIGHT)))  # fmt: skip
    for name, action in (("views_per_week", "view"), ("purchases_per_week", "purchase")):
        deeds = tables.behaviours.filter(pl.col("action") == action).select("customer_id", "at", one)
        found.append(pl.Series(name, within(asked, deeds, CUSTOMER, "one", prepared.WEEKS) / prepared.WEEKS))
    return [series for series in found if series.name in made.columns]


def _answers(tables: Tables, asked: pl.DataFrame, made: pl.DataFrame) -> Numbers:
    """How the customer answered before: per label, so far and by closed windows, of all ads, of this kind, of this channel."""
    one = pl.lit(1.0).alias("one")
    places = [name for name in VARYING if name in tables.said]
    again = ["ad_id"] if tables.shown_again else []
    shown = made.select("customer_id", "kind", "at", one)
    seen = before(asked, shown, CUSTOMER, "one")
    found: Numbers = {"exposed": seen / (seen + 3), "exposed_lately": _fading(days_since(asked, shown, CUSTOMER))}
    of_kind = before(asked, shown, ("customer_id", "kind"), "one")
    for name in tables.labels:
        answers = _answers_of(tables, name)
        first = answers.sort("at").unique(["customer_id", "ad_id"], keep="first", maintain_order=True)
        hits, all_hits = before(asked, first, CUSTOMER, "one"), before(asked, answers, CUSTOMER, "one")
        found[f"{name}_so_far"] = _rate(hits, seen)
        found[f"{name}_per_exposure"] = np.log1p(all_hits / (seen + 3))
        found[f"{name}_of_kind"] = _rate(before(asked, first, ("customer_id", "kind"), "one"), of_kind)
        found[f"{name}_lately"] = _fading(days_since(asked, answers, CUSTOMER))
        found[f"{name}_rate"] = asked[f"{name}_rate"].to_numpy() if f"{name}_rate" in asked.columns else _rate(hits, seen)  # fmt: skip
        closed = made.filter(pl.col(name).is_not_null())
        closed = closed.select("customer_id", "ad_id", "kind", *places, pl.col(f"{name}_until").alias("at"), pl.col(name).cast(pl.Float64), one)  # fmt: skip
        for by in ("kind", *places, *again):
            found[f"{name}_by_{by}"] = (before(asked, closed, (by,), name) + 1) / (before(asked, closed, (by,), "one") + 10)  # fmt: skip
        for place in places:
            mine = [before(asked, closed, ("customer_id", place), value) for value in (name, "one")]
            found[f"{name}_of_{place}"] = _rate(*mine)
    return found


def _answers_of(tables: Tables, name: str) -> pl.DataFrame:
    """The customers' answers of one action to ads, with the ad's kind."""
    deeds = tables.behaviours.filter((pl.col("action") == name) & pl.col("ad_id").is_not_null())
    return with_ads(tables, deeds).select("customer_id", "ad_id", "kind", "at", pl.lit(1.0).alias("one"))


def _rate(hits: Floats, shown: Floats) -> Floats:
    rate: Floats = (hits + PRIOR_RATE * PRIOR_WEIGHT) / (shown + PRIOR_WEIGHT)
    return rate


def _fading(days: Floats) -> Floats:
    faded: Floats = np.where(np.isnan(days), 0.0, np.exp(-np.nan_to_num(days) / MEMORY_DAYS))
    return faded


def _ad(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """The ad itself: how long it lasts, of which kind it is, where and in which part of the day it is shown."""
    lasts = (asked["ends_at"].cast(pl.Int64, strict=False) - asked["at"].cast(pl.Int64)).cast(pl.Float64) / 86_400_000
    found: Numbers = {"lasts_days": lasts.fill_null(0.0).clip(0, 400).to_numpy()}
    kinds = [] if tables.ads is None else tables.ads["kind"].drop_nulls().unique().sort().to_list()
    for column, values in {"kind": kinds[:MOST_KINDS], **tables.said}.items():
        for value in values:
            found[f"{column} {value}"] = (asked[column] == value).cast(pl.Float64).fill_null(0.0).to_numpy()
    return found


def _usual_audiences(tables: Tables, asked: pl.DataFrame, logged: pl.DataFrame) -> Numbers:
    """Size and mean rate of who is sent the ad, on average over its exposures; of an ad never sent, over all."""
    names = ["audience", *(f"{name}_audience" for name in tables.labels)]
    known = tables.exposures.select("exposure", "ad_id").join(logged.select("exposure", *names), on="exposure")
    usual = known.group_by("ad_id").agg(pl.col(names).mean())
    joined = asked.select("ad_id").join(usual, on="ad_id", how="left", maintain_order="left")
    return {name: joined[name].fill_null(logged[name].mean()).to_numpy() for name in names}


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
    began = lines["at"].min() or asked["at"].min()
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
    lived = np.clip(
        (asked["at"] - (lines["at"].min() or asked["at"].min())).dt.total_seconds().fill_null(0).to_numpy() / WEEK_S,
        1,
        None,
    )
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
    found |= _prices(tables, asked)
    found["national"] = made["national"].fill_null(0.0).to_numpy()
    return found


def _prices(tables: Tables, asked: pl.DataFrame) -> Numbers:
    """How dear the ad's goods are: log of the mean price, and beside the median of its ads' kind."""
    if tables.offers is None or tables.products is None or not tables.priced:
        return {}
    prices = tables.offers.join(tables.products.select("product_id", "price_minor"), on="product_id")
    dear = prices.group_by("ad_id").agg(pl.col("price_minor").mean().clip(1).log().alias("price"))
    dear = with_ads(tables, dear.with_columns(at=pl.lit(asked["at"].min()))).with_columns(
        usual=pl.col("price").median().over("kind")
    )
    joined = asked.select("ad_id").join(
        dear.select("ad_id", "price", "usual"), on="ad_id", how="left", maintain_order="left"
    )
    mean = float(dear["price"].mean() or 0.0)  # type: ignore[arg-type]  # a number
    price = joined["price"].fill_null(mean).to_numpy()
    return {"price": price, "price_above_kind": price - joined["usual"].fill_null(mean).to_numpy()}


def _compared(asked: pl.DataFrame, found: Numbers, labels: Sequence[str]) -> Numbers:
    """The customer's rate beside the mean of all who are sent the same ad at the same time."""
    more: Numbers = {}
    for name in labels:
        mine = found[f"{name}_so_far"]
        mean = asked.select("ad_id", "at", pl.Series("mine", mine)).select(pl.col("mine").mean().over("ad_id", "at"))
        more[f"{name}_audience"] = mean.to_series().to_numpy()
        more[f"{name}_above_audience"] = mine - more[f"{name}_audience"]
    return more
