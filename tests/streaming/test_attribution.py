"""Attribution: windows, stages, credit, corrections."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from streaming.contracts.codec import decode, encode, instant
from streaming.contracts.ids import reward_id
from streaming.contracts.kinds import Grammar
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Slot
from streaming.open_state import HOUR_MS, KindWindows, Windows
from tests.streaming.attribution_player import Played, only
from tests.streaming.attribution_samples import WINDOWS, at, echo, order, refund, strategy


def test_response_then_final_when_their_windows_close() -> None:
    """A click is published when the click window closes, the order at the horizon, neither before."""
    played, s = Played(), strategy(1)
    assert played.feed(s, echo("Promotion Viewed", s, 1), echo("Promotion Clicked", s, 2), order("o1", 3, "p1")) == []
    assert played.until(24.99) == []
    response = only(played.until(25), "response")
    assert response.outcomes.clicked
    assert not response.outcomes.ordered
    assert response.reward == pytest.approx(0.05 - 0.002)
    assert played.until(72.99) == []
    final = only(played.until(73), "final")
    assert final.closed_at == instant(at(73))
    assert (final.outcomes.revenue_minor, final.outcomes.margin_minor) == (500, 200)
    assert final.reward == pytest.approx(0.05 + 2.00 - 0.002)
    assert final.reward == pytest.approx(sum(final.components.values()))
    assert final.reward_id == reward_id(s.strategy_id, "final")
    assert final.request == s.request
    assert final.policy == s.policy


def test_unseen_closes_with_the_default_reward() -> None:
    """A strategy nobody saw closes counted from `valid_until`, shown false, at the price of its message."""
    played, s = Played(), strategy(1)
    played.feed(s, order("o1", 30, "p1"))
    assert only(played.until(48), "response").outcomes.shown is False
    final = only(played.until(96), "final")
    assert not final.outcomes.shown
    assert not final.outcomes.ordered
    assert final.reward == pytest.approx(-0.002)
    assert (final.outcomes.horizon_margin_minor, final.outcomes.horizon_orders) == (200, 1)


def test_unseen_ad_costs_nothing_and_a_seen_one_its_exposure() -> None:
    """An ad is paid per exposure; what the ad server recorded replaces the price list."""
    played, seen, unseen, paid = Played(), strategy(1, "ad"), strategy(2, "ad"), strategy(3, "ad")
    played.feed(seen, unseen, paid, *(echo("Promotion Viewed", s, 1) for s in (seen, paid)))
    played.feed(echo("Ad Cost Recorded", paid, 1, cost=Decimal("0.07"), currency="USD"))
    finals = {r.strategy_id: r for r in played.until(200) if r.stage == "final"}
    assert finals[unseen.strategy_id].reward == 0.0
    assert finals[seen.strategy_id].reward == pytest.approx(-0.02 * 1.5)
    assert finals[paid.strategy_id].outcomes.cost_minor == 7
    assert finals[paid.strategy_id].reward == pytest.approx(-0.07)


def test_windows_are_half_open() -> None:
    """A click at the very end of its window is outside; one a millisecond before is inside."""
    played, s, t = Played(), strategy(1), strategy(2)
    for each in (s, t):
        played.feed(each, echo("Promotion Viewed", each, 0))
    played.feed(echo("Promotion Clicked", s, 24), echo("Promotion Clicked", t, 24 - 1 / HOUR_MS))
    clicked = {r.strategy_id: r.outcomes.clicked for r in played.until(24)}
    assert clicked == {s.strategy_id: False, t.strategy_id: True}


def test_windows_are_per_kind() -> None:
    """Each kind has its own windows."""
    windows = Windows(by_kind={**WINDOWS.by_kind, "ranking": KindWindows(HOUR_MS, 2 * HOUR_MS, HOUR_MS, HOUR_MS)})
    played, s, t = Played(windows), strategy(1, "ranking"), strategy(2)
    played.feed(s, t, echo("Product List Viewed", s, 0), echo("Promotion Viewed", t, 0))
    assert [(r.kind, r.stage) for r in played.until(2)] == [("ranking", "response"), ("ranking", "final")]


def test_response_window_may_not_outlast_the_horizon() -> None:
    """A response is published before its final, so its window cannot be the longer one."""
    with pytest.raises(ValueError, match="longer than horizon_ms"):
        KindWindows(2 * HOUR_MS, HOUR_MS, HOUR_MS, HOUR_MS)


def test_line_is_credited_once_clicked_beats_shown() -> None:
    """Of two strategies for one product the clicked one gets the line, though the other was seen later."""
    played, clicked, seen = Played(), strategy(1), strategy(2, hours=1)
    played.feed(clicked, seen, echo("Promotion Clicked", clicked, 2), echo("Promotion Viewed", seen, 3))
    played.feed(order("o1", 4, "p1"))
    margins = {r.strategy_id: r.outcomes.margin_minor for r in played.until(200) if r.stage == "final"}
    assert margins == {clicked.strategy_id: 200, seen.strategy_id: 0}


def test_last_touch_wins_among_equals() -> None:
    """Of two clicked strategies the one clicked last before the order gets the line; later clicks do not count."""
    played, first, second = Played(), strategy(1), strategy(2)
    played.feed(first, second)
    played.feed(echo("Promotion Clicked", first, 1), echo("Promotion Clicked", second, 2))
    played.feed(order("o1", 3, "p1"), echo("Promotion Clicked", first, 4))
    margins = {r.strategy_id: r.outcomes.margin_minor for r in played.until(200) if r.stage == "final"}
    assert margins == {first.strategy_id: 0, second.strategy_id: 200}


def test_the_shops_own_credit_comes_first() -> None:
    """An order that names a strategy that was touched is credited to it."""
    played, first, second = Played(), strategy(1), strategy(2)
    played.feed(first, second)
    played.feed(echo("Promotion Viewed", first, 1), echo("Promotion Clicked", second, 2))
    played.feed(order("o1", 3, "p1", strategy_id=first.strategy_id))
    margins = {r.strategy_id: r.outcomes.margin_minor for r in played.until(200) if r.stage == "final"}
    assert margins == {first.strategy_id: 200, second.strategy_id: 0}


@pytest.mark.parametrize(
    ("kind", "shown", "bought", "margin"),
    [
        ("recommendation", "Promotion Viewed", ("p1", "p2"), 200),
        ("ranking", "Product List Viewed", ("p1", "p2", "p3"), 600),
        ("ad", "Promotion Viewed", ("p1", "p3"), 200),
        ("promotion", "Promotion Viewed", ("p2",), 0),
    ],
)
def test_each_kind_is_credited_with_what_it_sells(kind: str, shown: str, bought: tuple[str, ...], margin: int) -> None:
    """A product sells itself, a ranking its category and its pinned product, an ad its campaign's products."""
    played, s = Played(), strategy(1, kind)  # type: ignore[arg-type]  # a kind by its name
    played.feed(s, echo(shown, s, 1), order("o1", 2, *bought))
    final = next(r for r in played.until(200) if r.stage == "final")
    assert final.outcomes.margin_minor == margin
    assert final.outcomes.horizon_margin_minor == 200 * len(bought)


