"""Orders and reversals, exact in minor units."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.attribution_orders import Money, order_of, sold, taken_back, with_order, with_reversal
from streaming.contracts.events import Line, OrderProperties
from streaming.open_state import Order, OrderLine, Reversal
from tests.streaming.attribution_player import Played
from tests.streaming.attribution_samples import SHELF, echo, event, order, refund, strategy


def line(product_id: str, quantity: int, price: int, margin: int) -> OrderLine:
    """A line of an order."""
    return OrderLine(product_id, quantity, price, margin)


def back(
    units: dict[str, int] | None = None, amount: int | None = None, at_ms: int = 5, currency: str = "USD"
) -> Reversal:
    """A reversal at time 5."""
    return Reversal(f"r{units}{amount}{at_ms}", at_ms, currency, units or {}, amount)


def sale(*lines: OrderLine, reversals: tuple[Reversal, ...] = ()) -> Order:
    """An order at time 1."""
    return Order("o1", 1, "m1", "USD", lines, reversals)


def test_margins_come_from_the_catalog() -> None:
    """A known product earns price less cost, an unknown one the default share; a missing price is the catalog's."""
    lines = (Line("p1", 2, Decimal("4.50")), Line("p9", 1, Decimal("4.50")), Line("p2"), Line("p8"))
    wanted = OrderProperties("o1", "USD", lines)
    made = order_of(event("Order Completed", 1, wanted, "m1"), wanted, SHELF, 25)
    assert [(each.unit_price_minor, each.unit_margin_minor) for each in made.lines] == [
        (450, 150),
        (450, 112),
        (500, 200),
        (0, 0),
    ]
    assert sold(made.lines[0]) == Money(900, 300)


def test_lines_know_the_campaigns_that_offer_them() -> None:
    """A campaign offers its products; without products its categories; without either, everything."""
    sale_event = order("o1", 1, "p1", "p3", "p9")
    lines = order_of(sale_event, sale_event.properties, SHELF, 25).lines  # type: ignore[arg-type]  # an order's properties
    assert [each.campaigns for each in lines] == [("k2", "k3"), ("k1", "k3"), ()]


def test_a_promoted_category_sells_its_products() -> None:
    """An order of a promoted category is credited with every line of that category, and with no other."""
    played, s = Played(), strategy(1, "promotion", product="coffee")
    played.feed(s, echo("Promotion Viewed", s, 1), echo("Promotion Clicked", s, 2), order("o1", 3, "p1", "p2", "p3"))
    (final,) = (reward for reward in played.until(100) if reward.stage == "final")
    assert (final.outcomes.revenue_minor, final.outcomes.margin_minor) == (1000, 400)


def test_a_reversal_long_before_its_order_takes_nothing_back() -> None:
    """Clocks may disagree by an hour; a refund dated a day before its order is not of it."""
    hour = 3600 * 1000
    for dated, lost in ((-hour, 30), (-24 * hour, 0)):
        sold_at_one = sale(line("a", 1, 100, 30), reversals=(back(at_ms=1 + dated),))
        assert taken_back(sold_at_one, 6)[0].margin_minor == lost


def test_another_currency_earns_the_default_share() -> None:
    """A cost in dollars says nothing about a price in yen."""
    wanted = OrderProperties("o1", "JPY", (Line("p1", 1, Decimal(800)),))
    made = order_of(event("Order Completed", 1, wanted, "m1"), wanted, SHELF, 25)
    assert made.lines[0].unit_margin_minor == 200


def test_named_units_take_back_their_own_margin() -> None:
    """Three of five units come back; asking for more than was bought takes back what was bought."""
    bought = (line("a", 5, 100, 30), line("b", 1, 999, 500))
    assert taken_back(sale(*bought, reversals=(back({"a": 3}),)), 6) == (Money(300, 90), Money(0, 0))
    assert taken_back(sale(*bought, reversals=(back({"a": 3}), back({"a": 3}, at_ms=4))), 6)[0] == Money(500, 150)


def test_the_whole_order_comes_back_once() -> None:
    """A cancellation after a partial refund takes back no more than everything."""
    bought = (line("a", 5, 100, 30), line("b", 1, 999, 500))
    both = taken_back(sale(*bought, reversals=(back({"a": 3}), back())), 6)
    assert both == (Money(500, 150), Money(999, 500))


def test_an_amount_is_spread_by_revenue_and_sums_exactly() -> None:
    """Ten of three lines at 10, 10 and 13: the parts sum to ten."""
    bought = tuple(line(name, 1, price, price) for name, price in (("a", 10), ("b", 10), ("c", 13)))
    parts = taken_back(sale(*bought, reversals=(back(amount=10),)), 6)
    assert sum(part.revenue_minor for part in parts) == 10


def test_a_reversal_in_another_currency_takes_nothing_back() -> None:
    """There is no exchange rate in the stream."""
    assert taken_back(sale(line("a", 1, 100, 30), reversals=(back(currency="EUR"),)), 6) == (Money(),)


def test_later_reversals_are_not_seen() -> None:
    """Only what happened before the moment counts."""
    assert taken_back(sale(line("a", 1, 100, 30), reversals=(back(at_ms=6),)), 6) == (Money(),)


@settings(derandomize=True, deadline=None)
@given(
    lines=st.lists(
        st.builds(line, st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 999), st.integers(-99, 999)),
        min_size=1,
        max_size=4,
    ),
    reversals=st.lists(
        st.builds(
            back,
            st.none() | st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), max_size=2),
            st.integers(0, 5000),
            st.integers(2, 9),
        ),
        max_size=5,
    ),
)
def test_reversals_never_take_back_more_than_was_sold(lines: list[OrderLine], reversals: list[Reversal]) -> None:
    """Money taken back grows with every reversal and ends at what was sold, line by line."""
    last = (Money(),) * len(lines)
    for count in range(len(reversals) + 1):
        parts = taken_back(sale(*lines, reversals=tuple(reversals[:count])), 10)
        assert sum(p.revenue_minor for p in parts) >= sum(p.revenue_minor for p in last)
        for part, each in zip(parts, lines, strict=True):
            assert 0 <= part.revenue_minor <= sold(each).revenue_minor
        last = parts
    everything = taken_back(sale(*lines, reversals=(*reversals, back())), 10)
    assert everything == tuple(sold(each) for each in lines)


def test_a_refund_keeps_a_place_for_its_order() -> None:
    """A refund read before its order is joined when the order comes; repeats change nothing."""
    early, sale_event = refund("o1", 2, "p1"), order("o1", 1, "p1")
    reversal = Reversal(early.message_id, early.at_ms, "USD", {"p1": 1})
    orders = with_reversal((), "o1", reversal)
    assert orders[0].lines == ()
    orders = with_order(orders, order_of(sale_event, sale_event.properties, SHELF, 25))  # type: ignore[arg-type]  # an order's properties
    assert orders[0].reversals == (reversal,)
    assert with_reversal(orders, "o1", reversal) == orders


def test_the_earliest_event_of_an_order_is_the_order() -> None:
    """An order id that comes again later changes nothing; one that comes again earlier replaces it."""
    made = [order_of(e, e.properties, SHELF, 25) for e in (order("o1", 2, "p1"), order("o1", 1, "p1", "p2"))]  # type: ignore[arg-type]  # an order's properties
    assert with_order((made[0],), made[1]) == with_order((made[1],), made[0]) == (made[1],)
