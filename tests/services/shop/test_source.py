"""Of the loader and the extract: the shipped tables, and small full ones made here."""

import gzip
import hashlib
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from services.shop.extract import MAX_BYTES, extract
from services.shop.source import Journey, load_journey, minor, sellable, whole_id
from services.shop.world import load_world

# The same tables are played through the whole loop by test_replay.py.
TABLES = {
    "products": [
        "product_id,manufacturer_id,department,brand,product_category,product_type,package_size",
        "1,69,GROCERY,Private,COFFEE,GROUND COFFEE,12 OZ",
        "2,2,GROCERY,National,COFFEE,GROUND COFFEE,12 OZ",
        "3,2,FUEL,National,FUEL,GASOLINE-REG UNLEADED,",
        "9e+05,2,PRODUCE,National,APPLES,APPLES GALA (BULK&BAG),40 LB",
        "5,2,PRODUCE,National,PEARS,PEARS,",
    ],
    "transactions_sample": [
        "household_id,store_id,basket_id,product_id,quantity,sales_value,retail_disc,coupon_disc,coupon_match_disc,week,transaction_timestamp",
        *[f"7,1,{b},1,2,3.00,1.00,0,0,1,2017-01-{b:02d} 19:06:53" for b in range(20, 0, -1)],
        "7,1,30,3,1,9.00,0,0,0,1,2017-01-05 10:00:00",
        "7,1,31,9e+05,1,1.005,0,0,0,1,2017-02-01 10:00:00",
        "8,1,40,2,1,4.00,0,0,0,1,2017-01-06 10:00:00",
    ],
    "coupons": ["coupon_upc,product_id,campaign_id", "100,1,26", "100,2,26", "101,5,26", "102,77,26"],
    "campaigns": ["campaign_id,household_id", "26,7", "26,8"],
    "campaign_descriptions": ["campaign_id,campaign_type,start_date,end_date", "26,Type B,2016-12-28,2017-02-19"],
    "coupon_redemptions": ["household_id,coupon_upc,campaign_id,redemption_date", "7,100,26,2017-01-03"],
}


def write_tables(folder: Path) -> Path:
    """Write the small full tables into a folder."""
    for name, lines in TABLES.items():
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder of small full tables."""
    return write_tables(tmp_path)


@pytest.fixture(scope="module")
def journey() -> Journey:
    """The shipped extract."""
    return load_journey()


def test_shipped_extract_is_small_and_whole(journey: Journey) -> None:
    """The extract fits its limit, has enough households with enough lines, and every coupon's product is there."""
    shipped = [path for path in files("services.shop").joinpath("data").iterdir() if path.name.endswith(".csv.gz")]
    assert sum(len(path.read_bytes()) for path in shipped) <= MAX_BYTES
    households = {line.household_id for line in journey.lines}
    assert 800 <= len(households) <= 1_500
    assert all(coupon.product_id in journey.products for coupon in journey.coupons)
    assert {redemption.household_id for redemption in journey.redemptions} <= households
    assert [line.at_s for line in journey.lines] == sorted(line.at_s for line in journey.lines)


def test_loader_reads_a_full_folder(full: Path) -> None:
    """The same loader reads full tables: scientific ids undone, lines that are no merchandise left out and counted."""
    journey = load_journey(full)
    assert set(journey.products) == {"1", "2", "900000", "5"}
    assert len(journey.lines) == 22
    assert journey.lines_left_out == 1
    first = journey.lines[0]
    assert (first.paid_minor, first.list_minor, first.quantity) == (300, 400, 2)


def test_a_folder_is_played_from_its_first_day_to_its_last(full: Path) -> None:
    """Without dates the span is the source's own; a begin after its last purchase is refused with that day."""
    whole = load_world(full, seed=1, households=None, begin=None, days=None)
    assert (str(whole.begin.date()), str(whole.end.date())) == ("2017-01-01", "2017-02-02")
    assert len(whole.lines) == 22
    some = load_world(full, seed=1, households=None, begin=datetime(2017, 1, 10, tzinfo=UTC), days=2)
    assert {datetime.fromtimestamp(line.at_s, UTC).day for line in some.lines} == {10, 11}
    with pytest.raises(ValueError, match="2017-02-01"):
        load_world(full, seed=1, households=None, begin=datetime(2018, 1, 1, tzinfo=UTC), days=None)


def test_extract_keeps_households_whole(full: Path) -> None:
    """A household with enough lines ships with all of them, another with none; coupons are topped up."""
    lines = gzip.decompress(extract(full)["transactions_sample.csv.gz"]).decode().splitlines()
    assert len(lines) == 1 + 22
    assert all(line.startswith("7,") for line in lines[1:])
    products = gzip.decompress(extract(full)["products.csv.gz"]).decode()
    assert "\n2,2," in products  # couponed, not bought by a chosen household


def test_extract_is_deterministic(full: Path) -> None:
    """The same source gives the same bytes."""
    digests = [{n: hashlib.sha256(b).hexdigest() for n, b in extract(full).items()} for _ in range(2)]
    assert digests[0] == digests[1]


def test_missing_table_is_named(tmp_path: Path) -> None:
    """A folder without the tables is refused by name."""
    with pytest.raises(FileNotFoundError, match=r"products\.csv\.gz"):
        load_journey(tmp_path)


@pytest.mark.parametrize(("text", "cents"), [("3.86", 386), ("1.0", 100), ("0.005", 1), ("-0.50", -50), ("12", 1200)])
def test_money_is_exact(text: str, cents: int) -> None:
    """Dollars become cents without floats, half up."""
    assert minor(text) == cents


def test_round_ids_are_restored() -> None:
    """R writes 900000 as 9e+05."""
    assert whole_id("9e+05") == "900000"
    assert whole_id("25671") == "25671"


def test_no_tobacco_fuel_or_coupons(journey: Journey) -> None:
    """What no shop may advertise is no product."""
    assert all(sellable(product) for product in journey.products.values())
    assert not {"CIGARETTES", "FUEL", "COUPON/MISC ITEMS"} & {p.category for p in journey.products.values()}
