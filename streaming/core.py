"""One record, one customer: fold, triggers and attribution joined. Pure: states in, states and effects out."""

from collections.abc import Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streaming import attribution
from streaming.arms import assign
from streaming.contracts.events import Event
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import REWARDS
from streaming.effects import Fact, Publish, publish
from streaming.open_state import OpenState, Step, Windows
from streaming.profile import fold, fold_strategy
from streaming.reading import Fate, Message
from streaming.reference import Reference
from streaming.row import Row, decode_row, encode_row, remember, remembers
from streaming.rules import Rules

_OPEN = msgspec.json.Decoder(OpenState)
_ENCODER = msgspec.json.Encoder(order="deterministic")
_NOTHING = OpenState()


class State(Struct, frozen=True):
    """Everything kept of one customer."""

    row: Row
    open: OpenState = _NOTHING


class Context(Struct, frozen=True):
    """What a decision may depend on besides the customer.

    Args:
        watermark_ms: of the record's own partition just before it, or the horizon for timers; None: not known yet.
        paused: an operator stopped new strategies.
    """

    reference: Reference
    rules: Rules
    windows: Windows
    watermark_ms: int | None = None
    paused: bool = False


class Result(Struct, frozen=True):
    """The new state, what became of the record, messages in order, facts to count."""

    state: State | None
    fate: Fate
    effects: tuple[Publish, ...] = ()
    facts: tuple[Fact, ...] = ()


def decode_state(row: bytes | None, open_: bytes | None) -> State | None:
    """A customer as stored; None without a row."""
    if row is None:
        return None
    return State(decode_row(row), _OPEN.decode(open_) if open_ else _NOTHING)


def encode_state_row(state: State) -> bytes:
    """The row as stored."""
    return encode_row(state.row)


def encode_open(state: State) -> bytes | None:
    """The open state as stored; None deletes it."""
    return None if state.open.empty else _ENCODER.encode(state.open)


def new_state(user_id: str, rules: Rules) -> State:
    """A customer at first sight: the arm is fixed now."""
    return State(Row(user_id, assign(user_id, rules.shares, rules.arm_salt)))


def wanted(state: State | None) -> Iterable[str]:
    """Products whose price drops concern this customer: wished or carted ones."""
    if state is None:
        return ()
    profile = state.row.profile
    return {*profile.wishlist, *(product for product, line in profile.cart.items() if line.quantity > 0)}


def next_due_ms(state: State, context: Context) -> int | None:
    """When something is due next by itself, event time; None when nothing is."""
    times = [due.at_ms for due in state.row.due]
    closing = attribution.next_due_ms(state.open, context.windows)
    if closing is not None:
        times.append(closing)
    return min(times, default=None)


def on_record(state: State | None, user_id: str, message: Message, context: Context) -> Result:
    """One record of one customer.

    Raises:
        BadEvent: the record can never be folded.
    """
    before = state or new_state(user_id, context.rules)
    if isinstance(message, Strategy):
        return _on_strategy(before, message, context)
    return _on_event(before, message, context)


def on_time(state: State, context: Context) -> Result:
    """What is due at or before `context.watermark_ms`, which must be known."""
    assert context.watermark_ms is not None
    step = attribution.on_time(state.open, context.watermark_ms, context.windows)
    return _with_step(State(state.row, step.state), step, "folded")


def _on_strategy(state: State, strategy: Strategy, context: Context) -> Result:
    if remembers(state.row, strategy.strategy_id):
        return Result(state, "duplicate")
    row = remember(state.row, strategy.strategy_id, context.rules)
    row = replace(row, profile=fold_strategy(row.profile, strategy))
    step = attribution.on_strategy(state.open, strategy, context.watermark_ms or 0, context.windows)
    return _with_step(State(row, step.state), step, "folded")


def _on_event(state: State, event: Event, context: Context) -> Result:
    if remembers(state.row, event.message_id):
        return Result(state, "duplicate")
    row = remember(state.row, event.message_id, context.rules)
    row = replace(row, profile=fold(row.profile, event, context.reference))
    step = Step(state.open)
    if attribution.concerns(event):
        step = attribution.on_event(state.open, event, context.reference, context.watermark_ms or 0, context.windows)
    return _with_step(State(row, step.state), step, "folded")


def _with_step(state: State, step: Step, fate: Fate) -> Result:
    effects = tuple(publish(REWARDS, r.strategy_id, r, r.reward_id) for r in step.rewards)
    return Result(state, fate, effects, ())
