"""Stable samples and orders: the same whenever one moment is asked, and uniform over moments. Pure."""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from streaming.contracts.ids import stable_seed

T = TypeVar("T")
MANY = 8
"""Times as many items as are wanted: from there on repeats are so rare that they are dropped, not avoided."""


def dice(*parts: str) -> Random:
    """The generator of everything that is drawn for one moment."""
    return Random(stable_seed(*parts))


def drawn(items: Sequence[T], limit: int, rng: Random) -> list[T]:
    """At most `limit` different ones of different items, each as likely as any other, in an order that says nothing.

    Of very many items it may be one or two less than the limit; no call costs a pass over them.
    """
    count, uniform = len(items), rng.random  # `Random.sample` takes three times as long for samples as small as ours
    if count > MANY * limit:
        return list(dict.fromkeys([items[int(uniform() * count)] for _ in range(limit)]))
    pool = list(items)
    return [pool.pop(int(uniform() * left)) for left in range(count, max(count - limit, 0), -1)]


def shuffled(items: Sequence[T], rng: Random) -> list[T]:
    """All items in an order that says nothing."""
    return drawn(items, len(items), rng)
