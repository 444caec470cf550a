"""One record, one customer: fold, triggers and attribution joined. Pure: states in, states and effects out."""

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streaming import attribution, triggers
from streaming.arms import assign
from streaming.asking import NOTHING_SAID, ask
from streaming.closing import told
from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.events import Event, OrderProperties
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import REQUESTS, SUPPRESSIONS
from streaming.contracts.tracing import headers_of
from streaming.effects import Fact, Publish, merge_intent, publish
from streaming.open_state import OpenState, Step, Windows, decode_open
from streaming.profile import fold, fold_strategy
from streaming.reading import Fate, Message
from streaming.reference import Reference
from streaming.retention import known
from streaming.row import Due, Row, decode_row, encode_row, remember, remembers
from streaming.rules import Rules

_ENCODER = msgspec.json.Encoder(order="deterministic")
_NOTHING = OpenState()


class State(Struct, frozen=True, gc=False):
    """Everything kept of one customer."""

    row: Row
    open: OpenState = _NOTHING


class Context(Struct, frozen=True):
    """What a decision may depend on besides the customer.

    Args:
        watermark_ms: of the record's own partition just before it, or the horizon for timers; None: not known yet.
        wall_ms: the wall clock in live mode, by which staleness is judged; None in replay, where the stream's is.
        paused: an operator stopped new strategies.
        said: fates of moments that were published although the store forgot them, by request id.
        traceparent: of the record that is folded; empty where it said none.
    """

    reference: Reference
    rules: Rules
    windows: Windows
    watermark_ms: int | None = None
    wall_ms: int | None = None
    paused: bool = False
    said: Mapping[str, str] = NOTHING_SAID
    traceparent: str = ""

    def now_ms(self, at_ms: int) -> int:
        """The time it is when something that happened at `at_ms` is decided on."""
        return max(at_ms, self.wall_ms or self.watermark_ms or 0)


class Result(Struct, frozen=True, gc=False):
    """The new state, what became of the record, messages in order, facts to count.

    Args:
        ordered: units ordered per product, for the products' popularity.
    """

    state: State
    fate: Fate
    effects: tuple[Publish, ...] = ()
    facts: tuple[Fact, ...] = ()
    ordered: tuple[tuple[str, int], ...] = ()


def decode_state(row: bytes | None, open_: bytes | None) -> State | None:
    """A customer as stored; None without a row.

    Raises:
        NewerRow: a newer program wrote it.
    """
    if row is None:
        return None
    return State(decode_row(row), decode_open(open_) if open_ else _NOTHING)


def encode_state_row(state: State) -> bytes:
    """The row as stored."""
    return encode_row(state.row)


def encode_open(state: State) -> bytes | None:
    """The open state as stored; None deletes it."""
    return None if state.open.empty else _ENCODER.encode(state.open)


def new_state(user_id: str, rules: Rules) -> State:
    """A customer at first sight: the arm is fixed now."""
    return State(Row(user_id, assign(user_id, rules.shares, rules.arm_salt)))


def known_state(state: State | None, user_id: str, at_ms: int | None, rules: Rules) -> State:
    """The customer as they count at a time: a new one where nothing was known, or too long ago."""
    if state is not None and not rules.profile_retention_days:
        return state
    row = None if state is None else known(state.row, at_ms, rules)
    if state is None or row is state.row:
        return state or new_state(user_id, rules)
    return State(row or new_state(user_id, rules).row, state.open)


def wanted(state: State | None) -> Iterable[str]:
    """Products whose price drops concern this customer: wished or carted ones."""
    return () if state is None else triggers.watched(state.row)


def may_want_otherwise(before: State, after: State) -> bool:
    """Whether what `wanted` reads is another now; most events touch neither cart nor wishlist."""
    was, now = before.row.profile, after.row.profile
    same = was.cart is now.cart and was.wishlist is now.wishlist and was.emptied is now.emptied
    return not same or before.row.state != after.row.state


def timed(state: State, rules: Rules) -> State:
    """The customer with the timers that profile and memory imply: once after any number of records."""
    row = triggers.with_timers(state.row, rules)
    return state if row is state.row else State(row, state.open)


def next_due_ms(state: State, context: Context) -> int | None:
    """When something is due next by itself, event time; None when nothing is, or no more in this row."""
    if state.row.alias_of is not None:
        return None
    times = [due.at_ms for due in state.row.due]
    closing = attribution.next_due_ms(state.open, context.windows)
    if closing is not None:
        times.append(closing)
    return min(times, default=None)


def on_record(state: State | None, user_id: str, message: Message, context: Context) -> Result:
    """One record of one customer. Timers stay as they were: they follow from the profile alone, and are set by `timed`.

    Raises:
        BadEvent: the record can never be folded.
    """
    before = known_state(state, user_id, context.watermark_ms, context.rules)
    if isinstance(message, Strategy):
        return _on_strategy(before, message, context)
    return _on_event(before, message, context)


def on_time(state: State, context: Context) -> Result:
    """What is due at or before `context.watermark_ms`, which must be known: closing windows, then timers."""
    assert context.watermark_ms is not None
    result = on_closing(state, context)
    for due in [due for due in _timers(state.row) if due.at_ms <= context.watermark_ms]:
        fired = on_timer(result.state, due, context)
        result = replace(fired, effects=(*result.effects, *fired.effects), facts=(*result.facts, *fired.facts))
    return result


