"""One table: every field of `Profile` and of its parts → two customers who differ in that field alone, and how it acts.

`PAIRS[path]` is a `Pair`; `path` is `field` or `field.part` (`orders.total_minor`). `paths()` reads the paths from the
types, so a field without an entry is found by a test. `request_of(row)` is what the model is asked about a customer;
`requests_of(pair)` are the two requests of a pair. How a field acts:

- `features`: the requests have the same candidates and slots and differ in what the model reads, over the edge of a bin
  where it is a number: so the critic or the language model must answer differently (`FEATURES` are these pairs).
- `rule`: other values are allowed, or a trigger is made for one of the two and not for the other.
- `fold`: nothing now, but records read later (`then`) make other customers of the two: then the requests differ.
"""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import fields, replace

from streaming.asking import ask
from streaming.contracts.catalog import Product
from streaming.contracts.codec import decode
from streaming.contracts.events import Context as EventContext
from streaming.contracts.events import Event, Traits
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.contracts.topics import REQUESTS
from streaming.core import Context, State, on_price, on_record
from streaming.effects import Publish
from streaming.open_state import Windows
from streaming.profile_parts import (
    Bought,
    CartLine,
    Counts,
    Grant,
    Money,
    Order,
    Profile,
    Reversal,
    Said,
    Search,
    Session,
    Tally,
    Touch,
    View,
    Wish,
)
from streaming.row import Row
from streaming.stamps import Stamp, weight
from streaming.triggers import Moment
from tests.streaming import attribution_samples
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import DAY_MS, MINUTE_MS, NOON_MS, RULES, SHOP

Acts = Literal["features", "rule", "fold"]
Later = Event | Strategy | Product
"""What may be read after: an event, a strategy, a new price of the catalog."""

NOW_MS = NOON_MS
_W = 2 * weight(NOW_MS)
"""The weight of two facts said now."""
_STRATEGY = attribution_samples.strategy(1, channel="email")
_SEEN_ID = _STRATEGY.strategy_id
"""A strategy that was echoed and not read yet."""


def _ago(days: float = 0.0, minutes: float = 0.0) -> Stamp:
    return Stamp(NOW_MS - round(days * DAY_MS + minutes * MINUTE_MS))


BASE = Profile(
    first_ms=NOW_MS - 100 * DAY_MS,
    sessions=(
        Session(NOW_MS - 7 * DAY_MS - 10 * MINUTE_MS, NOW_MS - 7 * DAY_MS - 5 * MINUTE_MS),
        Session(NOW_MS - 10 * MINUTE_MS, NOW_MS),
    ),
    categories={"tea": 6.0, "soap": 3.0},
    brands={"Borea": 6.0, "Casa": 3.0},
    views=(
        View(_ago(minutes=5), "p1", "tea"),
        View(_ago(minutes=4), "p9", "tea"),
        View(_ago(minutes=3), "p2", "lamps"),
    ),
    searches=(Search(_ago(minutes=2), "fine tea"),),
    cart={"p1": CartLine(_ago(minutes=1), 2, 245, "USD")},
    emptied=_ago(days=10),
    checkout=_ago(minutes=1),
    wishlist={"p2": Wish(_ago(days=20), 290, "USD")},
    bought={"p3": Bought(_ago(days=60))},
    orders=(Order(_ago(days=20), "o1", "USD", 9000), Order(_ago(days=5), "o2", "USD", 2500)),
    reversals=(
        Reversal(_ago(days=4), "o2", 500),
        *(Reversal(_ago(days=3, minutes=-n), f"x{n}", 100) for n in range(15)),
    ),
    money={"USD": Money(2, 11500)},
    price_level=Tally(0.3 * _W, _W),
    discounted=Tally(0.2 * _W, _W),
    channels={"email": Counts(30, 10)},
    touches={
        "s1": Touch(_ago(days=9), "email", shown=True),
        _SEEN_ID: Touch(_ago(days=2), "", shown=True),
        **{f"t{n}": Touch(_ago(days=3, minutes=-n), "onsite", shown=True) for n in range(30)},
    },
    consent={"email": Grant(_ago(days=30), granted=True), "push": Grant(_ago(days=30), granted=True)},
    locale=Said(_ago(days=30), "en-US"),
    timezone=Said(_ago(days=30), "Europe/Paris"),
    aliases={"a1": Bought(_ago(days=50))},
)
"""A customer of whom everything is known; bounded lists that matter are full, so that something has to be forgotten."""


