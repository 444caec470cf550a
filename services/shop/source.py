"""Complete Journey as typed records: one loader for the shipped extract and for the full folder.

Pure but for reading files. A folder holds gzip CSV tables named and headed as the R package `completejourney` exports
them; the extract in `services/shop/data` has the same tables with fewer rows and without the columns nobody reads.
Lines that are no merchandise (fuel, coupons, bottle deposits, lines without quantity or money) are left out here, for
either source, and counted: a product of those cannot be shown, priced or promoted.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib.resources import files
from pathlib import Path

import msgspec

UNSOLD_DEPARTMENTS = frozenset(
    {
        "",
        "AUTOMOTIVE",
        "CHARITABLE CONT",
        "CNTRL/STORE SUP",
        "COUPON",
        "FUEL",
        "GM MERCH EXP",
        "MISCELLANEOUS",
        "PHOTO & VIDEO",
        "POSTAL CENTER",
        "PROD-WHS SALES",
        "RESTAURANT",
        "RX",
        "TOYS",
        "TRAVEL & LEISURE",
        "VIDEO",
        "VIDEO RENTAL",
    }
)
"""Departments whose lines are services, coupons or bookings, not products of a shelf."""

UNPROMOTED_CATEGORIES = frozenset(
    {
        "",
        "BOTTLE DEPOSITS",
        "CIGARETTES",
        "CIGARS",
        "COUPON/MISC ITEMS",
        "COUPONS/STORE & MFG",
        "DELI SUPPLIES",
        "LONG DISTANCE CALLING CARDS",
        "MEAT SUPPLIES",
        "PHARMACY",
        "PREPAID WIRELESS&ACCESSORIES",
        "PROD SUPPLIES",
        "SMOKING CESSATIONS",
        "TICKETS",
        "TOBACCO OTHER",
    }
)
"""Categories that are no goods, or goods (tobacco, medicine) that no shop may advertise freely."""


ID_COLUMNS = frozenset({"household_id", "basket_id", "product_id", "manufacturer_id", "coupon_upc", "campaign_id"})
"""Columns that hold whole numbers as names."""


class Product(msgspec.Struct, frozen=True):
    """A row of `products`: the hierarchy as the retailer writes it, upper case and abbreviated."""

    product_id: str
    manufacturer_id: str
    department: str
    brand: str
    """`National` or `Private`."""
    category: str
    type: str
    package_size: str


class Line(msgspec.Struct, frozen=True):
    """One purchased product of one basket."""

    household_id: str
    basket_id: str
    product_id: str
    quantity: int
    paid_minor: int
    """What the shop received for the line, all units, in cents."""
    list_minor: int
    """What the line would have cost without loyalty and matching discounts, all units, in cents."""
    coupon_minor: int
    """What coupons took off the line, in cents."""
    at_s: float
    """Seconds since the epoch; the source's local times are read as UTC."""


class CampaignSpan(msgspec.Struct, frozen=True):
    """A row of `campaign_descriptions` with the households it was sent to."""

    campaign_id: str
    type: str
    """`Type A` (large, by purchase history), `Type B` or `Type C`."""
    start: date
    end: date
    households: tuple[str, ...]


class Coupon(msgspec.Struct, frozen=True):
    """A coupon of a campaign and one product it is good for."""

    coupon_upc: str
    product_id: str
    campaign_id: str


class Redemption(msgspec.Struct, frozen=True):
    """A household used a coupon of a campaign on a day."""

    household_id: str
    coupon_upc: str
    campaign_id: str
    on: date


class Journey(msgspec.Struct, frozen=True):
    """All of a source that the shop uses."""

    products: dict[str, Product]
    lines: tuple[Line, ...]
    """By time, then household, then product."""
    campaigns: tuple[CampaignSpan, ...]
    coupons: tuple[Coupon, ...]
    redemptions: tuple[Redemption, ...]
    lines_left_out: int
    """Lines of the source that are no merchandise."""


def whole_id(text: str) -> str:
    """Undo R's scientific notation, in which the export writes round ids (`9e+05` is product 900000)."""
    return str(int(float(text))) if "e+" in text else text


def rows_of(table: str, folder: Path | None = None) -> Iterator[dict[str, str]]:
    """Yield a table's rows from a folder, or from the shipped extract when `folder` is None.

    Raises:
        FileNotFoundError: the folder has no such table; the message names both.
    """
    name = f"{table}.csv.gz"
    path = files("services.shop").joinpath("data", name) if folder is None else folder / name
    if not path.is_file():
        raise FileNotFoundError(f"table {name!r} is missing in {folder or 'the shipped extract'}")
    with path.open("rb") as raw, gzip.open(raw, "rb") as plain:
        for row in csv.DictReader(io.TextIOWrapper(plain, encoding="utf-8", newline="")):
            yield {column: whole_id(value) if column in ID_COLUMNS else value for column, value in row.items()}


