"""Make the tests' extract of Complete Journey: `python tests/model/data/make_extract.py --source FOLDER`.

Some whole households, and every row of the source with a fault of its own kind: ids in R's notation, lines without quantity, fuel counted in
thousandths of a gallon, products that are in no table, an amount that is rounding dust, coupon rows that stand there twice.
Deterministic: the same source gives the same bytes. Source and licence: services/shop/data/SOURCE.md.
"""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

HOUSEHOLDS = 60
"""Of those that redeemed a coupon, by number."""
FUEL = 32_000.0
TABLES = ("products", "coupons", "campaigns", "campaign_descriptions", "coupon_redemptions", "transactions_sample")
PER_FAULT = 5
OTHER_PRODUCTS = 1_500
COUPONS = 1_500

Rows = list[dict[str, str]]


def read(folder: Path, table: str) -> tuple[list[str], Rows]:
    """Header and rows; no field of the source is quoted."""
    with gzip.open(folder / f"{table}.csv.gz", "rt", encoding="utf-8") as file:
        names = file.readline().rstrip("\n").split(",")
        return names, [dict(zip(names, line.rstrip("\n").split(","), strict=True)) for line in file]


def some(rows: Rows, wanted: Callable[[dict[str, str]], bool], most: int = PER_FAULT) -> Rows:
    """The first rows that are wanted."""
    return [row for row in rows if wanted(row)][:most]


def chosen(tables: dict[str, tuple[list[str], Rows]]) -> dict[str, Rows]:
    """The extract's rows, in the source's order."""
    lines, products = tables["transactions_sample"][1], tables["products"][1]
    redeemers = sorted({row["household_id"] for row in tables["coupon_redemptions"][1]}, key=int)[:HOUSEHOLDS]
    known = {row["product_id"] for row in products}
    faulty = [
        *some(lines, lambda row: "e+" in row["basket_id"]),
        *some(lines, lambda row: float(row["quantity"]) == 0),
        *some(lines, lambda row: float(row["quantity"]) > FUEL),
        *some(lines, lambda row: row["product_id"] not in known and 0 < float(row["quantity"]) <= 100),
        *some(lines, lambda row: "e-" in row["sales_value"]),
    ]
    marked = {id(row) for row in faulty}
    kept = [row for row in lines if row["household_id"] in set(redeemers) or id(row) in marked]
    bought = {row["product_id"] for row in kept}
    shipped = [
        row
        for i, row in enumerate(products)
        if row["product_id"] in bought or "e+" in row["product_id"] or i < OTHER_PRODUCTS
    ]
    ids = {row["product_id"] for row in shipped}
    coupons = tables["coupons"][1]
    seen: set[tuple[str, ...]] = set()
    twice = {key for key in (tuple(row.values()) for row in coupons) if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
    doubled = some(coupons, lambda row: tuple(row.values()) in twice and row["product_id"] in ids, 20)
    both = {tuple(row.values()) for row in doubled}
    good = {id(row) for row in some(coupons, lambda row: row["product_id"] in ids, COUPONS)}
    return {
        "products": shipped,
        "transactions_sample": kept,
        "coupons": [
            row
            for row in coupons
            if id(row) in good
            or tuple(row.values()) in both
            or "e+" in row["product_id"]
            or row["product_id"] == "1003998"
        ],
        "campaigns": [row for row in tables["campaigns"][1] if row["household_id"] in set(redeemers)],
        "campaign_descriptions": tables["campaign_descriptions"][1],
        "coupon_redemptions": [row for row in tables["coupon_redemptions"][1] if row["household_id"] in set(redeemers)],
    }


def main(source: Path, out: Path) -> None:
    """Write the extract."""
    tables = {table: read(source, table) for table in TABLES}
    for table, rows in chosen(tables).items():
        text = "\n".join([",".join(tables[table][0]), *(",".join(row.values()) for row in rows)]) + "\n"
        (out / f"{table}.csv.gz").write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[sys.argv.index("--source") + 1]), Path(__file__).parent / "extract")
