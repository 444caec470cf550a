"""What an exposure says in words: the ad's own text and goods, and what its customer did last before it. Pure."""

from collections import defaultdict

import polars as pl

from model.response.tables import Tables

SHELVES = 8
DEEDS = 8
"""How many of the ad's shelves, the most frequent first, and of the customer's newest deeds are said."""


def texts(tables: Tables) -> list[str]:
    """One text per exposure, in the order of the exposures."""
    return texts_of(tables, tables.exposures)


def texts_of(tables: Tables, asked: pl.DataFrame) -> list[str]:
    """The same for exposures that may never have been made: `exposure, customer_id, ad_id, channel, at`."""
    ads, shelves, recent = _ads(tables), _shelves(tables), _recent(tables, asked)
    return [
        f"{ads.get(ad, '')} {channel or ''} : {shelves.get(ad, '')} : {recent.get(number, '')}".strip().lower()
        for number, ad, channel in asked.select("exposure", "ad_id", "channel").iter_rows()
    ]


def _ads(tables: Tables) -> dict[str | None, str]:
    if tables.ads is None:
        return {}
    said = tables.ads.select("ad_id", "kind", "title", "body", "placement").iter_rows()
    return {row[0]: " ".join(dict.fromkeys(str(part) for part in row[1:] if part)) for row in said}


def _shelves(tables: Tables) -> dict[str | None, str]:
    if tables.offers is None or tables.products is None:
        return {}
    goods = tables.offers.join(tables.products.select("product_id", "type"), on="product_id").drop_nulls("type")
    counted = goods.group_by("ad_id", "type").len().sort("ad_id", "len", "type", descending=[False, True, False])
    found: dict[str | None, list[str]] = defaultdict(list)
    for ad, kind, _ in counted.iter_rows():
        if len(found[ad]) < SHELVES:
            found[ad].append(kind)
    return {ad: " , ".join(kinds) for ad, kinds in found.items()}


def _recent(tables: Tables, asked: pl.DataFrame) -> dict[int, str]:
    """Exposure → the customer's newest deeds strictly before it, newest first; what was shown is no deed."""
    deeds = tables.behaviours.filter(pl.col("action") != "exposure").select(
        "customer_id", "at", "action", "product_id", "ad_id", "query"
    )
    if tables.products is not None:
        deeds = deeds.join(
            tables.products.select("product_id", "type"), on="product_id", how="left", maintain_order="left"
        )
    else:
        deeds = deeds.with_columns(pl.lit(None, pl.String).alias("type"))
    what = pl.coalesce("query", "type", pl.when(pl.col("ad_id").is_not_null()).then(pl.lit("ad")), pl.lit(""))
    deeds = deeds.select("customer_id", "at", (pl.col("action") + " " + what).alias("said")).sort("at", "said")
    histories: dict[str, tuple[list[int], list[str]]] = defaultdict(lambda: ([], []))
    for customer, at, said in deeds.with_columns(pl.col("at").dt.epoch("ms")).iter_rows():
        histories[customer][0].append(at)
        histories[customer][1].append(said)
    found = {}
    for number, customer, at in asked.select("exposure", "customer_id", pl.col("at").dt.epoch("ms")).iter_rows():
        times, said = histories.get(customer, ([], []))
        found[number] = " , ".join(_newest(times, said, at))
    return found


def _newest(times: list[int], said: list[str], at: int) -> list[str]:
    from bisect import bisect_left

    end = bisect_left(times, at)
    return said[max(end - DEEDS, 0) : end][::-1]
