"""How long attribution remembers: what is over leaves the state, and nothing grows without bound. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from streaming.attribution_credit import View
from streaming.contracts.rewards import Reward
from streaming.open_state import Echo, OpenState, OpenStrategy, Order, Step, UnknownStrategy, Windows


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
    orders = [_frozen(order, leaving, view) for order in state.orders]
    orders = [o for o in orders if needed(o, kept, view) or o.at_ms + windows.early_ms > watermark_ms]
    early = tuple(echo for echo in state.early if echo.at_ms + windows.early_ms > watermark_ms)
    unknown = tuple(echo for echo in state.early if echo.at_ms + windows.early_ms <= watermark_ms)
    left = OpenState(tuple(kept), tuple(_bounded_orders(orders, view, windows)), early)
    return Step(left, rewards, _reported(unknown))


def _frozen(order: Order, leaving: set[str], view: View) -> Order:
    owners = {
        each.index: owner
        for owner in leaving
        for each in view.credited.get(owner, [])
        if each.order.order_id == order.order_id
    }
    if not owners:
        return order
    lines = tuple(replace(line, owner=owners.get(i, line.owner)) for i, line in enumerate(order.lines))
    return replace(order, lines=lines)


def _bounded_orders(orders: list[Order], view: View, windows: Windows) -> list[Order]:
    """At most `max_orders`, the newest; an order that somebody is credited with is never given up."""
    credited = {each.order.order_id for lines in view.credited.values() for each in lines}
    spare = [order for order in orders if order.order_id not in credited]
    given_up = {order.order_id for order in spare[: max(len(orders) - windows.max_orders, 0)]}
    return [order for order in orders if order.order_id not in given_up]


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
