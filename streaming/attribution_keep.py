"""How long attribution remembers: what is over leaves the state, and nothing grows without bound. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from streaming.attribution_credit import View
from streaming.attribution_late import late_orders, never_credited, remembered, settled_by
from streaming.contracts.rewards import Reward
from streaming.open_state import (
    Echo,
    OpenState,
    OpenStrategy,
    Order,
    OrderLine,
    Share,
    Step,
    Unbooked,
    UnknownStrategy,
    Windows,
)


def forget_ms(strategy: OpenStrategy, view: View, windows: Windows) -> int:
    """When a closed strategy leaves the state: later where orders may still be reversed."""
    line, credited = view.of(strategy)
    if strategy.ghost:
        return line.closes_ms
    return line.closes_ms + (windows.refund_ms if credited else windows.late_ms)


def needed(order: Order, strategies: Iterable[OpenStrategy], view: View) -> bool:
    """Whether a strategy of the state may still count the order."""
    for strategy in strategies:
        line = view.timeline(strategy)
        if min(strategy.issued_ms, line.opens_ms) <= order.at_ms < line.latest_ms:
            return True
    return False


def pruned(state: OpenState, view: View, rewards: tuple[Reward, ...], watermark_ms: int, windows: Windows) -> Step:
    """The state without what is over; lines keep the owner that leaves, so that nobody inherits them."""
    kept = [s for s in state.strategies if s.stage != "closed" or forget_ms(s, view, windows) > watermark_ms]
    closed = sorted((s for s in kept if s.stage == "closed"), key=lambda s: (s.cutoff_ms, s.strategy_id))
    surplus = {s.strategy_id for s in closed[: max(len(closed) - windows.max_closed, 0)]}
    kept = [s for s in kept if s.strategy_id not in surplus]
    leaving = {s.strategy_id for s in state.strategies} - {s.strategy_id for s in kept}
    frozen = [_frozen(order, leaving, view) for order in state.orders]
    orders = [o for o in frozen if needed(o, kept, view) or o.at_ms + windows.early_ms > watermark_ms]
    early = tuple(echo for echo in state.early if echo.at_ms + windows.early_ms > watermark_ms)
    unknown = tuple(echo for echo in state.early if echo.at_ms + windows.early_ms <= watermark_ms)
    left_ids = {order.order_id for order in orders}
    dropped = [order for order in frozen if order.order_id not in left_ids]
    orders, surplus_orders = _bounded_orders(orders, view, windows)
    gone = [s for s in state.strategies if s.strategy_id in leaving]
    settled, after_all = settled_by(gone, view, windows)
    settled = remembered((*state.settled, *settled), watermark_ms, windows)
    free = never_credited(dropped, view)
    left = OpenState(tuple(kept), tuple(orders), early, settled)
    return Step(
        left,
        rewards,
        _reported(unknown),
        after_all + late_orders(free) + surplus_orders,
        sum(len(order.reversals) for order in free),
    )


def _frozen(order: Order, leaving: set[str], view: View) -> Order:
    """The order with the shares of every line that one who leaves was credited with; the others keep theirs."""
    shares = {
        each.index: each.shares
        for owner in leaving
        for each in view.credited.get(owner, [])
        if each.order.order_id == order.order_id
    }
    if not shares:
        return order
    lines = tuple(_owned(line, shares[i]) if i in shares else line for i, line in enumerate(order.lines))
    return replace(order, lines=lines)


def _owned(line: OrderLine, shares: tuple[Share, ...]) -> OrderLine:
    return replace(line, owner=shares[0].strategy_id) if len(shares) == 1 else replace(line, shares=shares)


def _bounded_orders(orders: list[Order], view: View, windows: Windows) -> tuple[list[Order], tuple[Unbooked, ...]]:
    """At most `max_orders`, the newest; an order that somebody is credited with is never given up."""
    surplus = len(orders) - windows.max_orders
    if surplus <= 0:
        return orders, ()
    credited = {each.order.order_id for lines in view.credited.values() for each in lines}
    given_up = [order for order in orders if order.order_id not in credited][:surplus]
    told = (
        Unbooked("too_many_orders", o.order_id, o.message_id, "Order Completed", o.at_ms) for o in given_up if o.lines
    )
    return [order for order in orders if order not in given_up], tuple(told)


def bounded_early(step: Step, windows: Windows) -> Step:
    """At most `max_early` outcomes wait; the oldest are given up as unknown."""
    early = step.state.early
    surplus = max(len(early) - windows.max_early, 0)
    if not surplus:
        return step
    state = replace(step.state, early=early[surplus:])
    return replace(step, state=state, unknown=step.unknown + _reported(early[:surplus]))


def _reported(echoes: tuple[Echo, ...]) -> tuple[UnknownStrategy, ...]:
    return tuple(UnknownStrategy(e.strategy_id, e.message_id, e.name, e.at_ms) for e in echoes)