def _timers(row: Row) -> tuple[Due, ...]:
    """Timers that may fire here: those of a row that is being merged fire in the user's."""
    return row.due if row.alias_of is None else ()


def on_closing(state: State, context: Context) -> Result:
    """Close the windows that the watermark has passed.

    None in an anonymous row that is being merged: they close in the user's row, and once only.
    """
    if state.row.alias_of is not None:
        return Result(state, "folded")
    step = attribution.on_time(state.open, context.watermark_ms or 0, context.windows)
    return _done(State(state.row, step.state), "folded", context, step)


def on_timer(state: State, due: Due, context: Context) -> Result:
    """Fire one timer; nothing where the row no longer has it."""
    row, moments = triggers.on_due(state.row, due, context.watermark_ms or 0, context.rules)
    return _done(State(row, state.open), "folded", context, None, moments)


def without_timer(state: State, due: Due) -> State:
    """The customer without a timer that cannot be fired."""
    return replace(state, row=triggers.without(state.row, due))


def on_price(state: State, product: Product, context: Context) -> Result:
    """A catalog price; a drop is told once, also where it was told by a suppression."""
    now_ms = context.now_ms(0)
    moments = triggers.on_price_drop(state.row, product, now_ms, context.rules)
    result = _done(state, "folded", context, None, moments)
    if not moments:
        return result
    asked = result.state.row.asked
    prices = asked.price_minor | {product.product_id: product.price_minor}
    row = replace(result.state.row, asked=replace(asked, price_minor=prices))
    return replace(result, state=replace(result.state, row=row))


def on_campaign(state: State, campaign: Campaign, rank: int, context: Context) -> Result:
    """A campaign has started; `rank` is the customer's place in the fan-out."""
    row = triggers.with_campaign(state.row, campaign, rank, context.now_ms(0), context.rules)
    return Result(state if row is state.row else replace(state, row=row), "folded")


def _on_strategy(state: State, strategy: Strategy, context: Context) -> Result:
    if remembers(state.row, strategy.strategy_id):
        return Result(state, "duplicate")
    row = remember(state.row, strategy.strategy_id, context.rules)
    if not row.erased:
        row = replace(row, profile=fold_strategy(row.profile, strategy))
    step = attribution.on_strategy(state.open, strategy, context.watermark_ms or 0, context.windows)
    return _done(State(row, step.state), "folded", context, step)


def _on_event(state: State, event: Event, context: Context) -> Result:
    before, rules = state.row, context.rules
    if remembers(before, event.message_id):
        return Result(state, "duplicate")
    if before.erased:
        return Result(State(remember(before, event.message_id, rules), state.open), "folded")
    profile = fold(before.profile, event, context.reference)
    row = remember(before, event.message_id, rules, profile)
    moments = triggers.on_event(before, row, event, rules)
    if not attribution.concerns(event):
        after = State(row, state.open)
        result = _done(after, "folded", context, None, moments) if moments else Result(after, "folded")
    else:
        step = attribution.on_event(state.open, event, context.reference, context.watermark_ms or 0, context.windows)
        result = _done(State(row, step.state), "folded", context, step, moments)
        if isinstance(event.properties, OrderProperties):
            return replace(result, ordered=_units(event.properties))
    if event.name == "identify" and event.anonymous_id:
        intent = merge_intent(row.user_id, event.anonymous_id, event.message_id, event.at_ms)
        return replace(result, effects=(*result.effects, intent))
    return result


def _units(order: OrderProperties) -> tuple[tuple[str, int], ...]:
    units: Counter[str] = Counter()
    for line in order.products:
        units[line.product_id] += line.quantity
    return tuple(units.items())


def _done(
    state: State, fate: Fate, context: Context, step: Step | None, moments: Iterable[triggers.Moment] = ()
) -> Result:
    """Publish what attribution closed, and ask for (or suppress) every moment."""
    if step is None and not moments:
        return Result(state, fate)
    closed = told(step, state.row.user_id, context.windows, mixed_arms=state.row.mixed_arms)
    effects, facts = list(closed.effects), list(closed.facts)
    for moment in moments:
        state = _asked(state, moment, context, effects, facts)
    return Result(state, fate, tuple(effects), tuple(facts))


def _asked(state: State, moment: triggers.Moment, context: Context, effects: list[Publish], facts: list[Fact]) -> State:
    now_ms = context.now_ms(moment.at_ms)
    answer = ask(state.row, moment, context.reference, now_ms, context.rules, context.paused, context.said)
    open_ = state.open
    request, suppression = answer.request, answer.suppression
    if suppression is not None:
        effects.append(publish(SUPPRESSIONS, suppression.user_id, suppression, suppression.suppression_id))
        facts.append(Fact("suppressions", {"reason": suppression.reason, "trigger": suppression.trigger}))
        if request is not None:
            open_ = attribution.on_ghost(open_, request, context.watermark_ms or 0, context.windows).state
    elif request is not None:
        if context.traceparent:
            request = replace(request, traceparent=context.traceparent)
        headers = headers_of(request, request.request_id)
        effects.append(publish(REQUESTS, request.user_id, request, request.request_id, headers))
        facts.append(Fact("requests", {"kind": request.kind, "trigger": request.trigger, "arm": request.arm}))
    return State(answer.row, open_)
