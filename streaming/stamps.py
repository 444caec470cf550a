"""How facts fold whatever their order: stamps, last-write-wins, the newest N, decayed sums. Pure.

Each helper is a join (commutative, associative, idempotent) or an addition, so that any order of the same events
gives the same state. Ties of the clock are broken by a hash of the message id.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Protocol, TypeVar

from msgspec import Struct

from streaming.contracts.events import Event

EPOCH_MS = 1_577_836_800_000
"""2020-01-01: decayed sums are kept relative to it, so that adding in any order gives the same sum."""
HALF_LIFE_MS = 30 * 24 * 3_600_000
"""Of every decayed sum. A double holds 2**1023: with 30 days this is good until the year 2104."""


class Stamp(Struct, frozen=True, gc=False, array_like=True, order=True):
    """When a fact was said: event time, then a hash of its message id."""

    at_ms: int = 0
    tie: int = 0


BEGINNING = Stamp()


class Stamped(Protocol):
    """Anything with the stamp of the event that said it."""

    @property
    def stamp(self) -> Stamp:
        """When it was said."""
        ...


T = TypeVar("T", bound=Stamped)


_BEGUN = blake2b(digest_size=8)


@lru_cache(maxsize=1024)  # one event asks for it three times
def digest(message_id: str) -> bytes:
    """8 bytes of a message id: what is remembered of it."""
    hashed = _BEGUN.copy()  # copying takes less time than making one
    hashed.update(message_id.encode("utf-8", "surrogatepass"))
    return hashed.digest()


def stamp_of(event: Event) -> Stamp:
    """The event's stamp; 32 bits of its id break ties."""
    return Stamp(event.at_ms, int.from_bytes(digest(event.message_id)[:4], "big"))


def newest(kept: tuple[T, ...], item: T, limit: int) -> tuple[T, ...]:
    """The `limit` newest of `kept` (oldest first) and `item`: the common case appends."""
    if not kept or kept[-1].stamp < item.stamp:
        return kept[max(0, len(kept) + 1 - limit) :] + (item,)  # noqa: RUF005 -- unpacking copies twice, for every event
    return union(kept, (item,), limit)


def union(one: Iterable[T], other: Iterable[T], limit: int) -> tuple[T, ...]:
    """The `limit` newest facts of two lists, oldest first; a fact in both counts once."""
    by_stamp = {fact.stamp: fact for fact in (*one, *other)}
    return tuple(by_stamp[stamp] for stamp in sorted(by_stamp)[-limit:])


def put(kept: dict[str, T], key: str, value: T, limit: int) -> dict[str, T]:
    """Last write wins per key; at most `limit` keys, those written longest ago are forgotten.

    A forgotten key can only come back by a newer write, which says all there is: so the order does not matter.
    """
    old = kept.get(key)
    if old is not None and value.stamp <= old.stamp:
        return kept
    grown = kept.copy()
    grown[key] = value
    if len(grown) > limit:
        del grown[min(grown, key=lambda name: grown[name].stamp)]
    return grown


def put_all(one: dict[str, T], other: dict[str, T], limit: int) -> dict[str, T]:
    """Two maps of last writes as one."""
    for key, value in other.items():
        one = put(one, key, value, limit)
    return one


def later(one: T | None, other: T | None) -> T | None:
    """The one said later."""
    if one is None or other is None:
        return other if one is None else one
    return other if other.stamp > one.stamp else one


def weight(at_ms: int) -> float:
    """2**((at - EPOCH) / half-life): what a fact of weight 1 adds to a decayed sum."""
    return float(2.0 ** ((at_ms - EPOCH_MS) / HALF_LIFE_MS))


def decayed(total: float, now_ms: int) -> float:
    """A decayed sum as it stands now, in facts of weight 1 said now."""
    return float(total * 2.0 ** ((EPOCH_MS - now_ms) / HALF_LIFE_MS))


def add(sums: dict[str, float], key: str, amount: float, limit: int) -> dict[str, float]:
    """Add to a decayed sum; beyond `limit` keys the smallest is forgotten.

    Exact in any order up to `limit` keys; the limits lie above what a customer of a shop touches within its memory.
    """
    grown = sums.copy()
    grown[key] = sums.get(key, 0.0) + amount
    if len(grown) > limit:
        del grown[min(grown, key=lambda name: (grown[name], name))]
    return grown


def add_all(one: dict[str, float], other: dict[str, float], limit: int) -> dict[str, float]:
    """Two maps of decayed sums as one."""
    for key, amount in other.items():
        one = add(one, key, amount, limit)
    return one
