"""What time, prices and campaigns do: our own bug gets one more try alone, then a letter, and nothing fails for ever."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from streaming import attribution, core, folding, triggers
from streaming.acting import CLOSING, fire, reach
from streaming.core import Context, Result, State, on_price, on_record
from streaming.dead_letters import Deed
from streaming.effects import Publish
from streaming.folding import Folding
from streaming.open_state import Windows
from streaming.row import Due, Row
from tests.streaming import attribution_samples
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import HOUR_MS, MINUTE_MS, NOON_MS, RULES, SHOP

LATER_MS = NOON_MS + 62 * MINUTE_MS
CONTEXT = Context(SHOP, RULES, Windows(), watermark_ms=LATER_MS)
CARTED = shop.run(shop.search("tea", NOON_MS + 50 * MINUTE_MS), shop.about("Product Added", 1, NOON_MS, price="2.45"))[
    0
]
"""Two timers are due an hour later: a cart, and a search without a click; and one in a month."""


def on_strategy() -> State:
    """The customer with a strategy whose response window closes at once."""
    made = replace(attribution_samples.strategy(1), user_id="u1")
    return on_record(State(CARTED), "u1", made, replace(CONTEXT, watermark_ms=0)).state


def failing(real: Callable[..., Any], *, times: int, when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    """The real thing with a bug that passes after some times."""
    left = [times]

    def buggy(*args: Any) -> Any:
        if left[0] and when(*args):
            left[0] -= 1
            raise ZeroDivisionError("ours")
        return real(*args)

    return buggy


def letters(folded: Folding) -> list[tuple[dict[str, Any], dict[str, bytes]]]:
    """Value and headers of what was dead-lettered."""
    found = [entry for entry in folded.writes.outbox if entry.topic == "dead-letters"]
    return [(json.loads(letter.value or b""), dict(letter.headers)) for letter in found]


def asked(folded: Folding) -> list[str]:
    """Triggers of what was asked or suppressed."""
    said: list[Publish] = [entry for entry in folded.writes.outbox if entry.topic.startswith("strategy.")]
    return [json.loads(entry.value or b"")["trigger"] for entry in said if entry.topic != "strategy.rewards"]


def is_cart(_row: Row, due: Due, *_: Any) -> bool:
    """Whether it is the cart's timer."""
    return due.trigger == "cart_abandoned"


def test_a_timers_bug_that_passes_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed once and tried again alone, both timers have fired, and nobody is told of anything."""
    monkeypatch.setattr(triggers, "on_due", failing(triggers.on_due, times=1, when=is_cart))
    folded = Folding({"u1": State(CARTED)})
    fire(folded, "u1", CONTEXT)
    assert sorted(asked(folded)) == ["cart_abandoned", "search_without_click"]
    assert letters(folded) == []
    assert [fact.name for fact in folded.facts].count("bugs") == 0


@pytest.mark.parametrize(("times", "told"), [(1, []), (2, ["timers"])])
def test_a_bug_in_setting_timers_is_tried_once_more(
    monkeypatch: pytest.MonkeyPatch, times: int, told: list[str]
) -> None:
    """One that passes is no loss; one that does not is told of, and the row is written all the same."""
    monkeypatch.setattr(folding, "timed", failing(core.timed, times=times))
    folded = Folding({"u1": None})
    folded.changed["u1"] = State(CARTED)
    folded.settle(CONTEXT)
    assert [value["deed"] for value, _ in letters(folded)] == told
    assert folded.writes.rows["u1"] is not None


def test_a_timer_that_fails_twice_is_dead_lettered_and_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The letter says which timer of whom and why; the others fire; neither row nor index holds it any more."""
    monkeypatch.setattr(triggers, "on_due", failing(triggers.on_due, times=9, when=is_cart))
    folded = Folding({"u1": State(CARTED)})
    fire(folded, "u1", CONTEXT)
    folded.settle(CONTEXT)
    assert asked(folded) == ["search_without_click"]
    [(value, headers)] = letters(folded)
    assert value == {
        "userId": "u1", "deed": "cart_abandoned", "cause": "2026-03-02T13:00:00+00:00", "at": "2026-03-02T13:00:00+00:00",
    }  # fmt: skip
    assert (headers["reason"], headers["blame"], headers["field"]) == (b"bug", b"us", b"cart_abandoned")
    assert (headers["topic"], headers["offset"]) == (b"", b"-1")
    assert b"ZeroDivisionError: ours" in headers["traceback"]
    assert sorted(fact.name for fact in folded.facts if fact.name in {"bugs", "dead_letters"}) == [
        "bugs",
        "dead_letters",
    ]
    after = folded.changed["u1"].row
    assert [due.trigger for due in after.due] == ["dormant_customer"]
    assert folded.writes.due_ms["u1"] == after.due[0].at_ms
    assert [due.trigger for due in triggers.with_timers(after, RULES).due] == ["dormant_customer"]


