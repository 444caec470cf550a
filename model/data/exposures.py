"""Exposures with what followed them and what was known before: the rows a response model learns from. Pure.

A response counts for the last exposure before it (last touch) of the same customer to the same ad, or to the same product where the exposure
names no ad. A label is null where its window had not closed when the data end, answered or not: early answers beside late refusals would
teach optimism.
"""

from collections.abc import Sequence

import polars as pl

from model.data.labels import Label, Response

WEEKS = 8
"""Habits are rates over so many weeks before the exposure."""
PRIOR_RATE, PRIOR_WEIGHT = 0.1, 10.0
"""A customer's own rate is drawn towards this, as if so many exposures had been seen before."""
ID = "exposure"


def exposures(behaviours: pl.DataFrame, ads: pl.DataFrame | None, labels: Sequence[Label]) -> pl.DataFrame:
    """Label every exposure.

    Args:
        behaviours: the table, whole.
        ads: the table, for windows until an ad ends.
        labels: those of `exposures`, of different names. A window that ends after the newest behaviour is open.

    Returns:
        `exposure` (a number), `customer_id, ad_id, product_id, channel, placement, at`, per label NAME (0, 1 or null),
        `NAME_so_far` (0 or 1, open windows too) and `NAME_until`, when its window closes.
    """
    shown = behaviours.filter(pl.col("action") == "exposure").sort("at", "customer_id", "ad_id", "row")
    end = behaviours["at"].max()
    made = shown.select("customer_id", "ad_id", "product_id", "channel", "placement", "at").with_row_index(ID)
    for label in labels:
        rule = label.rule
        assert isinstance(rule, Response)
        made = made.with_columns(_until(made, ads, rule).alias(f"{label.name}_until"))
        hits = _answered(made, behaviours.filter(pl.col("action").is_in(list(rule.actions))), f"{label.name}_until")
        seen = pl.col(ID).is_in(hits.implode()).cast(pl.Int8)
        closed = pl.col(f"{label.name}_until") <= end
        made = made.with_columns(pl.when(closed).then(seen).alias(label.name), seen.alias(f"{label.name}_so_far"))
    return made


def _until(made: pl.DataFrame, ads: pl.DataFrame | None, rule: Response) -> pl.Series:
    plain = pl.col("at") + pl.duration(milliseconds=round(rule.within_h * 3_600_000))
    frame = made.select("ad_id", plain.alias("plain"))
    if not rule.until_ad_ends or ads is None:
        return frame["plain"]
    ends = ads.select("ad_id", "ends_at").unique("ad_id", keep="first")
    last = pl.col("ends_at").dt.truncate("1d") + pl.duration(days=1)
    return frame.join(ends, on="ad_id", how="left", maintain_order="left").select(
        pl.coalesce(last, "plain").alias("until")
    )["until"]


def _answered(made: pl.DataFrame, answers: pl.DataFrame, until: str) -> pl.Series:
    """The exposures that an answer counts for."""
    hits = []
    for key, those in (("ad_id", made), ("product_id", made.filter(pl.col("ad_id").is_null()))):
        left = answers.filter(pl.col(key).is_not_null()).select("customer_id", key, "at").sort("at")
        right = those.filter(pl.col(key).is_not_null()).select("customer_id", key, "at", ID, until).sort("at")
        joined = left.join_asof(right, on="at", by=["customer_id", key], strategy="backward", check_sortedness=False)
        hits.append(joined.filter(pl.col("at") < pl.col(until))[ID])
    return pl.concat(hits).unique()


def features(made: pl.DataFrame, behaviours: pl.DataFrame, labels: Sequence[str]) -> pl.DataFrame:
    """What was known of the customer strictly before each exposure; rates rather than counts, which grow with time alone.

    Returns:
        `exposure` and the features: `exposures_before`, per label `NAME_rate` (answers to exposures whose windows had closed), and over the
        last `WEEKS` weeks `purchases_per_week`, `views_per_week`, `spend_minor_per_week`; `days_since_purchase`.
    """
    asked = made.select(ID, "customer_id", "at")
    shown = made.select("customer_id", "at", pl.lit(1.0).alias("exposures_before"))
    found = asked.select(ID).hstack([_sums(asked, shown, "exposures_before")])
    for name in labels:
        closed = made.filter(pl.col(name).is_not_null()).select(
            "customer_id",
            pl.col(f"{name}_until").alias("at"),
            pl.col(name).cast(pl.Float64).alias("hit"),
            pl.lit(1.0).alias("all"),
        )
        hits, count = _sums(asked, closed, "hit"), _sums(asked, closed, "all")
        rate = (hits + PRIOR_RATE * PRIOR_WEIGHT) / (count + PRIOR_WEIGHT)
        found = found.hstack([rate.alias(f"{name}_rate")])
    deeds = behaviours.select(
        "customer_id", "at",
        (pl.col("action") == "purchase").cast(pl.Float64).alias("purchases_per_week"),
        (pl.col("action") == "view").cast(pl.Float64).alias("views_per_week"),
        pl.when(pl.col("action") == "purchase").then(pl.col("price_minor")).fill_null(0).cast(pl.Float64).alias("spend_minor_per_week"),
    )  # fmt: skip
    for name in ("purchases_per_week", "views_per_week", "spend_minor_per_week"):
        now = _sums(asked, deeds, name)
        before = _sums(asked.with_columns(pl.col("at") - pl.duration(weeks=WEEKS)), deeds, name)
        found = found.hstack([((now - before) / WEEKS).alias(name)])
    bought = (
        behaviours.filter(pl.col("action") == "purchase")
        .select("customer_id", "at", pl.col("at").alias("last"))
        .sort("at")
    )
    last = _joined(asked, bought, "last")
    days = (asked["at"] - last).dt.total_seconds() / 86_400
    return found.hstack([days.alias("days_since_purchase")])


def _sums(asked: pl.DataFrame, facts: pl.DataFrame, name: str) -> pl.Series:
    """Per row of `asked` the sum of the customer's facts strictly before it."""
    summed = facts.sort("at").select("customer_id", "at", pl.col(name).cum_sum().over("customer_id"))
    summed = summed.unique(["customer_id", "at"], keep="last", maintain_order=True)
    return _joined(asked, summed, name).fill_null(0.0)


def _joined(asked: pl.DataFrame, facts: pl.DataFrame, name: str) -> pl.Series:
    left = asked.select("customer_id", "at").with_row_index("place").sort("at")
    joined = left.join_asof(
        facts, on="at", by="customer_id", strategy="backward", allow_exact_matches=False, check_sortedness=False
    )
    return joined.sort("place")[name]
