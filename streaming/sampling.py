"""Stable samples and orders: the same whenever one moment is asked, and uniform over moments. Pure."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from streaming.contracts.ids import stable_draws

T = TypeVar("T")
Draws = Iterator[int]
"""Endless uniform numbers below 2**32: `next(draws) * count >> 32` is a place among `count`."""
MANY = 8
"""Times as many items as are wanted: from there on repeats are so rare that they are dropped, not avoided."""


def dice(*parts: str) -> Draws:
    """Everything that is drawn for one moment."""
    return stable_draws(*parts)


def one_of(items: Sequence[T], draws: Draws) -> T:
    """One of at least one item."""
    return items[next(draws) * len(items) >> 32]


def drawn(items: Sequence[T], limit: int, draws: Draws) -> list[T]:
    """At most `limit` different ones of different items, each as likely as any other, in an order that says nothing.

    Of very many items it may be one or two less than the limit; no call costs a pass over them.
    """
    count = len(items)
    if count > MANY * limit:
        return list(dict.fromkeys([one_of(items, draws) for _ in range(limit)]))
    pool = list(items)
    return [pool.pop(next(draws) * left >> 32) for left in range(count, max(count - limit, 0), -1)]


def shuffled(items: Sequence[T], draws: Draws) -> list[T]:
    """All items in an order that says nothing."""
    return drawn(items, len(items), draws)
