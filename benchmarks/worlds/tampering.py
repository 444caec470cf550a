"""Rewards that say what did not happen: tracking that tells the contrary, and customers who click on everything. Pure.

What an action is worth stays as it is; only what is reported of it changes, and only for a while.
"""

import numpy as np
from msgspec import structs

from benchmarks.worlds.knobs import WorldKnobs
from streaming.contracts.ids import stable_seed, stable_unit
from streaming.contracts.rewards import Outcomes


def reported(knobs: WorldKnobs, seed: int, number: int, user_id: str, happened: Outcomes) -> Outcomes:
    """What `strategy.rewards` says of interaction `number`, given what happened."""
    if not knobs.tampered_from <= number < knobs.tampered_to:
        return happened
    if stable_unit("fraud", str(seed), user_id) < knobs.fraudulent:
        return structs.replace(happened, shown=True, clicked=True)
    draw = np.random.default_rng(stable_seed("tampering", str(seed), str(number))).random()
    return _contrary(happened) if draw < knobs.flipped else happened


def _contrary(happened: Outcomes) -> Outcomes:
    """A click where there was none; none where there was one, and then no order either."""
    if not happened.clicked:
        return structs.replace(happened, shown=True, clicked=True)
    return structs.replace(
        happened, clicked=False, ordered=False, refunded=False, margin_minor=0, refunded_margin_minor=0
    )
