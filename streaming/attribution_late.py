"""Money that no reward can book any more is said, not lost: refunds of settled orders, orders read too late. Pure."""

from collections.abc import Iterable

from msgspec.structs import replace

from streaming.attribution_credit import View
from streaming.contracts.events import Event, OrderProperties, ReversalProperties
from streaming.open_state import OpenState, OpenStrategy, Order, Reversal, Settled, Unbooked, Windows

REVERSED = "Order Refunded"
"""What a letter calls a refund and a cancellation alike: it is the money that is told."""


def is_late(event: Event, watermark_ms: int, windows: Windows) -> bool:
    """Whether strategies of the event's time may have been forgotten when it is read."""
    return event.at_ms + windows.late_ms < watermark_ms


def misfits(before: OpenState, after: OpenState, event: Event) -> tuple[Unbooked, ...]:
    """Reversals that this order or reversal shows to be unbookable: of a settled order, or in another currency."""
    if isinstance(event.properties, OrderProperties):
        order_id = event.properties.order_id
        known, order = _order(before, order_id), _order(after, order_id)
        if known is None or order is None or known.lines:
            return ()
        return tuple(_in_other_currency(order, r) for r in order.reversals if r.currency != order.currency)
    if not isinstance(event.properties, ReversalProperties):
        return ()
    if is_settled(before, event.properties.order_id):
        return (Unbooked("settled_order", event.properties.order_id, event.message_id, REVERSED, event.at_ms),)
    order = _order(after, event.properties.order_id)
    if order is None or not order.lines or event.properties.currency == order.currency:
        return ()
    reversal = next(r for r in order.reversals if r.message_id == event.message_id)
    return (_in_other_currency(order, reversal),)


def is_settled(state: OpenState, order_id: str) -> bool:
    """Whether a strategy that was credited with the order has left, so that its reward cannot be corrected."""
    return any(settled.order_id == order_id for settled in state.settled)


def settled_by(
    leaving: Iterable[OpenStrategy], view: View, windows: Windows
) -> tuple[tuple[Settled, ...], tuple[Unbooked, ...]]:
    """The orders of strategies that leave, remembered as long again as refunds were waited for.

    And their reversals that were read already though they happened after that: as if they had been read in time.
    """
    found: list[Settled] = []
    early: dict[str, Unbooked] = {}
    for strategy in leaving:
        line, credited = view.of(strategy)
        left_ms, until_ms = line.closes_ms + windows.refund_ms, line.closes_ms + 2 * windows.refund_ms
        for order in {each.order.order_id: each.order for each in credited}.values():
            found.append(Settled(order.order_id, until_ms))
            for each in order.reversals:
                if left_ms <= each.at_ms < until_ms:
                    early[each.message_id] = _of_settled(order, each)
    return tuple(found), tuple(early[message_id] for message_id in sorted(early))


def remembered(settled: Iterable[Settled], watermark_ms: int, windows: Windows) -> tuple[Settled, ...]:
    """One entry per order, without those whose time is over; the longest to keep where there are too many."""
    latest: dict[str, int] = {}
    for each in settled:
        if each.until_ms > watermark_ms:
            latest[each.order_id] = max(each.until_ms, latest.get(each.order_id, 0))
    kept = sorted((until_ms, order_id) for order_id, until_ms in latest.items())[-windows.max_orders :]
    return tuple(Settled(order_id, until_ms) for until_ms, order_id in kept)


def never_credited(dropped: Iterable[Order], view: View) -> list[Order]:
    """Of the orders that leave, those that nobody was ever credited with, and places whose order never came."""
    free = [order for order in dropped if not any(line.owner or line.shares for line in order.lines)]
    if not free:
        return []
    credited = {each.order.order_id for lines in view.credited.values() for each in lines}
    return [order for order in free if order.order_id not in credited]


def late_orders(orders: Iterable[Order]) -> tuple[Unbooked, ...]:
    """Those that were read too late to be credited."""
    late = (order for order in orders if order.late)
    return tuple(Unbooked("late_order", o.order_id, o.message_id, "Order Completed", o.at_ms) for o in late)


def _order(state: OpenState, order_id: str) -> Order | None:
    return next((order for order in state.orders if order.order_id == order_id), None)


def _of_settled(order: Order, reversal: Reversal) -> Unbooked:
    return Unbooked("settled_order", order.order_id, reversal.message_id, REVERSED, reversal.at_ms)


def _in_other_currency(order: Order, reversal: Reversal) -> Unbooked:
    found = Unbooked("refund_currency", order.order_id, reversal.message_id, REVERSED, reversal.at_ms)
    return replace(found, currency=reversal.currency, wanted_currency=order.currency)
