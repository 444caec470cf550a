"""Attribution models: which of the strategies that touched a customer gets which part of an order line. Pure.

The strongest kind of touch takes all: the strategy that the shop's order names, else those clicked, else those seen.
Among equals the model decides; an order line is shared out completely or belongs to nobody.
"""

from collections.abc import Sequence

from msgspec import Struct

from streaming.open_state import Model, Share, Through

UNIT = 1 << 32
"""Weight of a touch at the moment of the order: weights are integers, so that shares of money are exact."""


class Touch(Struct, frozen=True):
    """What one strategy did before an order, within the windows.

    Args:
        named: the order itself names the strategy.
        through: clicked or only seen; the moments are of those touches alone.
        first_ms: earliest touch that still counts; `last_ms`: the latest before the order.
    """

    strategy_id: str
    named: bool
    through: Through
    first_ms: int
    last_ms: int
    issued_ms: int

    @property
    def strength(self) -> int:
        """Strongest first: named, clicked, seen."""
        return 3 if self.named else 2 if self.through == "click" else 1


def shares(touches: Sequence[Touch], order_ms: int, model: Model, half_life_ms: int) -> tuple[Share, ...]:
    """Who is credited with a line, and by which weight; nobody without a touch.

    Several strategies stand in the order they were issued in.

    Args:
        order_ms: event time of the order.
        half_life_ms: `time_decay` gives a touch so long before the order half the weight.
    """
    if not touches:
        return ()
    strongest = max(touch.strength for touch in touches)
    equals = [touch for touch in touches if touch.strength == strongest]
    if model == "last_touch":
        return (_whole(max(equals, key=lambda t: (t.last_ms, t.issued_ms, t.strategy_id))),)
    if model == "first_touch":
        return (_whole(min(equals, key=lambda t: (t.first_ms, t.issued_ms, t.strategy_id))),)
    weights = [UNIT if model == "linear" else _decayed(order_ms - t.last_ms, half_life_ms) for t in equals]
    together = sorted(zip(equals, weights, strict=True), key=lambda pair: (pair[0].issued_ms, pair[0].strategy_id))
    return tuple(Share(t.strategy_id, weight, t.through) for t, weight in together)


def split(amount: int, weights: Sequence[int]) -> tuple[int, ...]:
    """An amount in parts that sum to it exactly: by largest remainder, ties to the earlier place.

    Each part lies less than one unit from its quota `amount * weight / sum(weights)`. With weights that are
    themselves parts of a larger amount no part exceeds its weight.

    Args:
        amount: minor units, of either sign.
        weights: >= 0, and not all 0 unless the amount is 0.
    """
    total = sum(weights)
    if not amount:
        return (0,) * len(weights)
    size = abs(amount)
    parts = [size * weight // total for weight in weights]
    rest = size - sum(parts)
    if rest:
        by_remainder = sorted(range(len(parts)), key=lambda place: (-(size * weights[place] % total), place))
        for place in by_remainder[:rest]:
            parts[place] += 1
    return tuple(parts) if amount > 0 else tuple(-part for part in parts)


def _whole(touch: Touch) -> Share:
    return Share(touch.strategy_id, UNIT, touch.through)


def _decayed(age_ms: int, half_life_ms: int) -> int:
    """At least 1: a touch that counts at all counts for something."""
    left: float = 2.0 ** (-age_ms / half_life_ms)
    return max(round(UNIT * left), 1)