class Pair(Struct, frozen=True):
    """Two customers who differ in one field.

    Args:
        then: read by both afterwards, in this order, before they are compared.
    """

    one: Row
    other: Row
    acts: Acts
    then: tuple[Later, ...] = ()


class _Change(Struct, frozen=True):
    """How the other customer differs: the new value; `at` is the index or key of the part, None for a plain field."""

    acts: Acts
    value: Any
    at: int | str | None = None
    then: tuple[Later, ...] = ()


def _said(at: Stamp, **context: Any) -> Event:
    """An event that carries a context and nothing else."""
    return shop.event("Segment Consent Preference Updated", Traits(), at.at_ms, context=EventContext(**context))


_OLD = _ago(days=40)
_LATE_REFUND = shop.refund("x-late", _ago(days=3.7).at_ms, total="1.00")
_CHEAPER = shop.product(2, price_minor=200)
_FORGETS_ONE = (shop.promotion("Promotion Viewed", "s-new", NOW_MS), shop.promotion("Promotion Clicked", "s1", NOW_MS))
_CHANGES: dict[str, _Change] = {
    "first_ms": _Change("features", NOW_MS - 2 * DAY_MS),
    "sessions.start_ms": _Change("features", NOW_MS - 3 * MINUTE_MS, 1),
    "sessions.end_ms": _Change("features", NOW_MS - 7 * DAY_MS + 5 * MINUTE_MS, 0),
    "categories": _Change("features", {"tea": 1.0, "soap": 3.0}),
    "brands": _Change("features", {"Borea": 1.0, "Casa": 3.0}),
    "views.stamp": _Change("features", _ago(days=3), 0),
    "views.product_id": _Change("features", "p5", 0),
    "views.category": _Change("rule", "", 0, (shop.viewed(13, NOW_MS),)),
    "searches.stamp": _Change("features", _ago(days=8), 0),
    "searches.query": _Change("features", "lamps", 0),
    "cart.stamp": _Change("features", _ago(days=11), "p1"),
    "cart.quantity": _Change("features", 0, "p1"),
    "cart.price_minor": _Change("features", 1300, "p1"),
    "cart.currency": _Change("features", "EUR", "p1"),
    "emptied": _Change("features", _ago()),
    "checkout": _Change("features", Stamp()),
    "wishlist.stamp": _Change("fold", _ago(days=8), "p2", (shop.order("o0", {2: "2.90"}, _ago(days=19).at_ms),)),
    "wishlist.price_minor": _Change("rule", 205, "p2", (_CHEAPER,)),
    "wishlist.currency": _Change("rule", "EUR", "p2", (_CHEAPER,)),
    "bought.stamp": _Change("features", _ago(days=1), "p3"),
    "orders.stamp": _Change("features", _ago(days=2), 1),
    "orders.order_id": _Change("features", "o9", 1),
    "orders.currency": _Change("features", "EUR", 0),
    "orders.total_minor": _Change("features", 1000, 0),
    "reversals.stamp": _Change("fold", _ago(days=3.5), 0, (_LATE_REFUND,)),
    "reversals.order_id": _Change("features", "x-other", 0),
    "reversals.minor": _Change("features", None, 0),
    "money.orders": _Change("features", 12, "USD"),
    "money.spent_minor": _Change("features", 1200, "USD"),
    "price_level.total": _Change("features", 0.0),
    "price_level.weight": _Change("features", 0.05 * _W),
    "discounted.total": _Change("features", 0.7 * _W),
    "discounted.weight": _Change("features", 0.05 * _W),
    "channels.shown": _Change("features", 300, "email"),
    "channels.clicked": _Change("features", 0, "email"),
    "touches.stamp": _Change("fold", _ago(days=1), "s1", _FORGETS_ONE),
    "touches.channel": _Change("fold", "email", _SEEN_ID, (shop.promotion("Promotion Clicked", _SEEN_ID, NOW_MS),)),
    "touches.shown": _Change("fold", value=False, at=_SEEN_ID, then=(_STRATEGY,)),
    "touches.clicked": _Change("fold", value=True, at=_SEEN_ID, then=(_STRATEGY,)),
    "consent.stamp": _Change("fold", _ago(days=50), "email", (shop.told(_OLD.at_ms, email=False),)),
    "consent.granted": _Change("rule", value=False, at="email"),
    "locale.stamp": _Change("fold", _ago(days=50), then=(_said(_OLD, locale="zh-CN"),)),
    "locale.value": _Change("features", "zh-CN"),
    "timezone.stamp": _Change("fold", _ago(days=50), then=(_said(_OLD, timezone="Asia/Shanghai"),)),
    "timezone.value": _Change("features", "Asia/Shanghai"),
}
BOOKKEEPING = {"aliases.stamp": "says which alias is forgotten beyond the bound; what is read is how many there are"}
"""Parts that no decision can depend on, and why they are kept. `Stamp.tie` orders facts of one millisecond likewise."""


