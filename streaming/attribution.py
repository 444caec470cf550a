"""(open strategies, strategy or event, watermark) → rewards. Pure.

A reward is published when the window of its outcome has closed on the watermark, never before: early positives
and late negatives would teach optimism. Every call recomputes from the facts, so that topics may be read in any
order; what arrives after its window was published becomes a correction.
"""

from msgspec import Raw
from msgspec.structs import replace

from streaming.attribution_credit import View
from streaming.attribution_facts import echo_of, named, with_echo, with_fact
from streaming.attribution_keep import bounded_early, forget_ms, needed, pruned
from streaming.attribution_late import is_late, is_settled, misfits, remembered
from streaming.attribution_orders import MAX_REVERSALS, Catalog, order_of, reversal_of, with_order, with_reversal
from streaming.attribution_outcomes import (
    ghost,
    opened,
    outcomes,
    responses,
    reward_record,
    same_apart_from_horizon,
)
from streaming.contracts.codec import to_ms
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Event, OrderProperties, ReversalProperties
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.open_state import OpenState, OpenStrategy, Step, Windows

_OUTCOMES = frozenset({OrderProperties, ReversalProperties})


def concerns(event: Event) -> bool:
    """Whether attribution has any use for the event: an order, a reversal, or one that names a strategy."""
    return type(event.properties) in _OUTCOMES or bool(named(event))


def on_strategy(state: OpenState, strategy: Strategy, watermark_ms: int, windows: Windows) -> Step:
    """A record of `strategies`: open it, and join what was read before it."""
    new = opened(strategy, to_ms(strategy.issued_at), to_ms(strategy.valid_until))
    return _with_strategy(state, new, watermark_ms, windows)


def on_ghost(state: OpenState, request: StrategyRequest, watermark_ms: int, windows: Windows) -> Step:
    """A request that the holdout arm did not send: open its ghost."""
    return _with_strategy(state, ghost(request, to_ms(request.issued_at)), watermark_ms, windows)


def on_event(state: OpenState, event: Event, catalog: Catalog, watermark_ms: int, windows: Windows) -> Step:
    """An event of the customer's. What it changes in published rewards is corrected at once.

    Margins are computed now, with the unit costs of the catalog as it is.

    Raises:
        BadEvent: an amount that cannot be minor units of its currency.
    """
    folded = state
    if isinstance(event.properties, OrderProperties):
        order = order_of(event, event.properties, catalog, windows.default_margin_pct)
        if is_late(event, watermark_ms, windows) and not needed(order, state.strategies, View(state, windows)):
            order = replace(order, late=True)
        folded = replace(folded, orders=with_order(folded.orders, order))
    elif isinstance(event.properties, ReversalProperties):
        folded = _reversed(folded, event, event.properties)
    if named(event):
        folded = with_echo(folded, echo_of(event), windows)
    unbooked = misfits(state, folded, event)
    if folded == state:
        return Step(state, unbooked=unbooked)
    step = bounded_early(_corrected(folded, event.message_id, windows, event.at_ms), windows)
    return replace(step, unbooked=unbooked) if unbooked else step


def _reversed(state: OpenState, event: Event, properties: ReversalProperties) -> OpenState:
    """With the reversal; no place is kept for an order that is settled already."""
    order_id = properties.order_id
    reversal = reversal_of(event, properties)
    known = next((order for order in state.orders if order.order_id == order_id), None)
    if known is None and is_settled(state, order_id):
        return state
    if known is not None and len(known.reversals) >= MAX_REVERSALS:
        raise BadEvent(
            "properties.order_id", order_id, f"at most {MAX_REVERSALS} refunds and cancellations of one order"
        )
    return replace(state, orders=with_reversal(state.orders, order_id, reversal))


def on_time(state: OpenState, watermark_ms: int, windows: Windows) -> Step:
    """Close what the watermark has passed: responses, finals, later reversals; then forget what is over."""
    due = next_due_ms(state, windows)
    if due is None or due > watermark_ms:
        return Step(state)
    view = View(state, windows)
    rewards: list[Reward] = []
    kept = tuple(_advanced(s, state, view, watermark_ms, windows, rewards) for s in state.strategies)
    step = pruned(replace(state, strategies=kept), view, tuple(rewards), watermark_ms, windows)
    return replace(step, subjects=_subjects(state, rewards))


def on_merge(state: OpenState, other: OpenState, cause: str, windows: Windows) -> Step:
    """Two customers turned out to be one (`identify`): the facts of both, corrections caused by the merge.

    Args:
        cause: the messageId of the identifying event.
    """
    merged = state
    for strategy in other.strategies:
        if not any(s.strategy_id == strategy.strategy_id for s in merged.strategies):
            merged = _joined(merged, strategy, windows)
    for order in other.orders:
        orders = with_order(merged.orders, order) if order.lines else merged.orders
        for reversal in order.reversals:
            orders = with_reversal(orders, order.order_id, reversal)
        merged = replace(merged, orders=orders)
    for echo in other.early:
        merged = with_echo(merged, echo, windows)
    if other.settled:
        merged = replace(merged, settled=remembered((*merged.settled, *other.settled), 0, windows))
    return bounded_early(_corrected(merged, cause, windows), windows)