def read_line_table(folder: Path | None) -> str:
    """Name of the table of lines: `transactions` where the complete export is there, else its sample."""
    if folder is not None and (folder / "transactions.csv.gz").is_file():
        return "transactions"
    return "transactions_sample"


def product_of(row: dict[str, str]) -> Product:
    """Read a row of `products`."""
    return Product(
        product_id=row["product_id"],
        manufacturer_id=row["manufacturer_id"],
        department=row["department"].strip(),
        brand=row["brand"],
        category=" ".join(row["product_category"].split()),
        type=" ".join(row["product_type"].split()),
        package_size=" ".join(row["package_size"].split()),
    )


def sellable(product: Product) -> bool:
    """Whether a product is merchandise that a shop may show and advertise."""
    return product.department not in UNSOLD_DEPARTMENTS and product.category not in UNPROMOTED_CATEGORIES


def minor(dollars: str) -> int:
    """Cents of a decimal string, half up; never through a float sum."""
    whole, _, part = dollars.partition(".")
    sign = -1 if whole.startswith("-") else 1
    cents = int((part + "000")[:3])
    return sign * (abs(int(whole or "0")) * 100 + (cents + 5) // 10)


def seconds_of(timestamp: str) -> float:
    """Epoch seconds of `YYYY-MM-DD[ T]HH:MM:SS[Z]`, read as UTC."""
    stamp = datetime.fromisoformat(timestamp)
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def line_of(row: dict[str, str]) -> Line:
    """Read a row of purchase lines."""
    paid = minor(row["sales_value"])
    off = minor(row["retail_disc"]) + minor(row["coupon_match_disc"])
    return Line(
        household_id=row["household_id"],
        basket_id=row["basket_id"],
        product_id=row["product_id"],
        quantity=round(float(row["quantity"])),
        paid_minor=paid,
        list_minor=paid + off,
        coupon_minor=minor(row["coupon_disc"]) + minor(row["coupon_match_disc"]),
        at_s=seconds_of(row["transaction_timestamp"]),
    )


def load_campaigns(folder: Path | None) -> tuple[CampaignSpan, ...]:
    """Read campaigns with the households they were sent to, by number."""
    sent: dict[str, list[str]] = {}
    for row in rows_of("campaigns", folder):
        sent.setdefault(row["campaign_id"], []).append(row["household_id"])
    spans = [
        CampaignSpan(
            campaign_id=row["campaign_id"],
            type=row["campaign_type"],
            start=date.fromisoformat(row["start_date"]),
            end=date.fromisoformat(row["end_date"]),
            households=tuple(sorted(sent.get(row["campaign_id"], []), key=int)),
        )
        for row in rows_of("campaign_descriptions", folder)
    ]
    return tuple(sorted(spans, key=lambda span: int(span.campaign_id)))


def load_coupons(folder: Path | None, known: dict[str, Product]) -> tuple[Coupon, ...]:
    """Read the coupons of known products."""
    return tuple(
        Coupon(row["coupon_upc"], row["product_id"], row["campaign_id"])
        for row in rows_of("coupons", folder)
        if row["product_id"] in known
    )


def load_redemptions(folder: Path | None) -> tuple[Redemption, ...]:
    """Read all redemptions."""
    return tuple(
        Redemption(
            row["household_id"], row["coupon_upc"], row["campaign_id"], date.fromisoformat(row["redemption_date"][:10])
        )
        for row in rows_of("coupon_redemptions", folder)
    )


def load_journey(folder: Path | None = None) -> Journey:
    """Read a source: the shipped extract when `folder` is None.

    Raises:
        FileNotFoundError: a table is missing; the message names it.
    """
    products = {p.product_id: p for row in rows_of("products", folder) if sellable(p := product_of(row))}
    lines, left_out = [], 0
    for row in rows_of(read_line_table(folder), folder):
        line = line_of(row)
        if line.product_id in products and line.quantity > 0 and line.paid_minor > 0:
            lines.append(line)
        else:
            left_out += 1
    lines.sort(key=lambda line: (line.at_s, int(line.household_id), line.basket_id, int(line.product_id)))
    return Journey(
        products=products,
        lines=tuple(lines),
        campaigns=load_campaigns(folder),
        coupons=load_coupons(folder, products),
        redemptions=load_redemptions(folder),
        lines_left_out=left_out,
    )
