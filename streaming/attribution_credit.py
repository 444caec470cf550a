"""When a strategy's windows open and close, and which order lines it is credited with. Pure.

Of the strategies a line could belong to, those that touched the customer before the order are candidates; the
model decides among them (`attribution_models.py`; by default the last click, else the last view).
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from msgspec import Struct

from streaming.attribution_models import UNIT, Touch, shares
from streaming.contracts.strategies import grammar_of
from streaming.open_state import OpenState, OpenStrategy, Order, OrderLine, Share, Through, Windows

Meaning = Literal["shown", "clicked", "unsubscribed", "complained", "cost"]

_OUTBOUND: dict[str, Meaning] = {"Email Opened": "shown", "Email Link Clicked": "clicked"}
_ANY_KIND: dict[str, Meaning] = {
    "Unsubscribed": "unsubscribed",
    "Email Marked as Spam": "complained",
    "Ad Cost Recorded": "cost",
}


class Timeline(Struct, frozen=True):
    """One strategy's windows in event time, milliseconds; all half-open.

    Args:
        first_ms: first exposure, None while nobody has seen it. A click is an exposure.
        opens_ms: first exposure, else `valid_until`; for a ghost the moment it would have been asked.
        responds_ms: end of the response window.
        closes_ms: end of the horizon.
        latest_ms: the last moment to which the horizon can still move, by a first exposure.
        views: exposures within the horizon, sorted.
        clicks: clicks within the response window, sorted.
    """

    first_ms: int | None
    opens_ms: int
    responds_ms: int
    closes_ms: int
    latest_ms: int
    views: tuple[int, ...]
    clicks: tuple[int, ...]


class Credited(Struct, frozen=True):
    """A line of an order that a strategy is credited with, alone or together with others.

    Args:
        shares: of all that share the line; `place`: the strategy's own among them.
    """

    order: Order
    index: int
    shares: tuple[Share, ...]
    place: int = 0

    @property
    def through(self) -> Through:
        """Whether a click or a view earned it."""
        return self.shares[self.place].through

    @property
    def part(self) -> float:
        """The strategy's part of the line, in (0, 1]."""
        if len(self.shares) == 1:
            return 1.0
        return self.shares[self.place].weight / sum(share.weight for share in self.shares)


def meaning(strategy: OpenStrategy, name: str) -> Meaning | None:
    """What an event that echoes a strategy says; None: nothing to one of its kind."""
    grammar = grammar_of(strategy)
    if name == grammar.shown_event:
        return "shown"
    if name == grammar.click_event:
        return "clicked"
    if "channel" in grammar.slots and name in _OUTBOUND:
        return _OUTBOUND[name]
    return _ANY_KIND.get(name)


def timeline(strategy: OpenStrategy, windows: Windows) -> Timeline:
    """The strategy's windows by the facts known.

    A first exposure counts until `valid_until` plus the response window: a message may be opened late, but not
    for ever.
    """
    w = windows.of_kind(strategy.kind)
    if strategy.ghost:
        opens = strategy.issued_ms
        return Timeline(None, opens, opens, opens + w.horizon_ms, opens + w.horizon_ms, (), ())
    unseen_ms = strategy.valid_until_ms + w.response_ms
    views = _times(strategy, "shown")
    clicks = _times(strategy, "clicked")
    first = min((at for at in (*views, *clicks) if at < unseen_ms), default=None)
    if first is None:
        opens = strategy.valid_until_ms
        return Timeline(None, opens, unseen_ms, opens + w.horizon_ms, unseen_ms + w.horizon_ms, (), ())
    responds, closes = first + w.response_ms, first + w.horizon_ms
    return Timeline(
        first_ms=first,
        opens_ms=first,
        responds_ms=responds,
        closes_ms=closes,
        latest_ms=closes,
        views=tuple(at for at in views if first <= at < closes),
        clicks=tuple(at for at in clicks if first <= at < responds),
    )


class View:
    """What follows from the facts of a state: each strategy's windows, and the lines it is credited with."""

    def __init__(self, state: OpenState, windows: Windows) -> None:
        """Windows at once; credit when first asked for, as only closed strategies need it."""
        self._state, self._windows = state, windows
        self.timelines = {s.strategy_id: timeline(s, windows) for s in state.strategies}

    @cached_property
    def credited(self) -> dict[str, list[Credited]]:
        """Strategy id → its lines."""
        return credit(self._state, self.timelines, self._windows)

    def timeline(self, strategy: OpenStrategy) -> Timeline:
        """The strategy's windows."""
        return self.timelines[strategy.strategy_id]

    def of(self, strategy: OpenStrategy) -> tuple[Timeline, list[Credited]]:
        """The strategy's windows and lines."""
        return self.timelines[strategy.strategy_id], self.credited.get(strategy.strategy_id, [])


def credit(state: OpenState, timelines: dict[str, Timeline], windows: Windows) -> dict[str, list[Credited]]:
    """Strategy id → the lines it is credited with. The shares of a line are the whole line, or there are none."""
    owned: dict[str, list[Credited]] = {}
    for order in state.orders:
        for index, line in enumerate(order.lines):
            shared = _frozen(line) or _shared(order, line, state, timelines, windows)
            for place, share in enumerate(shared):
                owned.setdefault(share.strategy_id, []).append(Credited(order, index, shared, place))
    return owned


def _frozen(line: OrderLine) -> tuple[Share, ...]:
    return line.shares or ((Share(line.owner, UNIT, "click"),) if line.owner else ())


def _shared(
    order: Order, line: OrderLine, state: OpenState, timelines: dict[str, Timeline], windows: Windows
) -> tuple[Share, ...]:
    touches = []
    for strategy in state.strategies:
        if strategy.ghost or not _sells(strategy, line):
            continue
        touch = _touch(strategy, order, timelines[strategy.strategy_id], windows)
        if touch is not None:
            touches.append(touch)
    return shares(touches, order.at_ms, windows.model, windows.half_life_ms) if touches else ()


def _touch(strategy: OpenStrategy, order: Order, line: Timeline, windows: Windows) -> Touch | None:
    """What the strategy did before the order and still counts, None where nothing does."""
    w = windows.of_kind(strategy.kind)
    if order.at_ms >= line.closes_ms:
        return None
    clicked = [at for at in line.clicks if at <= order.at_ms < at + w.click_conversion_ms]
    viewed = [] if clicked else [at for at in line.views if at <= order.at_ms < at + w.view_conversion_ms]
    moments = clicked or viewed
    if not moments:
        return None
    return Touch(
        strategy_id=strategy.strategy_id,
        named=order.strategy_id == strategy.strategy_id,
        through="click" if clicked else "view",
        first_ms=min(moments),
        last_ms=max(moments),
        issued_ms=strategy.issued_ms,
    )


def _sells(strategy: OpenStrategy, line: OrderLine) -> bool:
    """Whether the line is what the strategy proposed: its product, its category, or what its campaign offers."""
    return (
        line.product_id in strategy.products
        or any(line.category[: len(path)] == path for path in strategy.categories)
        or any(campaign in strategy.campaigns for campaign in line.campaigns)
    )


def _times(strategy: OpenStrategy, wanted: Meaning) -> list[int]:
    return list(_matching(strategy, wanted))


def _matching(strategy: OpenStrategy, wanted: Meaning) -> Iterator[int]:
    for fact in strategy.facts:
        if meaning(strategy, fact.name) == wanted:
            yield fact.at_ms
