"""Price drops over owned partitions: a rebalance may come between any two steps of a turn."""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from streaming.core import Context
from streaming.open_state import Windows
from streaming.processor import Processor
from streaming.reaching import Changes, Reaching
from streaming.timers import Timers
from tests.streaming.customer_samples import NOON_MS, RULES, SHOP


class Edge:
    """Processor, store, timers and catalog of two partitions in which nobody waits for a price; told when asked."""

    bucket_numbers = (0, 1)

    def __init__(self) -> None:
        """Nothing asked, and no rebalance."""
        self.store = self
        self.asked: list[int] = []
        self.rebalance: Any = lambda: None

    def take_changes(self) -> set[str]:
        """One product changed."""
        return {"p1"}

    def context(self) -> Context:
        """The sample shop without campaigns."""
        return Context(
            SHOP.with_campaign("c1", None).with_campaign("c2", None).with_campaign("c3", None), RULES, WINDOWS
        )

    def horizon_ms(self, _partition: int) -> int:
        """Noon everywhere."""
        return NOON_MS

    def buckets(self, partition: int) -> list[int]:
        """A bucket each."""
        return [partition]

    async def load(self, _numbers: Iterable[int]) -> None:
        """Everything is there."""

    async def wants(self, number: int) -> list[tuple[str, str]]:
        """Nobody; a rebalance may come meanwhile."""
        self.asked.append(number)
        self.rebalance()
        return []

    async def wanting(self, _number: int, _product_id: str) -> list[str]:
        """Nobody."""
        return []


WINDOWS = Windows.of(horizon_ms=1, response_ms=1)


def test_a_rebalance_amid_a_turn_ends_nothing_and_everything_is_looked_at_again() -> None:
    """What the turn has begun it finishes; the next one looks at every bucket once more, the one after at none."""
    edge = Edge()
    reaching = Reaching(cast("Processor", edge), cast("Timers", edge), cast("Changes", edge))
    edge.rebalance = reaching.forget
    asyncio.run(reaching.turn([0, 1]))
    assert edge.asked == [0, 1]
    edge.rebalance = lambda: None
    asyncio.run(reaching.turn([0, 1]))
    assert edge.asked == [0, 1, 0, 1]
    asyncio.run(reaching.turn([0, 1]))
    assert edge.asked == [0, 1, 0, 1]
