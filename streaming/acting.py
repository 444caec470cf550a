"""What time, prices and campaigns do to one customer. Our own bug there is tried once more alone, then dead-lettered.

There is no record to keep, so the letter names the customer and what was to be done; and nothing stays that would fail
for ever: a timer is taken out of the row, and the index of due times forgets what could not be done. Pure.
"""

from collections.abc import Callable
from functools import partial

from streaming.core import Context, Result, State, next_due_ms, on_closing, on_time, on_timer, without_timer
from streaming.dead_letters import Deed
from streaming.folding import Folding

CLOSING = "closing_windows"


def reach(folding: Folding, user_id: str, act: Callable[[State], Result], deed: Deed) -> None:
    """Act on a customer; nothing happens to one without a row."""
    state = folding.state(user_id)
    if state is None:
        return
    try:
        result = act(state)
    except Exception:  # noqa: BLE001 -- a bug with one customer must not stop the others (law 7)
        _alone(folding, state, act, deed)
    else:
        folding.put(user_id, result)


def fire(folding: Folding, user_id: str, context: Context) -> None:
    """Everything of a customer that is due at `context.watermark_ms`, and when to come back.

    Together at first; after a bug each part alone, so that the one that fails takes no other with it.
    """
    assert context.watermark_ms is not None
    state = folding.state(user_id)
    due_ms = None if state is None else _fired(folding, state, context)
    # The index is written even where the row is as it was: what was found must not be found again now.
    folding.writes.due_ms[user_id] = None if due_ms is None else max(due_ms, context.watermark_ms + 1)


def _fired(folding: Folding, state: State, context: Context) -> int | None:
    """Fire; when something is due next."""
    try:
        result = on_time(state, context)
        due_ms = next_due_ms(result.state, context)
    except Exception:  # noqa: BLE001 -- the same
        return _fired_one_by_one(folding, state, context)
    folding.put(state.row.user_id, result)
    return due_ms


def _fired_one_by_one(folding: Folding, state: State, context: Context) -> int | None:
    now_ms = context.watermark_ms or 0
    closed = _alone(folding, state, partial(_closed, context=context), Deed(CLOSING, "", now_ms))
    for due in [due for due in state.row.due if due.at_ms <= now_ms]:
        latest = folding.state(state.row.user_id) or state
        deed = Deed(due.trigger, due.cause, due.at_ms)
        if not _alone(folding, latest, partial(on_timer, due=due, context=context), deed):
            folding.put(state.row.user_id, Result(without_timer(latest, due), "folded"))
    latest = folding.state(state.row.user_id) or state
    if closed:
        return next_due_ms(latest, context)
    # Windows that cannot be closed stay as they are, for code that can; timers go on without them.
    return min((due.at_ms for due in latest.row.due), default=None)


def _closed(state: State, context: Context) -> Result:
    """Close windows, and show that the next time can be told."""
    result = on_closing(state, context)
    next_due_ms(result.state, context)
    return result


def _alone(folding: Folding, state: State, act: Callable[[State], Result], deed: Deed) -> bool:
    """The last try; whether it went well."""
    try:
        result = act(state)
    except Exception as error:  # noqa: BLE001 -- the same; it is counted, logged and dead-lettered
        folding.own_bug(state.row.user_id, deed, error)
        return False
    folding.put(state.row.user_id, result)
    return True
