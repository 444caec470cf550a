"""One arm through one world: decisions, delayed rewards, and what each block of interactions was worth."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.learning.arms import Arm
from benchmarks.worlds.deliveries import Delivery, deliveries
from benchmarks.worlds.world import Moment, World

BLOCK = 1000
TURN = 16
"""Interactions decided together, as a worker's batch is; far fewer than any delay."""
YOUNG = 500
"""Impressions of a wave's products until which its products count as new."""
NO_IMPRESSIONS = 50
"""Impressions of the wave until which hardly anything can have been learned of its products."""


class Block(msgspec.Struct, frozen=True):
    """What a thousand interactions were worth.

    Args:
        lift: (reward - random) / (oracle - random), of the true expected rewards of what was chosen.
        reward: mean expected reward, major units; regret: the oracle's minus the arm's, summed over the block.
        new_product_lift: lift of the product slot alone (the rest chosen uniformly) where all candidates are of the latest wave and
            that wave has had fewer than `YOUNG` impressions in this arm; None where there was none.
        unseen_product_lift: the same before `NO_IMPRESSIONS` of them.
        new_products, unseen_products: requests those two rest on.
    """

    block: int
    lift: float
    reward: float
    regret: float
    new_product_lift: float | None
    random: float
    oracle: float
    new_products: int
    unseen_product_lift: float | None
    unseen_products: int


@dataclass
class Gap:
    """Sums of (value, uniform, best)."""

    sums: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    count: int = 0

    def add(self, value: float, uniform: float, best: float) -> None:
        """One more request."""
        self.sums += (value, uniform, best)
        self.count += 1

    @property
    def lift(self) -> float | None:
        """Of all that was added; None for nothing."""
        value, uniform, best = self.sums
        return float((value - uniform) / (best - uniform)) if best > uniform else None


@dataclass
class Tally:
    """A block under way, and the impressions of each wave so far."""

    whole: Gap = field(default_factory=Gap)
    new: Gap = field(default_factory=Gap)
    unseen: Gap = field(default_factory=Gap)
    impressions: dict[int, int] = field(default_factory=dict)

    def add(self, moment: Moment, index: tuple[int, ...]) -> None:
        """Count one decision."""
        self.whole.add(float(moment.values[index]), moment.random, moment.oracle)
        wave = moment.launch
        seen = self.impressions.get(wave, 0)
        if wave and seen < YOUNG:
            means = moment.by_candidate()
            gap = (float(means[index[0]]), float(np.nanmean(means)), float(np.nanmax(means)))
            self.new.add(*gap)
            if seen < NO_IMPRESSIONS:
                self.unseen.add(*gap)
        sold = moment.setting.goods.get(moment.grid.values[0][index[0]])
        if sold is not None and sold.what == "product" and sold.wave:
            self.impressions[sold.wave] = self.impressions.get(sold.wave, 0) + 1

    def close(self, block: int) -> Block:
        """The block as it ended; the next one begins."""
        value, uniform, best = self.whole.sums
        count = self.whole.count
        found = Block(
            block=block,
            lift=self.whole.lift or 0.0,
            reward=float(value / count),
            regret=float(best - value),
            new_product_lift=self.new.lift,
            random=float(uniform / count),
            oracle=float(best / count),
            new_products=self.new.count,
            unseen_product_lift=self.unseen.lift,
            unseen_products=self.unseen.count,
        )
        self.whole, self.new, self.unseen = Gap(), Gap(), Gap()
        return found


def play(world: World, arm: Arm, count: int) -> Iterator[Block]:
    """Play `count` interactions; a block as soon as it has ended."""
    tally, sequence = Tally(), 0
    queue: list[tuple[int, int, Delivery]] = []
    for start in range(0, count, TURN):
        moments = [world.moment(number) for number in range(start, min(start + TURN, count))]
        acted = arm.decide([moment.request for moment in moments], [moment.grid for moment in moments])
        for moment, one in zip(moments, acted, strict=True):
            tally.add(moment, one.index)
            for delivery in deliveries(world, moment, one):
                sequence += 1
                heapq.heappush(queue, (delivery.due, sequence, delivery))
            if (moment.number + 1) % BLOCK == 0 or moment.number + 1 == count:
                yield tally.close(moment.number // BLOCK)
        _tell(arm, queue, start + TURN)


def _tell(arm: Arm, queue: list[tuple[int, int, Delivery]], number: int) -> None:
    while queue and queue[0][0] <= number:
        arm.learn(heapq.heappop(queue)[2].reward)
    arm.turn(number)
