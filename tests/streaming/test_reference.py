"""The snapshot of catalog and campaigns."""

from datetime import UTC, datetime

from streaming.contracts.codec import to_ms
from streaming.reference import Reference, category_of, ranks, snapshot, words_of
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, SHOP


def test_a_record_gives_a_new_snapshot() -> None:
    """A changed price is seen in the new snapshot alone, which shares the index; a new name makes a new index."""
    assert SHOP.in_category("tea")
    cheaper = SHOP.with_product("p1", shop.product(1, price_minor=1))
    assert (cheaper.products["p1"].price_minor, SHOP.products["p1"].price_minor) == (1, 245)
    assert cheaper.index is SHOP.index
    renamed = SHOP.with_product("p1", shop.product(1, name="Zebra"))
    assert renamed.search("zebra", 5) == ("p1",)
    assert SHOP.search("zebra", 5) == ()


def test_a_tombstone_removes() -> None:
    """A removed product or campaign is unknown, in the indexes too; removing it twice is harmless."""
    gone = SHOP.with_product("p1", None).with_product("p1", None).with_campaign("c1", None)
    assert gone.product("p1") is None
    assert gone.campaign("c1") is None
    assert "p1" not in gone.in_category("tea")
    assert len(gone.products) == len(SHOP.products) - 1


def test_reading_record_by_record_equals_a_snapshot() -> None:
    """A catalog read one record at a time gives what one made at once gives."""
    grown = Reference()
    for product in SHOP.products.values():
        grown = grown.with_product(product.product_id, product)
    assert grown.products == SHOP.products
    assert grown.in_category("coffee") == SHOP.in_category("coffee")


def test_categories_are_the_second_level() -> None:
    """A path's second level, or its only one."""
    assert category_of(shop.product(0)) == "coffee"
    assert category_of(shop.product(0, category=("gifts",))) == "gifts"


def test_median_prices_are_per_category_and_currency() -> None:
    """The lower middle price; none for a currency that the category lacks."""
    reference = snapshot([shop.product(n, price_minor=price) for n, price in ((0, 100), (4, 300), (8, 900))])
    assert reference.median_price("coffee", "USD") == 300
    assert reference.median_price("coffee", "EUR") is None


def test_a_category_is_as_thin_as_its_thinnest_product() -> None:
    """The least margin of what is in stock, rounded down; what is sold out or in another currency does not count."""
    made = [(0, 100, 50, 5), (4, 300, 205, 5), (8, 900, 890, 0), (12, 100, 120, 5)]
    products = [shop.product(n, price_minor=p, unit_cost_minor=c, stock=s) for n, p, c, s in made]
    assert snapshot(products[:3]).least_margin_pct("coffee", "USD") == 31  # 95 of 300
    assert snapshot(products).least_margin_pct("coffee", "USD") == -20
    assert snapshot(products).least_margin_pct("coffee", "EUR") == 0


def test_search_prefers_more_words() -> None:
    """Products with all words come before those with some; a query of no known word finds nothing."""
    found = SHOP.search("Alba LAMPS 18", 3)
    assert found[0] == "p18"  # "Alba Lamps number 18"
    assert SHOP.search("xyzzy", 3) == ()
    assert SHOP.search("", 3) == ()
    assert words_of("Fine-Teas, gas!") == {"fine", "tea", "gas"}


def test_popularity_is_a_rank() -> None:
    """Counts become ranks in (0, 1]; equals share one, zero has none."""
    assert ranks({"a": 10, "b": 5, "c": 5, "d": 0}) == {"a": 1.0, "b": 0.5, "c": 0.5}
    known = SHOP.with_popularity({"p1": 3, "p5": 9})
    assert known.popular == known.with_product("p1", shop.product(1, price_minor=1)).popular == ("p5", "p1")
    assert known.popularity("p2") == 0


def test_campaigns_run_between_their_times() -> None:
    """From the start on, until just before the end, of the asked kind."""
    assert [c.campaign_id for c in SHOP.active_campaigns(NOON_MS, "ad")] == ["c1", "c2"]
    start, end = (to_ms(datetime(2026, month, 1, tzinfo=UTC)) for month in (3, 4))
    assert [len(SHOP.active_campaigns(at_ms, "promotion")) for at_ms in (start - 1, start, end - 1, end)] == [
        0,
        1,
        1,
        0,
    ]
