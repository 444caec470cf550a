"""Which control arm a customer is in: a salted stable hash (law 4). Pure."""

from collections.abc import Mapping

from streaming.contracts.ids import stable_unit
from streaming.contracts.kinds import ARM_NAMES, Arm


def assign(user_id: str, shares: Mapping[Arm, float], salt: str) -> Arm:
    """The customer's arm, for ever the same under one salt.

    Args:
        shares: arm → share on any positive scale; an arm not named has none.

    Raises:
        ValueError: no positive share, or a negative one.
    """
    if min(shares.values(), default=0.0) < 0 or sum(shares.values()) <= 0:
        raise ValueError(f"shares: {dict(shares)}, at least one positive and none negative wanted")
    left = stable_unit(salt, user_id) * sum(shares.values())
    chosen: Arm | None = None
    for arm in ARM_NAMES:  # a fixed order, so that the order of a mapping moves nobody
        share = shares.get(arm, 0.0)
        if share > 0:
            chosen = arm
            left -= share
            if left < 0:
                break
    assert chosen is not None
    return chosen
