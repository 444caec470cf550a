"""Attribution: ghosts, what comes early or twice, what is kept and for how long."""

import msgspec

from streaming.attribution import concerns, on_ghost, on_merge
from streaming.contracts.events import Event
from streaming.contracts.strategies import Strategy
from streaming.open_state import HOUR_MS, UnknownStrategy
from tests.streaming.attribution_player import Played, only
from tests.streaming.attribution_samples import WINDOWS, at, echo, order, refund, request, strategy


def test_early_outcomes_wait_for_their_strategy() -> None:
    """A click and an order read before the strategy's record count as if they had come after it."""
    late, early, s = Played(), Played(), strategy(1)
    records = [echo("Promotion Viewed", s, 1), echo("Promotion Clicked", s, 1.5), order("o1", 2, "p1")]
    late.feed(s, *records)
    early.feed(*records, s)
    assert early.until(200) == late.until(200)
    assert early.unknown == []


def test_unknown_strategy_is_reported_once_its_time_is_over() -> None:
    """An event that names a strategy that never comes is a fact for the edge, and leaves the state."""
    played, ghostly = Played(), strategy(9)
    played.feed(echo("Promotion Clicked", ghostly, 1, "m1"))
    assert played.until(6.9) == []
    assert played.unknown == []
    played.until(7)
    assert played.unknown == [UnknownStrategy(ghostly.strategy_id, "m1", "Promotion Clicked", at(1))]
    assert played.state.empty


def test_early_outcomes_are_bounded_in_number() -> None:
    """Beyond the bound the oldest outcome without a strategy is given up and reported."""
    played = Played(msgspec.structs.replace(WINDOWS, max_early=2))
    played.feed(*(echo("Promotion Clicked", strategy(n), n, f"m{n}") for n in (3, 1, 2)))
    assert [u.message_id for u in played.unknown] == ["m1"]
    assert len(played.state.early) == 2


def test_ghost_closes_once_with_the_margin_of_all_orders() -> None:
    """The holdout's window opens when it would have been asked: a final without decision, nothing else."""
    played = Played()
    played.state = on_ghost(played.state, request(1), at(0), WINDOWS).state
    played.feed(order("o1", 1, "p2"), order("o2", 71, "p3"), order("o3", 73, "p1"), refund("o2", 71.5))
    final = only(played.until(300), "final")
    assert final.ghost
    assert final.decision == {}
    assert final.policy is None
    assert final.propensity is None
    assert final.reward == 0.0
    assert (final.outcomes.horizon_margin_minor, final.outcomes.horizon_orders) == (200, 2)
    assert not final.outcomes.ordered
    assert played.state.empty


def test_the_same_record_twice_changes_nothing() -> None:
    """Strategies, echoes, orders and reversals are idempotent by their ids."""
    played, s = Played(), strategy(1)
    records: list[Event | Strategy] = [s, echo("Promotion Clicked", s, 1), order("o1", 2, "p1"), refund("o1", 3, "p1")]
    played.feed(*records)
    state = played.state
    played.feed(*records)
    assert played.state == state


def test_state_is_bounded_in_time() -> None:
    """Without orders a closed strategy is forgotten after a day, with orders after the time for refunds.

    That its order is settled is remembered as long again.
    """
    played, s, t = Played(), strategy(1), strategy(2, kind="ad")
    played.feed(s, t, echo("Promotion Clicked", s, 0), echo("Promotion Viewed", t, 0), order("o1", 1, "p1"))
    played.until(72 + 24)
    assert [x.strategy_id for x in played.state.strategies] == [s.strategy_id]
    played.until(72 + 30 * 24)
    assert (played.state.strategies, played.state.orders) == ((), ())
    assert [each.order_id for each in played.state.settled] == ["o1"]
    played.until(72 + 60 * 24)
    assert played.state.empty


def test_a_forgotten_strategy_leaves_its_lines_to_nobody() -> None:
    """When the owner of a line is forgotten, another strategy does not inherit the line."""
    windows = msgspec.structs.replace(WINDOWS, refund_ms=HOUR_MS)
    played, first, second = Played(windows), strategy(1), strategy(2, hours=20)
    played.feed(first, second, echo("Promotion Viewed", second, 20), echo("Promotion Clicked", first, 22))
    played.feed(echo("Promotion Viewed", first, 1), order("o1", 30, "p1"))
    finals = {r.strategy_id: r.outcomes.margin_minor for r in played.until(300) if r.stage == "final"}
    assert finals == {first.strategy_id: 200, second.strategy_id: 0}
    assert not [r for r in played.rewards if r.stage == "correction"]


def test_many_views_are_kept_as_a_few() -> None:
    """A strategy shown a hundred times keeps the first and the latest exposures."""
    played, s = Played(), strategy(1)
    played.feed(s, *(echo("Promotion Viewed", s, n / 10, f"v{n}") for n in range(100)))
    facts = played.state.strategies[0].facts
    assert len(facts) == 64
    assert (facts[0].message_id, facts[-1].message_id) == ("v0", "v99")


def test_merging_customers_joins_their_facts() -> None:
    """An order of the anonymous customer counts for the strategy of the identified one."""
    s = strategy(1)
    known, anonymous = Played(), Played()
    known.feed(s, echo("Promotion Clicked", s, 1))
    anonymous.feed(order("o1", 2, "p1"), refund("o1", 3, "p1"))
    known.state = on_merge(known.state, anonymous.state, "identified", WINDOWS).state
    final = next(r for r in known.until(200) if r.stage == "final")
    assert (final.outcomes.margin_minor, final.outcomes.refunded_margin_minor) == (200, 200)


def test_attribution_has_no_use_for_most_events() -> None:
    """Only orders, reversals and events that name a strategy concern attribution."""
    s = strategy(1)
    assert concerns(order("o1", 1, "p1"))
    assert concerns(refund("o1", 1))
    assert concerns(echo("Promotion Viewed", s, 1))
    assert not concerns(echo("Promotion Viewed", msgspec.structs.replace(s, strategy_id=""), 1))
