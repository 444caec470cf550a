"""Of composed names, prices and campaigns."""

from datetime import UTC, datetime

import pytest

from services.shop.catalog import price_drops, unit_prices
from services.shop.source import Line
from services.shop.words import brand_name, readable, size_label, type_label
from services.shop.world import World
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import decode, encode


def test_names_read_like_product_names(world: World) -> None:
    """No abbreviation, parenthesis or shouting of the hierarchy reaches a customer."""
    names = [product.name for product in world.catalog.values()]
    assert not [name for name in names if any(bad in name for bad in ("FRZN", "(", "/", "  ", "Frzn"))]
    assert all(name.strip() and not name.isupper() for name in names)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("FRZN BAGGED VEGETABLES - PLAIN", "frozen bagged vegetables plain"),
        ("CANDY BARS (SINGLES)(INCLUDING", "candy bars"),
        ("SFT DRNK 2 LITER BTL CARB INCL", "soft drink 2 liter bottle"),
    ],
)
def test_hierarchy_becomes_words(source: str, words: str) -> None:
    """Abbreviations are written out and keeper's remarks dropped."""
    assert readable(source) == words


def test_vague_types_name_their_category() -> None:
    """`PREMIUM` alone says nothing; `premium ice cream` does."""
    assert type_label("PREMIUM", "ICE CREAM/MILK/SHERBTS") == "premium ice cream"


def test_sizes_are_readable() -> None:
    """Units are written small, crates are no customer's size."""
    assert [size_label(s) for s in ("10.5 OZ", "12 CT", ".5 L", "40 LB", "GAL", "")] == [
        "10.5 oz",
        "12 count",
        "0.5 L",
        "",
        "1 gal",
        "",
    ]


def test_brands_are_stable_and_own_labels_apart() -> None:
    """A manufacturer keeps its invented brand; own labels have the shop's."""
    assert brand_name("544", "National", "GROCERY") == brand_name("544", "National", "DELI")
    assert brand_name("69", "Private", "PRODUCE") == "Fresh Corner"


def test_price_is_the_median_unit_list_price() -> None:
    """Of 300, 400 and 1000 for two units (500 each) the median is 400."""
    lines = [Line("1", "1", "9", q, 1, p, 0, 0.0) for q, p in ((1, 300), (1, 400), (2, 1000))]
    assert unit_prices(lines) == {"9": 400}


def test_records_survive_the_wire_and_earn_margin(world: World) -> None:
    """Every catalog and campaign record decodes to itself; cost lies below price wherever price allows."""
    for product in world.catalog.values():
        assert decode(encode(product), Product) == product
        assert product.unit_cost_minor < product.price_minor or product.price_minor <= 1
    for campaign in world.campaigns.values():
        assert decode(encode(campaign), Campaign) == campaign
        assert {creative.language for creative in campaign.creatives} == {"en", "zh"}
        assert set(campaign.product_ids) <= set(world.catalog)


def test_drops_lower_the_price_but_never_below_cost(world: World) -> None:
    """A drop is below the price and not below the cost, and the same day repeats it."""
    day = datetime(2017, 11, 7, tzinfo=UTC)
    drops = price_drops(world.catalog, day, seed=7)
    assert drops
    assert drops == price_drops(world.catalog, day, seed=7)
    for drop in drops:
        product = world.catalog[drop.product_id]
        assert product.unit_cost_minor <= drop.price_minor < product.price_minor