def test_a_view_converts_for_less_long_than_a_click() -> None:
    """An order 30 hours after a view is not the view's; after a click it is the click's."""
    for touch, margin in (("Promotion Viewed", 0), ("Promotion Clicked", 200)):
        played, s = Played(), strategy(1)
        played.feed(s, echo(touch, s, 1), order("o1", 31, "p1"))
        final = next(r for r in played.until(200) if r.stage == "final")
        assert final.outcomes.margin_minor == margin


def test_offer_is_paid_once_per_order() -> None:
    """Free shipping costs the order; the discount, ten percent of 5.00, stands beside the margin at full price."""
    played, s = Played(), strategy(1, "promotion")
    played.feed(s, echo("Promotion Clicked", s, 1), order("o1", 2, "p1", price="4.50"))
    final = next(r for r in played.until(200) if r.stage == "final")
    assert (final.outcomes.margin_minor, final.outcomes.discount_minor) == (150, 50)
    assert final.components["margin"] == pytest.approx(2.00)
    assert final.components["discount"] == pytest.approx(-0.50)
    assert final.components["offer"] == pytest.approx(-0.20)


def test_refund_after_the_final_is_a_correction_in_event_time_order() -> None:
    """Refunds after the horizon are corrected when the watermark has passed them; differences sum to the whole."""
    played, s = Played(), strategy(1)
    played.feed(s, echo("Promotion Clicked", s, 1), order("o1", 2, "p1", "p1"))
    final = next(r for r in played.until(80) if r.stage == "final")
    assert final.outcomes.margin_minor == 400
    # Read in the other order, and not published before the watermark has passed them.
    assert played.feed(refund("o1", 100, "p1"), refund("o1", 90, "p1")) == []
    corrections = played.until(101)
    assert [r.stage for r in corrections] == ["correction", "correction"]
    assert [r.outcomes.refunded_margin_minor for r in corrections] == [200, 400]
    assert [r.cause for r in corrections] == ["refund-o1-90", "refund-o1-100"]
    assert [r.difference for r in corrections] == [pytest.approx(-2.0), pytest.approx(-2.0)]
    assert final.reward + sum(r.difference for r in corrections) == pytest.approx(corrections[-1].reward)
    assert corrections[0].reward_id == reward_id(s.strategy_id, "correction", "refund-o1-90")


