"""Arms: stable, by share, by salt."""

from collections import Counter

import pytest

from streaming.arms import assign
from streaming.contracts.kinds import Arm

SHARES: dict[Arm, float] = {"fused": 0.6, "lm": 0.05, "critic": 0.1, "random": 0.2, "holdout": 0.05}


def test_shares_are_kept() -> None:
    """Of 20,000 customers each arm has its share within a percentage point."""
    arms = Counter(assign(f"u{number}", SHARES, "salt") for number in range(20_000))
    assert all(abs(arms[arm] / 20_000 - share) < 0.01 for arm, share in SHARES.items())


def test_an_arm_is_stable_and_salted() -> None:
    """The same customer keeps the arm under any order of the shares; another salt draws anew."""
    turned = dict(reversed(SHARES.items()))
    assert all(assign(f"u{n}", SHARES, "a") == assign(f"u{n}", turned, "a") for n in range(500))
    assert any(assign(f"u{n}", SHARES, "a") != assign(f"u{n}", SHARES, "b") for n in range(500))


def test_an_arm_without_a_share_is_never_drawn() -> None:
    """Shares on any scale; zero means nobody, and a share alone is everybody."""
    assert {assign(f"u{n}", {"random": 7.0, "holdout": 0.0}, "s") for n in range(200)} == {"random"}


@pytest.mark.parametrize("shares", [{}, {"fused": 0.0}, {"fused": 1.0, "lm": -0.1}])
def test_impossible_shares_are_refused(shares: dict[Arm, float]) -> None:
    """No share, none positive, or a negative one."""
    with pytest.raises(ValueError, match="shares"):
        assign("u", shares, "s")
