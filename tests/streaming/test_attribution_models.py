"""Attribution models: who gets which part of an order, and what a reward says of it."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from streaming.attribution_models import UNIT, Touch, shares, split
from streaming.contracts.rewards import CurrencyMoney, Reward
from streaming.contracts.strategies import Strategy
from streaming.open_state import DAY_MS, HOUR_MS, Model, Through, Unbooked, Windows
from tests.streaming.attribution_player import Played
from tests.streaming.attribution_samples import WINDOWS, at, echo, order, refund, strategy

ONE, TWO, THREE = strategy(1), strategy(2, hours=1), strategy(3, hours=2)


def touch(name: str, first_ms: int, last_ms: int, through: Through = "click", *, named: bool = False) -> Touch:
    """A touch of strategy `name`, issued at the moment of its letter."""
    return Touch(name, named, through, first_ms, last_ms, ord(name))


def under(model: Model, **more: int) -> Windows:
    """The usual windows under a model."""
    return replace(WINDOWS, model=model, **more)


def clicked_by_three(model: Model, *products: str, price: str = "5.00") -> tuple[Played, dict[str, Reward]]:
    """Three strategies clicked at 3, 4 and 5 hours, an order at 6; their finals by strategy."""
    played = Played(under(model))
    played.feed(ONE, TWO, THREE)
    for n, s in enumerate((ONE, TWO, THREE)):
        played.feed(echo("Promotion Clicked", s, 3 + n))
    played.feed(order("o1", 6, *products, price=price))
    return played, {r.strategy_id: r for r in played.until(100) if r.stage == "final"}


def of(rewards: dict[str, Reward], field: str) -> list[int]:
    """A money field of the three, in order."""
    return [getattr(rewards[s.strategy_id].outcomes, field) for s in (ONE, TWO, THREE)]


@pytest.mark.parametrize(
    ("model", "revenues"),
    [
        ("last_touch", [0, 0, 500]),
        ("first_touch", [500, 0, 0]),
        ("linear", [167, 167, 166]),
        ("time_decay", [162, 167, 171]),
    ],
)
def test_each_model_shares_by_its_rule(model: Model, revenues: list[int]) -> None:
    """The last, the first, all alike, or halved per half-life; what does not divide goes by largest remainder."""
    _, finals = clicked_by_three(model, "p1")
    assert of(finals, "revenue_minor") == revenues
    assert sum(of(finals, "margin_minor")) == 200


def test_a_shared_order_is_one_order() -> None:
    """Each strategy is credited with its part of the order, and pays its part of the offer and of the order's worth."""
    played = Played(under("linear"))
    pair = (strategy(1, "promotion"), strategy(2, "promotion", hours=1))
    played.feed(*pair, *(echo("Promotion Clicked", s, 2) for s in pair), order("o1", 3, "p1"))
    finals = [r for r in played.until(100) if r.stage == "final"]
    assert [(r.outcomes.ordered, r.outcomes.order_credit) for r in finals] == [(True, 0.5)] * 2
    assert [r.components["offer"] for r in finals] == [pytest.approx(-0.1)] * 2
    assert sum(r.components["margin"] for r in finals) == pytest.approx(2.0)


