"""Attribution: laws over any order in which records may be read."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.attribution import next_due_ms, on_event, on_ghost, on_strategy, on_time
from streaming.attribution_outcomes import same_apart_from_horizon
from streaming.contracts.events import Event, OrderProperties
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.open_state import DAY_MS, OpenState, Windows
from tests.streaming.attribution_samples import SHELF, WINDOWS, at, echo, order, refund, request, strategy

Record = Event | Strategy | StrategyRequest
PATIENT = msgspec.structs.replace(WINDOWS, late_ms=60 * DAY_MS, refund_ms=60 * DAY_MS, early_ms=60 * DAY_MS)
END_MS = at(24 * 200)

STRATEGIES = (strategy(1), strategy(2, "ranking", hours=10), strategy(3, "promotion", hours=30, valid_h=5))
hours = st.integers(0, 150 * 4).map(lambda quarter: quarter / 4)


@st.composite
def histories(draw: st.DrawFn) -> list[Record]:
    """A customer's strategies, a ghost, echoes, orders, refunds: each with its own id, in no order."""
    records: list[Record] = [*STRATEGIES, request(9, hours=5)]
    for n in range(draw(st.integers(0, 8))):
        s = draw(st.sampled_from(STRATEGIES))
        shown, clicked = (
            ("Product List Viewed", "Product Clicked")
            if s.kind == "ranking"
            else ("Promotion Viewed", "Promotion Clicked")
        )
        name = draw(st.sampled_from([shown, shown, clicked, "Email Opened", "Unsubscribed"]))
        after = (s.issued_at.timestamp() * 1000 - at(0)) / 3_600_000
        records.append(echo(name, s, after + draw(hours) / 2, f"e{n}"))
    for n in range(draw(st.integers(0, 4))):
        products = draw(st.lists(st.sampled_from(["p1", "p2", "p3", "p9"]), min_size=1, max_size=3))
        records.append(order(f"o{n}", draw(hours), *products))
    for n in range(draw(st.integers(0, 4))):
        back: dict[str, Any] = draw(st.sampled_from([{}, {"total": "1.37"}, {"total": "99.00"}]))
        named = draw(st.lists(st.sampled_from(["p1", "p3"]), max_size=2)) if not back else []
        of = f"o{draw(st.integers(0, 3))}"
        records.append(refund(of, draw(hours) * 2, *named, message_id=f"r{n}", **back))
    return records


def moment(record: Record) -> int:
    """The record's event time."""
    return record.at_ms if isinstance(record, Event) else round(record.issued_at.timestamp() * 1000)


def replay(records: list[Record], windows: Windows, *, lateness_ms: int = 0) -> list[Reward]:
    """Read in the given order; the watermark follows what is still to come, or runs ahead by `lateness_ms`."""
    state = OpenState()
    rewards: list[Reward] = []
    for position, record in enumerate(records):
        ahead = min(moment(later) for later in records[position:])
        watermark_ms = min(ahead + lateness_ms, END_MS)
        step = on_time(state, watermark_ms, windows)
        rewards += step.rewards
        if isinstance(record, Strategy):
            step = on_strategy(step.state, record, watermark_ms, windows)
        elif isinstance(record, StrategyRequest):
            step = on_ghost(step.state, record, watermark_ms, windows)
        else:
            step = on_event(step.state, record, SHELF, watermark_ms, windows)
        state = step.state
        rewards += step.rewards
    while (due := next_due_ms(state, windows)) is not None:
        step = on_time(state, due, windows)
        rewards += step.rewards
        state = step.state
    assert state.empty
    return rewards


def by_id(rewards: list[Reward]) -> dict[str, Reward]:
    """The rewards by id, each id once."""
    found = {reward.reward_id: reward for reward in rewards}
    assert len(found) == len(rewards)
    return found


@settings(derandomize=True, deadline=None, max_examples=150)
@given(history=histories(), data=st.data())
def test_any_order_gives_the_same_rewards(history: list[Record], data: st.DataObject) -> None:
    """Whatever the interleaving, with nothing later than the watermark: the same ids, stages, values, components."""
    in_time = replay(sorted(history, key=moment), WINDOWS)
    shuffled = replay(data.draw(st.permutations(history)), WINDOWS)
    assert by_id(shuffled) == by_id(in_time)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(history=histories(), lateness_h=st.integers(1, 24 * 40), data=st.data())
def test_corrections_sum_to_the_whole(history: list[Record], lateness_h: int, data: st.DataObject) -> None:
    """However late records come, final plus differences is what a reader in time would have published."""
    in_time = replay(sorted(history, key=moment), PATIENT)
    late = replay(data.draw(st.permutations(history)), PATIENT, lateness_ms=lateness_h * 3_600_000)
    by_id(late)
    for s in STRATEGIES:
        wanted = [r for r in in_time if r.strategy_id == s.strategy_id and r.stage != "response"]
        found = [r for r in late if r.strategy_id == s.strategy_id and r.stage != "response"]
        assert same_apart_from_horizon(found[-1].outcomes, wanted[-1].outcomes)
        assert abs(found[0].reward + sum(r.difference for r in found[1:]) - wanted[-1].reward) < 1e-9


@settings(derandomize=True, deadline=None, max_examples=100)
@given(history=histories())
def test_no_line_is_credited_twice(history: list[Record]) -> None:
    """The strategies' attributed margins together never exceed what the customer's orders brought."""
    finals = [r for r in replay(sorted(history, key=moment), WINDOWS) if r.stage == "final"]
    said = [r.properties for r in history if isinstance(r, Event)]
    orders = {each.order_id: each for each in said if isinstance(each, OrderProperties)}
    lines = sum(len(each.products) for each in orders.values())
    assert sum(r.outcomes.revenue_minor for r in finals) <= 500 * lines
    for reward in finals:
        assert abs(sum(reward.components.values()) - reward.reward) < 1e-9