def test_refund_within_the_horizon_is_in_the_final() -> None:
    """A refund before the horizon needs no correction."""
    played, s = Played(), strategy(1)
    played.feed(s, echo("Promotion Clicked", s, 1), refund("o1", 9), order("o1", 2, "p1"))
    final = only([r for r in played.until(300) if r.stage != "response"], "final")
    assert (final.outcomes.margin_minor, final.outcomes.refunded_margin_minor) == (200, 200)
    assert final.outcomes.ordered
    assert final.outcomes.refunded
    assert final.outcomes.refunded_at == instant(at(9))
    assert final.outcomes.horizon_margin_minor == 0


def test_late_click_and_order_inside_the_window_correct_at_once() -> None:
    """What happened inside the window but arrives after the final corrects it, each under its own id."""
    played, s = Played(), strategy(1)
    played.feed(s, echo("Promotion Viewed", s, 1))
    final = next(r for r in played.until(80) if r.stage == "final")
    clicked = only(played.feed(echo("Promotion Clicked", s, 2, "late-click")), "correction")
    assert clicked.difference == pytest.approx(0.05)
    ordered = only(played.feed(order("o1", 50, "p1")), "correction")
    assert ordered.outcomes.margin_minor == 200
    assert final.reward + clicked.difference + ordered.difference == pytest.approx(ordered.reward)
    assert played.feed(echo("Promotion Clicked", s, 60, "too-late")) == []


def test_late_exposure_moves_the_windows() -> None:
    """A strategy closed as unseen is corrected when its exposure turns up, and its orders with it."""
    played, s = Played(), strategy(1)
    played.feed(s, order("o1", 40, "p1"))
    assert [r.stage for r in played.until(97)] == ["response", "final"]
    seen = only(played.feed(echo("Promotion Viewed", s, 39)), "correction")
    assert seen.outcomes.shown
    assert seen.outcomes.margin_minor == 200
    # The horizon is now 39 + 72 = 111: what is still to come is corrected as time passes it.
    assert only(played.feed(echo("Promotion Clicked", s, 50)), "correction").outcomes.clicked


def test_unsubscription_and_complaint_cost() -> None:
    """Leaving and complaining count until the horizon."""
    played, s = Played(), strategy(1)
    played.feed(s, echo("Email Opened", s, 1), echo("Unsubscribed", s, 30), echo("Email Marked as Spam", s, 31))
    final = next(r for r in played.until(100) if r.stage == "final")
    assert final.outcomes.shown
    assert final.components["unsubscribe"] == -1.0
    assert final.components["complaint"] == -3.0


def test_a_declared_kind_is_answered_by_its_own_events() -> None:
    """Its grammar says what shows it and what answers it; other kinds' events say nothing; its windows are `others`."""
    grammar = Grammar(
        ("place",), closed={"place": ("p1", "door")}, shown_event="Email Opened", click_event="Product Added"
    )
    request = replace(strategy(1).request, kind="poster", slots=(Slot("place", ("p1", "door")),), grammar=grammar)
    s = replace(strategy(1), kind="poster", request=request, decision={"place": "p1"})
    played = Played(replace(WINDOWS, others=KindWindows(2 * HOUR_MS, 4 * HOUR_MS, 4 * HOUR_MS, HOUR_MS)))
    played.feed(s, echo("Promotion Clicked", s, 0.5), echo("Email Opened", s, 1), echo("Product Added", s, 2))
    played.feed(order("o1", 2.5, "p1"))  # sells the product whose id its closed value happens to be
    response, final = played.until(5)
    assert (response.outcomes.shown, response.outcomes.clicked) == (True, True)
    assert response.closed_at == instant(at(3))
    assert (final.kind, final.outcomes.shown_at, final.outcomes.ordered) == ("poster", instant(at(1)), False)
    assert final.request == request
    assert decode(encode(final), Reward) == final