def _changed(path: str, change: _Change) -> Profile:
    field, _, part = path.partition(".")
    old = getattr(BASE, field)
    if not part:
        return replace(BASE, **{field: change.value})
    if change.at is None:
        return replace(BASE, **{field: replace(old, **{part: change.value})})
    new = replace(old[change.at], **{part: change.value})
    if isinstance(old, dict):
        return replace(BASE, **{field: old | {change.at: new}})
    assert isinstance(change.at, int)
    return replace(BASE, **{field: (*old[: change.at], new, *old[change.at + 1 :])})


def _aliases() -> Pair:
    """The map itself is read by its size."""
    known = BASE.aliases | {f"a{n}": Bought(_ago(days=n)) for n in (2, 3)}
    return Pair(_row(BASE), _row(replace(BASE, aliases=known)), "features")


def _row(profile: Profile) -> Row:
    return Row("u1", "fused", profile)


PAIRS: Mapping[str, Pair] = {
    path: Pair(_row(BASE), _row(_changed(path, change)), change.acts, change.then) for path, change in _CHANGES.items()
} | {"aliases": _aliases()}
FEATURES: Mapping[str, Pair] = {path: pair for path, pair in PAIRS.items() if pair.acts == "features"}
"""Pairs that the model alone tells apart."""


def request_of(row: Row) -> StrategyRequest:
    """What the model is asked of a customer now: the promotion of campaign `c3`, whose products are the candidates."""
    moment = Moment("campaign_start", "promotion", "c3", NOW_MS, {"campaign": "c3"})
    request = ask(row, moment, SHOP, NOW_MS, RULES).request
    assert request is not None
    return request


def after(row: Row, then: tuple[Later, ...]) -> tuple[Row, list[StrategyRequest]]:
    """The customer after what was read later, and what was asked on the way."""
    context = Context(SHOP, RULES, Windows(), watermark_ms=NOW_MS)
    state, effects = State(row), list[Publish]()
    for later in then:
        known = replace(later, user_id="u1") if isinstance(later, Strategy) else later
        result = (
            on_price(state, known, context) if isinstance(known, Product) else on_record(state, "u1", known, context)
        )
        state, effects = result.state, [*effects, *result.effects]
    return state.row, [decode(e.value or b"", StrategyRequest) for e in effects if e.topic == REQUESTS.name]


def requests_of(pair: Pair) -> tuple[StrategyRequest, StrategyRequest]:
    """What the model is asked of both, after what they read later."""
    return request_of(after(pair.one, pair.then)[0]), request_of(after(pair.other, pair.then)[0])


def paths(kind: type[Struct] = Profile, prefix: str = "") -> Iterator[str]:
    """Every field of a struct and of the structs in it, by their types; a stamp is one fact."""
    hints = typing.get_type_hints(kind)
    for field in fields(kind):
        part = _part_of(hints[field.name])
        path = f"{prefix}{field.name}"
        if isinstance(part, type) and issubclass(part, Struct) and part is not Stamp:
            yield from paths(part, f"{path}.")
        else:
            yield path


def _part_of(hint: Any) -> Any:
    """What a tuple, a map or an optional holds; else the type itself."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is tuple:
        return arguments[0]
    if origin is dict:
        return arguments[1]
    if origin in (typing.Union, types.UnionType):
        return next(each for each in arguments if each is not type(None))
    return hint
