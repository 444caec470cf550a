"""Make the shop's shipped extract of Complete Journey: `python -m services.shop.extract --source FOLDER`.

Deterministic: the same source gives the same bytes (rows sorted, gzip without a time). Whole households only: every
line of a chosen household ships, and no line of another, so that a shipped history is what the source has of it.
What is trimmed and why is told in `data/SOURCE.md`.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from services.shop.source import read_line_table, rows_of

HOUSEHOLDS = 1_000
"""Chosen households: enough for every control arm, few enough for the size limit."""
MIN_LINES = 15
"""A household with fewer lines says too little about its tastes."""
COUPON_PRODUCTS_PER_CAMPAIGN = 12
"""Shipped products a campaign's coupons are topped up to, when chosen households bought fewer of them."""
MAX_BYTES = 1_500_000
"""All shipped files together."""

PRODUCT_COLUMNS = (
    "product_id",
    "manufacturer_id",
    "department",
    "brand",
    "product_category",
    "product_type",
    "package_size",
)
LINE_COLUMNS = (
    "household_id",
    "basket_id",
    "product_id",
    "quantity",
    "sales_value",
    "retail_disc",
    "coupon_disc",
    "coupon_match_disc",
    "transaction_timestamp",
)
COUPON_COLUMNS = ("coupon_upc", "product_id", "campaign_id")

Row = dict[str, str]


def choose_households(lines: Sequence[Row], redeemers: set[str]) -> set[str]:
    """Choose whole households: those with enough lines, redeemers first, then those with most lines."""
    count = Counter(line["household_id"] for line in lines)
    able = [household for household, lines_n in count.items() if lines_n >= MIN_LINES]
    able.sort(key=lambda household: (household not in redeemers, -count[household], int(household)))
    return set(able[:HOUSEHOLDS])


def choose_products(bought: set[str], coupons: Iterable[Row]) -> set[str]:
    """Choose what was bought, topped up with a few couponed products per campaign (lowest ids first)."""
    by_campaign: dict[str, set[str]] = defaultdict(set)
    for coupon in coupons:
        by_campaign[coupon["campaign_id"]].add(coupon["product_id"])
    chosen = set(bought)
    for campaign in sorted(by_campaign, key=int):
        lacking = COUPON_PRODUCTS_PER_CAMPAIGN - len(by_campaign[campaign] & bought)
        chosen.update(sorted(by_campaign[campaign] - bought, key=int)[: max(lacking, 0)])
    return chosen


def packed(rows: Iterable[Row], columns: Sequence[str]) -> bytes:
    """CSV of the columns, gzip-compressed without name or time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[column] for column in columns] for row in rows)
    return gzip.compress(text.getvalue().encode(), compresslevel=9, mtime=0)


def extract(source: Path) -> dict[str, bytes]:
    """Make every table of the extract.

    Args:
        source: folder with the full tables.

    Returns:
        File name → bytes.
    """
    table = read_line_table(source)
    all_lines = list(rows_of(table, source))
    redemptions = list(rows_of("coupon_redemptions", source))
    households = choose_households(all_lines, {row["household_id"] for row in redemptions})
    lines = [row for row in all_lines if row["household_id"] in households]
    lines.sort(key=lambda r: (r["transaction_timestamp"], int(r["household_id"]), r["basket_id"], int(r["product_id"])))
    coupons = list(rows_of("coupons", source))
    shipped = choose_products({row["product_id"] for row in lines}, coupons)
    products = [row for row in rows_of("products", source) if row["product_id"] in shipped]
    kept = {
        "products": (sorted(products, key=lambda r: int(r["product_id"])), PRODUCT_COLUMNS),
        "transactions_sample": (lines, LINE_COLUMNS),
        "coupons": ([row for row in coupons if row["product_id"] in shipped], COUPON_COLUMNS),
        "campaigns": (
            [r for r in rows_of("campaigns", source) if r["household_id"] in households],
            ("campaign_id", "household_id"),
        ),
        "campaign_descriptions": (
            list(rows_of("campaign_descriptions", source)),
            ("campaign_id", "campaign_type", "start_date", "end_date"),
        ),
        "coupon_redemptions": (
            [r for r in redemptions if r["household_id"] in households],
            ("household_id", "coupon_upc", "campaign_id", "redemption_date"),
        ),
    }
    return {f"{name}.csv.gz": packed(rows, columns) for name, (rows, columns) in kept.items()}


@click.command()
@click.option("--source", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path(__file__).parent / "data")
def main(source: Path, out: Path) -> None:
    """Write the extract of SOURCE's tables to OUT and print its sizes."""
    tables = extract(source)
    total = sum(len(content) for content in tables.values())
    if total > MAX_BYTES:
        raise click.ClickException(f"the extract has {total} bytes, at most {MAX_BYTES} may ship")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in sorted(tables.items()):
        (out / name).write_bytes(content)
        click.echo(f"{len(content):>9,} bytes  {name}")
    click.echo(f"{total:>9,} bytes  together")


if __name__ == "__main__":
    main()
