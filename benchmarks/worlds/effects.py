"""The hidden tables of a world: what every value and every pair of values adds to the logits, and how that drifts. Pure."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import CATEGORIES, STYLES
from benchmarks.worlds.shop import PRICE_TIERS
from streaming.contracts.ids import stable_seed
from streaming.contracts.kinds import (
    BID_TIERS,
    CHANNELS,
    DISCOUNT_LEVELS,
    DURATIONS,
    EMPHASES,
    OFFER_TYPES,
    PLACEMENTS,
    SEND_TIMES,
    TONES,
)

Floats = npt.NDArray[np.float64]

SIZES: dict[str, int] = {
    "channel": len(CHANNELS),
    "send_time": len(SEND_TIMES),
    "tone": len(TONES),
    "placement": len(PLACEMENTS),
    "bid_tier": len(BID_TIERS),
    "emphasis": len(EMPHASES),
    "offer_type": len(OFFER_TYPES),
    "discount": len(DISCOUNT_LEVELS),
    "duration": len(DURATIONS),
    "daypart": 4,
    "category": len(CATEGORIES),
    "tier": PRICE_TIERS,
}
"""What a table may be over → how many rows it has there."""
SEEN_BY = ("channel", "send_time", "placement", "bid_tier", "daypart")
"""What decides whether a customer sees a strategy; the rest decides what follows."""
TRAIT_SCALE = 0.8
"""Of what a trait that matters adds, beside the part that all customers share; tables have a variance of about 1."""
LAST_INTERACTION = 20_000
STEP = 100
"""Interactions between two positions of the slow drift."""


class Effects:
    """Tables by name, as they stand at an interaction."""

    def __init__(self, seed: int, knobs: WorldKnobs) -> None:
        """Names and sizes only; tables are drawn by name when they are asked for."""
        self._seed, self._knobs = seed, knobs
        rng = np.random.default_rng(stable_seed("drift", str(seed)))
        span = knobs.drift_to - knobs.drift_from
        self.drift_at = knobs.drift_from + int(rng.integers(span)) if span > 0 else None
        self._at = lru_cache(maxsize=1024)(self._turned)

    def main(self, name: str, number: int, size: int) -> Floats:
        """(size, 1 + traits): what all share, and what each trait adds."""
        found: Floats = self._at(name, (size,), number // STEP, self._drifted(number))
        return found

    def pair(self, outcome: str, one: str, other: str, number: int) -> Floats:
        """(size of one, size of other, 1 + traits)."""
        found: Floats = self._at(
            f"{outcome}:{one}*{other}", (SIZES[one], SIZES[other]), number // STEP, self._drifted(number)
        )
        return found

    def styles(self, number: int) -> Floats:
        """(styles, 1 + traits): what a word adds to a click."""
        return self.main("style", number, len(STYLES))

    def _drifted(self, number: int) -> bool:
        return self.drift_at is not None and number >= self.drift_at

    def _turned(self, name: str, sizes: tuple[int, ...], step: int, drifted: bool) -> Floats:  # noqa: FBT001 -- a cache's key
        angle = self._knobs.slow_drift_rad * step * STEP / LAST_INTERACTION
        start = self._draw(name, sizes, "first")
        if drifted and self._rng(name, "hit").random() < self._knobs.drifted:
            start = self._draw(name, sizes, "second")
        turned: Floats = np.cos(angle) * start + np.sin(angle) * self._draw(name, sizes, "slow")
        return turned

    def _draw(self, name: str, sizes: tuple[int, ...], what: str) -> Floats:
        table = self._rng(name, what).standard_normal((*sizes, 1 + self._knobs.traits))
        # Few traits matter to any one value: the rest is nearly silent.
        quiet = self._rng(name, what + "/quiet").random(table.shape) < 0.6  # noqa: PLR2004 -- a strength of the world
        quiet[..., 0] = False
        table[..., 1:] *= TRAIT_SCALE
        table = np.where(quiet, 0.1 * table, table)
        scaled: Floats = table / np.sqrt(1.0 + 0.4 * self._knobs.traits * TRAIT_SCALE**2)
        return scaled

    def _rng(self, name: str, what: str) -> np.random.Generator:
        return np.random.default_rng(stable_seed("effects", str(self._seed), name, what))


_ORDERING = frozenset({"category", "tier", "discount", "offer_type", "tone", "duration"})
_SEEING = frozenset(SEEN_BY)
_CLICKING = frozenset(SIZES) - _SEEING | {"channel", "placement"}
ACTS_ON = {"seen": _SEEING, "click": _CLICKING, "order": _ORDERING}
"""Outcome → the parts of a decision that it depends on, alone and in pairs."""
