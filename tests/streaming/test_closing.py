"""What attribution's steps say to the outside: an outcome of a strategy that never came is explained, not counted twice."""

import json

import pytest
from msgspec.structs import replace

from streaming.closing import told
from streaming.core import Context, State, on_record, on_time
from streaming.effects import Fact
from streaming.folding import Folding
from streaming.open_state import HOUR_MS, Step, Unbooked, UnknownStrategy, Windows
from streaming.row import Row
from streaming.rules import Rules
from tests.streaming.attribution_samples import SHELF, START_MS, at, echo, strategy

CONTEXT = Context(SHELF, Rules(), Windows(), watermark_ms=START_MS)
CLICK = echo("Promotion Clicked", strategy(9), 1, "m1")


def test_an_outcome_of_an_unknown_strategy_is_dead_lettered() -> None:
    """Hours after it was folded a letter names field, value and what was wanted, with the event's envelope."""
    read = on_record(None, "u1", CLICK, CONTEXT)
    assert read.fate == "folded"
    assert "dead-letters" not in {effect.topic for effect in read.effects}
    late = on_time(read.state, replace(CONTEXT, watermark_ms=at(7)))
    [letter] = [effect for effect in late.effects if effect.topic == "dead-letters"]
    headers = {name: value.decode() for name, value in letter.headers}
    unknown_id = strategy(9).strategy_id
    assert (letter.key, headers["reason"], headers["blame"]) == (b"u1", "unknown_strategy", "sender")
    assert (headers["field"], headers["value"]) == ("properties.strategy_id", unknown_id)
    assert headers["wanted"] == "a strategy of this customer that is remembered, or read within 6 h"
    assert json.loads(letter.value or b"") == {
        "messageId": "m1", "type": "track", "event": "Promotion Clicked", "userId": "u1",
        "timestamp": "2025-10-09T09:53:20Z", "properties": {"strategy_id": unknown_id},
    }  # fmt: skip
    assert late.state.open.empty


@pytest.mark.parametrize(
    ("unbooked", "field", "value", "wanted"),
    [
        (
            Unbooked("settled_order", "o1", "m1", "Order Refunded", START_MS),
            "properties.order_id",
            "o1",
            "an order whose strategy closed less than 30 days ago",
        ),
        (
            Unbooked("refund_currency", "o1", "m1", "Order Refunded", START_MS, "EUR", "USD"),
            "properties.currency",
            "EUR",
            "USD, the currency of order o1",
        ),
        (
            Unbooked("late_order", "o1", "m1", "Order Completed", START_MS),
            "timestamp",
            "2025-10-09T08:53:20+00:00",
            "an order read within 24 h, while strategies of its time are remembered",
        ),
        (
            Unbooked("too_many_orders", "o1", "m1", "Order Completed", START_MS),
            "properties.order_id",
            "o1",
            "at most 200 orders of a customer within open windows",
        ),
    ],
)
def test_money_that_no_reward_holds_is_dead_lettered(unbooked: Unbooked, field: str, value: str, wanted: str) -> None:
    """A letter names the order, what is wrong with it and what was wanted; it is counted by its reason."""
    said = told(Step(State(Row("u1", "fused")).open, unbooked=(unbooked,), unmatched=3), "u1", Windows())
    [letter] = said.effects
    headers = {name: text.decode() for name, text in letter.headers}
    assert (headers["reason"], headers["field"], headers["value"], headers["wanted"]) == (
        unbooked.reason, field, value, wanted,
    )  # fmt: skip
    assert json.loads(letter.value or b"")["properties"] == {"order_id": "o1"}
    assert Fact("unbooked_outcomes", {"reason": unbooked.reason}) in said.facts
    assert Fact("dead_letters", {"reason": unbooked.reason}) in said.facts
    assert Fact("unmatched_reversals", value=3.0) in said.facts


def test_such_a_letter_is_no_second_fate() -> None:
    """It is a fact among the dead letters and adds nothing to the books: its event was counted as folded."""
    state = on_record(None, "u1", CLICK, CONTEXT).state
    folded = Folding({"u1": state})
    folded.put("u1", on_time(state, replace(CONTEXT, watermark_ms=at(7))))
    assert not folded.writes.counts
    assert Fact("dead_letters", {"reason": "unknown_strategy"}) in folded.facts
    assert Fact("unknown_strategies") in folded.facts


def test_nobody_can_send_it_again() -> None:
    """Without an origin it is left alone: the event itself is remembered, and would be a duplicate."""
    late = on_time(on_record(None, "u1", CLICK, CONTEXT).state, replace(CONTEXT, watermark_ms=at(7)))
    headers = dict(next(effect.headers for effect in late.effects if effect.topic == "dead-letters"))
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"", b"-1", b"-1")


def test_the_same_outcome_makes_the_same_letter() -> None:
    """A replay repeats its bytes and its id; another message has another id."""
    steps = [
        Step(State(Row("u1", "fused")).open, (), (UnknownStrategy("s", m, "Promotion Viewed", at(1)),)) for m in "aab"
    ]
    one, again, other = (told(step, "u1", Windows(early_ms=HOUR_MS)).effects[0] for step in steps)
    assert one == again
    assert one.id != other.id