def next_due_ms(state: OpenState, windows: Windows) -> int | None:
    """The earliest watermark at which `on_time` has something to do, None when never."""
    if state.empty:
        return None
    view = View(state, windows)
    due = [_due_ms(strategy, view, windows) for strategy in state.strategies]
    due += [echo.at_ms + windows.early_ms for echo in state.early]
    due += [o.at_ms + windows.early_ms for o in state.orders if not needed(o, state.strategies, view)]
    due += [settled.until_ms for settled in state.settled]
    return min(due)


def _with_strategy(state: OpenState, new: OpenStrategy, watermark_ms: int, windows: Windows) -> Step:
    del watermark_ms  # a strategy that comes after its own horizon closes at the next `on_time`
    if any(s.strategy_id == new.strategy_id for s in state.strategies):
        return Step(state)
    return _corrected(_joined(state, new, windows), new.strategy_id, windows)


def _joined(state: OpenState, new: OpenStrategy, windows: Windows) -> OpenState:
    mine = [echo for echo in state.early if echo.strategy_id == new.strategy_id]
    rest = tuple(echo for echo in state.early if echo.strategy_id != new.strategy_id)
    for echo in mine:
        new = with_fact(new, echo, windows)
    strategies = sorted((*state.strategies, new), key=lambda s: (s.issued_ms, s.strategy_id))
    return replace(state, strategies=tuple(strategies), early=rest)


def _corrected(state: OpenState, cause: str, windows: Windows, since_ms: int | None = None) -> Step:
    """Corrections of what has been published already and now reads otherwise.

    Args:
        since_ms: the facts differ from then on at most: what was published up to an earlier moment stands.
    """
    touched = {
        s.strategy_id for s in state.strategies if s.stage == "closed" and (since_ms is None or since_ms < s.cutoff_ms)
    }
    if not touched:
        return Step(state)
    view = View(state, windows)
    rewards: list[Reward] = []
    kept = tuple(
        _recomputed(s, state, view, s.cutoff_ms, cause, windows, rewards) if s.strategy_id in touched else s
        for s in state.strategies
    )
    return Step(replace(state, strategies=kept), tuple(rewards), subjects=_subjects(state, rewards))


def _subjects(state: OpenState, rewards: list[Reward]) -> dict[str, Raw]:
    told = {reward.strategy_id for reward in rewards}
    return {s.strategy_id: s.subject for s in state.strategies if s.strategy_id in told}


def _recomputed(
    strategy: OpenStrategy,
    state: OpenState,
    view: View,
    cutoff_ms: int,
    cause: str,
    windows: Windows,
    rewards: list[Reward],
) -> OpenStrategy:
    """The closed strategy with facts up to `cutoff_ms`; a correction is added to `rewards` where they differ."""
    published = strategy.published
    if strategy.ghost or published is None:
        return strategy
    line, credited = view.of(strategy)
    what = outcomes(strategy, line, credited, state.orders, cutoff_ms)
    if same_apart_from_horizon(what, published):
        return replace(strategy, cutoff_ms=cutoff_ms)
    reward = reward_record(strategy, "correction", what, cutoff_ms, windows.formula, cause)
    rewards.append(reward)
    return replace(strategy, cutoff_ms=cutoff_ms, published=what, reward=reward.reward)


def _advanced(
    strategy: OpenStrategy, state: OpenState, view: View, watermark_ms: int, windows: Windows, rewards: list[Reward]
) -> OpenStrategy:
    """The strategy after every stage that the watermark has passed."""
    line, credited = view.of(strategy)
    if strategy.stage == "open" and not strategy.ghost and watermark_ms >= line.responds_ms:
        rewards.append(
            reward_record(strategy, "response", responses(strategy, line), line.responds_ms, windows.formula)
        )
        strategy = replace(strategy, stage="responded")
    if strategy.stage != "closed" and watermark_ms >= line.closes_ms:
        what = outcomes(strategy, line, credited, state.orders, line.closes_ms)
        final = reward_record(strategy, "final", what, line.closes_ms, windows.formula)
        rewards.append(final)
        strategy = replace(strategy, stage="closed", cutoff_ms=line.closes_ms, published=what, reward=final.reward)
    while strategy.stage == "closed" and (pending := _pending(strategy, view, windows)) is not None:
        at_ms, cause = pending
        if watermark_ms < at_ms + 1:
            break
        strategy = _recomputed(strategy, state, view, at_ms + 1, cause, windows, rewards)
    return strategy


def _pending(strategy: OpenStrategy, view: View, windows: Windows) -> tuple[int, str] | None:
    """The first fact at or after the cutoff of a closed strategy: (moment, messageId)."""
    line, credited = view.of(strategy)
    until_ms = forget_ms(strategy, view, windows)
    times: list[tuple[int, str]] = [(f.at_ms, f.message_id) for f in strategy.facts if f.at_ms < line.closes_ms]
    for each in credited:
        times.append((each.order.at_ms, each.order.message_id))
        times += [(r.at_ms, r.message_id) for r in each.order.reversals]
    later = [moment for moment in times if strategy.cutoff_ms <= moment[0] < until_ms]
    return min(later, default=None)


def _due_ms(strategy: OpenStrategy, view: View, windows: Windows) -> int:
    line = view.timeline(strategy)
    if strategy.stage == "open" and not strategy.ghost:
        return line.responds_ms
    if strategy.stage != "closed":
        return line.closes_ms
    pending = _pending(strategy, view, windows)
    forgotten_ms = forget_ms(strategy, view, windows)
    return forgotten_ms if pending is None else min(pending[0] + 1, forgotten_ms)