def test_windows_that_cannot_be_closed_hold_up_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers fire all the same; the open strategy is kept as it is, and the index asks for it no more."""
    monkeypatch.setattr(attribution, "on_time", failing(attribution.on_time, times=9))
    state = on_strategy()
    folded = Folding({"u1": state})
    fire(folded, "u1", CONTEXT)
    assert sorted(asked(folded)) == ["cart_abandoned", "search_without_click"]
    assert [headers["field"] for _, headers in letters(folded)] == [CLOSING.encode()]
    after = folded.changed["u1"]
    assert after.open == state.open
    assert folded.writes.due_ms["u1"] == after.row.due[0].at_ms


def test_who_has_no_row_leaves_the_index() -> None:
    """A due time without a customer is taken out and does nothing."""
    folded = Folding({"u1": None})
    fire(folded, "u1", CONTEXT)
    assert folded.writes.due_ms == {"u1": None}
    assert not folded.changed


def test_a_price_that_trips_our_bug_stops_no_other_customer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two customers trips it twice and is dead-lettered with the deed; the other is asked."""
    is_u1: Callable[..., bool] = lambda row, *_: row.user_id == "u1"  # noqa: E731 -- one line says it
    monkeypatch.setattr(triggers, "on_price_drop", failing(triggers.on_price_drop, times=9, when=is_u1))
    folded = Folding({user: State(replace(CARTED, user_id=user)) for user in ("u1", "u2")})
    cheaper = shop.product(1, price_minor=100)
    for user in ("u1", "u2"):
        reach(folded, user, partial(on_price, product=cheaper, context=CONTEXT), Deed("price_drop", "p1@100", LATER_MS))
    assert asked(folded) == ["price_drop"]
    [(value, headers)] = letters(folded)
    assert (value["userId"], value["deed"], value["cause"]) == ("u1", "price_drop", "p1@100")
    assert headers["reason"] == b"bug"


def test_a_second_try_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes at the second try is done, once."""
    monkeypatch.setattr(triggers, "on_price_drop", failing(triggers.on_price_drop, times=1))
    folded = Folding({"u1": State(CARTED)})
    cheaper = shop.product(1, price_minor=100)
    reach(folded, "u1", partial(on_price, product=cheaper, context=CONTEXT), Deed("price_drop", "p1@100", LATER_MS))
    assert asked(folded) == ["price_drop"]
    assert letters(folded) == []


def test_a_due_time_that_cannot_be_told_does_not_stop_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is written, the index is left as it was, and the bug is told."""
    monkeypatch.setattr(folding, "next_due_ms", failing(core.next_due_ms, times=9))
    folded = Folding({"u1": State(CARTED)})
    folded.put("u1", Result(State(replace(CARTED, arm="critic")), "folded"))
    folded.settle(replace(CONTEXT, watermark_ms=NOON_MS + HOUR_MS))
    assert "u1" in folded.writes.rows
    assert "u1" not in folded.writes.due_ms
    assert [headers["field"] for _, headers in letters(folded)] == [b"due_time"]


def test_timers_that_cannot_be_set_do_not_stop_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row is written with the timers it had, those of others are set, and the bug is told."""
    real = core.timed
    monkeypatch.setattr(folding, "timed", failing(real, times=9, when=lambda state, _: state.row.user_id == "u1"))
    folded = Folding({"u1": State(CARTED), "u2": None})
    for user in ("u1", "u2"):
        event = replace(shop.viewed(2, NOON_MS + HOUR_MS), user_id=user)
        folded.put(user, on_record(folded.state(user), user, event, CONTEXT))
    folded.settle(CONTEXT)
    assert folded.changed["u1"].row.due == CARTED.due
    assert len(folded.changed["u1"].row.profile.views) == 1
    assert [due.trigger for due in folded.changed["u2"].row.due] == ["dormant_customer"]
    assert folded.writes.rows.keys() == {"u1", "u2"}
    assert [headers["field"] for _, headers in letters(folded)] == [b"timers"]
