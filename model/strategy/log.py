"""Logged strategies that have closed, parted by time: learned from, stopped by, judged on. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from model.data.errors import Refused
from streaming.contracts.rewards import Reward

JUDGED_SHARE = 0.25
"""Of the strategies, the newest by issue: what both bases are judged on."""
STOPPED_SHARE = 0.15
"""Of what is learned from, the newest by closing: kept out of learning, it says when to stop."""
LEAST_LEARNED, LEAST_JUDGED = 40, 20


class Split(NamedTuple):
    """Parts of a log, each in order of closing.

    Args:
        train: closed before the cut, but for its newest part, `valid`.
        judged: issued at the cut or later, hence closed later than everything that was learned from.
        straddling: issued before the cut and closed after it: in no part.
    """

    train: list[Reward]
    valid: list[Reward]
    judged: list[Reward]
    straddling: int


def split(rewards: Sequence[Reward], most_judged: int) -> Split:
    """Part closed strategies by time. Customers come back, as they do where a base serves; evidence is counted by them.

    Args:
        rewards: the last word on each strategy, all with the probability of what was done.
        most_judged: of the judged part, the newest so many.

    Raises:
        Refused: too few are left in a part.
    """
    issued = sorted(reward.issued_at for reward in rewards)
    if not issued:
        raise Refused("no closed strategy to learn from")
    cut = issued[min(int(len(issued) * (1.0 - JUDGED_SHARE)), len(issued) - 1)]
    judged = _by_closing(reward for reward in rewards if reward.issued_at >= cut)
    known = _by_closing(reward for reward in rewards if reward.issued_at < cut and reward.closed_at <= cut)
    stopped = round(len(known) * STOPPED_SHARE)
    train, valid = known[: len(known) - stopped], known[len(known) - stopped :]
    if len(train) < LEAST_LEARNED or len(judged) < LEAST_JUDGED:
        raise Refused(
            f"too few closed strategies: {len(known):,} of {len(rewards):,} had closed when the newest {JUDGED_SHARE:.0%} began "
            f"({cut:%Y-%m-%dT%H:%MZ}), {len(judged):,} of those; at least {LEAST_LEARNED} and {LEAST_JUDGED} wanted"
        )
    return Split(train, valid, judged[-most_judged:], len(rewards) - len(known) - len(judged))


def _by_closing(rewards: Iterable[Reward]) -> list[Reward]:
    return sorted(rewards, key=lambda reward: (reward.closed_at, reward.strategy_id))