def test_time_decay_halves_per_half_life() -> None:
    """A touch one half-life older weighs half; one that is ages old still weighs something."""
    found = shares([touch("a", 0, 0), touch("b", 10, 10)], 10, "time_decay", 10)
    assert [share.weight for share in found] == [UNIT // 2, UNIT]
    assert shares([touch("a", 0, 0), touch("b", 10**9, 10**9)], 10**9, "time_decay", 10)[0].weight == 1


@pytest.mark.parametrize("model", ["last_touch", "first_touch", "linear", "time_decay"])
def test_the_strongest_touch_takes_all(model: Model) -> None:
    """What the order names comes before clicks, clicks before views, in every model."""
    viewed, clicked = touch("a", 9, 9, "view"), touch("b", 1, 1)
    assert [(s.strategy_id, s.through) for s in shares([viewed, clicked], 10, model, 5)] == [("b", "click")]
    assert [s.strategy_id for s in shares([replace(viewed, named=True), clicked], 10, model, 5)] == ["a"]
    assert shares([], 10, model, 5) == ()


def test_ties_go_to_the_strategy_issued_first() -> None:
    """One unit among two equals goes to the first; shares stand in the order of issue."""
    found = shares([touch("b", 1, 1), touch("a", 1, 1)], 2, "linear", 5)
    assert [share.strategy_id for share in found] == ["a", "b"]
    assert split(1, [share.weight for share in found]) == (1, 0)
    assert split(-3, [1, 1]) == (-2, -1)
    assert split(0, [0, 0]) == (0, 0)


def test_a_reward_says_which_touch_converted() -> None:
    """View-through and click-through are told apart, in the word and in the money."""
    for name, word, viewed in (("Promotion Viewed", "view", 500), ("Promotion Clicked", "click", 0)):
        played = Played()
        played.feed(ONE, echo(name, ONE, 1), order("o1", 2, "p1"))
        final = next(r for r in played.until(100) if r.stage == "final")
        assert (final.outcomes.converted_by, final.outcomes.view_through_minor) == (word, viewed)
        assert final.outcomes.revenue_minor == 500
    untouched = Played()
    untouched.feed(ONE, order("o1", 2, "p1"))
    assert next(r for r in untouched.until(200) if r.stage == "final").outcomes.converted_by == ""


def test_partial_refunds_of_a_shared_order_sum_exactly() -> None:
    """A third of 3.33 comes back in two amounts: the parts of all strategies sum to each, to the unit."""
    played, finals = clicked_by_three("linear", "p1", price="3.33")
    assert of(finals, "revenue_minor") == [111, 111, 111]
    played.feed(refund("o1", 200, total="1.00"), refund("o1", 210, total="0.11"))
    corrections = played.until(220)
    for cause, back in (("refund-o1-200", 100), ("refund-o1-210", 11)):
        changes = [r.money_difference[0].refunded_minor for r in corrections if r.cause == cause]
        assert sum(changes) == back
    last = {r.strategy_id: r.outcomes.refunded_minor for r in corrections}
    assert list(last.values()) == [37, 37, 37]


def test_money_of_each_currency_stands_apart() -> None:
    """An order in euros is credited in euros beside one in dollars, and a cost in yen in yen; nothing is added across."""
    played = Played()
    played.feed(ONE, echo("Promotion Clicked", ONE, 1), order("o1", 2, "p1"), order("o2", 3, "p1", currency="EUR"))
    played.feed(echo("Ad Cost Recorded", ONE, 2, cost=Decimal(7), currency="JPY"))
    played.feed(refund("o2", 90, total="1.00", currency="EUR"))
    final, correction = (r for r in played.until(100) if r.stage != "response")
    assert (final.outcomes.currency, final.outcomes.revenue_minor) == ("USD", 500)
    assert final.outcomes.other_currencies == (
        CurrencyMoney("EUR", revenue_minor=500, margin_minor=125, horizon_margin_minor=125, horizon_orders=1),
        CurrencyMoney("JPY", cost_minor=7),
    )
    assert correction.money_difference == (CurrencyMoney("EUR", refunded_minor=100, refunded_margin_minor=25),)
    assert final.reward == pytest.approx(0.05 + 2.00 - 0.002), (
        "euros and yen are worth nothing to a strategy in dollars"
    )


def test_a_refund_in_another_currency_is_told() -> None:
    """It takes nothing back, whichever of the two is read first, and stands among what could not be booked."""
    back = refund("o1", 3, currency="EUR")
    for records in ((order("o1", 2, "p1"), back), (back, order("o1", 2, "p1"))):
        played = Played()
        played.feed(ONE, echo("Promotion Clicked", ONE, 1), *records)
        assert played.unbooked == [
            Unbooked("refund_currency", "o1", back.message_id, "Order Refunded", at(3), "EUR", "USD")
        ]
        assert next(r for r in played.until(100) if r.stage == "final").outcomes.refunded_minor == 0


def test_a_refund_of_a_settled_order_is_told() -> None:
    """Thirty days after the horizon a refund corrects nothing any more; for thirty days more it is told."""
    played = Played()
    played.feed(ONE, echo("Promotion Clicked", ONE, 0), order("o1", 1, "p1"))
    played.until(72 + 31 * 24)
    assert played.feed(refund("o1", 72 + 31 * 24, "p1")) == []
    assert [each.reason for each in played.unbooked] == ["settled_order"]
    assert played.until(72 + 70 * 24) == []
    assert played.state.empty
    assert played.unmatched == 0


def test_an_order_read_too_late_is_told() -> None:
    """When the strategies of its time are forgotten an order is nobody's: told once, and forgotten."""
    played = Played()
    played.feed(ONE, echo("Promotion Clicked", ONE, 0))
    played.until(72 + 25)
    played.feed(order("o1", 1, "p1"))
    played.until(200)
    assert [(each.reason, each.order_id) for each in played.unbooked] == [("late_order", "o1")]
    assert played.state.empty


def test_an_order_in_time_that_nobody_touched_is_not_told() -> None:
    """Most orders are nobody's; a refund of one is counted, no more."""
    played = Played()
    played.feed(order("o1", 1, "p1"), refund("o2", 2), refund("o1", 3))
    played.until(100)
    assert played.unbooked == []
    assert played.unmatched == 2
    assert played.state.empty


def test_more_orders_than_are_remembered_are_told() -> None:
    """Beyond the bound the oldest order that nobody is credited with leaves, and is told."""
    played = Played(under("last_touch", max_orders=2))
    played.feed(ONE, *(order(f"o{n}", 1 + n, "p2") for n in range(3)))
    played.until(100)
    assert ("too_many_orders", "o0") in [(each.reason, each.order_id) for each in played.unbooked]


def test_shares_are_frozen_when_one_of_them_leaves() -> None:
    """Two share an order; the first is forgotten: what is left to the other is its part, not the whole."""
    played = Played(under("linear", refund_ms=HOUR_MS))
    late = strategy(2, hours=20)
    played.feed(
        ONE, late, echo("Promotion Clicked", ONE, 1), echo("Promotion Clicked", late, 21), order("o1", 22, "p1")
    )
    finals = {r.strategy_id: r.outcomes.revenue_minor for r in played.until(300) if r.stage == "final"}
    assert finals == {ONE.strategy_id: 250, late.strategy_id: 250}
    assert not [r for r in played.rewards if r.stage == "correction"]


def test_costs_beyond_the_bound_are_added_by_currency() -> None:
    """A hundred costs in two currencies: none is lost, none is added to the other's."""
    played, s = Played(), strategy(1, "ad")
    played.feed(s, echo("Promotion Viewed", s, 0))
    for n in range(100):
        for currency in ("USD", "EUR"):
            played.feed(echo("Ad Cost Recorded", s, n / 10, f"{currency}{n}", cost=Decimal("0.01"), currency=currency))
    for n in range(100):
        played.feed(echo("Ad Cost Recorded", s, 80 + n / 10, f"late{n}", cost=Decimal(5), currency="USD"))
    final = next(r for r in played.until(200) if r.stage == "final")
    assert final.outcomes.cost_minor == 100
    assert [(m.currency, m.cost_minor) for m in final.outcomes.other_currencies] == [("EUR", 100)]


@pytest.mark.parametrize("model", ["linear", "time_decay"])
def test_a_late_touch_moves_shares_by_corrections(model: Model) -> None:
    """A click read after the final takes its part of the order from the others: the corrections sum to nothing."""
    played = Played(under(model, half_life_ms=DAY_MS))
    played.feed(ONE, TWO, echo("Promotion Clicked", ONE, 2), echo("Promotion Viewed", TWO, 2), order("o1", 5, "p1"))
    played.until(80)
    corrections = played.feed(echo("Promotion Clicked", TWO, 3))
    assert [r.stage for r in corrections] == ["correction"] * 2
    assert sum(change.revenue_minor for r in corrections for change in r.money_difference) == 0
    assert sum(r.outcomes.revenue_minor for r in corrections) == 500


def test_windows_of_an_order_are_per_kind_and_touch() -> None:
    """Two kinds, a view and a click each: an order counts as long as the kind's window of that touch says."""
    ad = replace(WINDOWS.by_kind["ad"], view_conversion_ms=HOUR_MS, click_conversion_ms=4 * HOUR_MS)
    windows = replace(WINDOWS, by_kind={**WINDOWS.by_kind, "ad": ad})
    cases: list[tuple[Strategy, str, float, int]] = [
        (strategy(1, "ad"), "Promotion Viewed", 1.5, 500),
        (strategy(1, "ad"), "Promotion Viewed", 2.5, 0),
        (strategy(1, "ad"), "Promotion Clicked", 2.5, 500),
        (strategy(1, "ad"), "Promotion Clicked", 5.5, 0),
        (strategy(1), "Promotion Viewed", 5.5, 500),
    ]
    for s, name, hours, revenue in cases:
        played = Played(windows)
        played.feed(s, echo(name, s, 1), order("o1", hours, "p3" if s.kind == "ad" else "p1"))
        assert next(r for r in played.until(100) if r.stage == "final").outcomes.revenue_minor == revenue
