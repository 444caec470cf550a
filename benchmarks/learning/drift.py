"""What the kept curves say of the abrupt drift: interactions until an arm's lift is back to 90 % of what it was, beside the peers'.

Before: the mean lift of the last two whole blocks before the drift, whose interaction the seed decides. After: the lift of each block
that begins after it, taken to be that of the block's middle and a straight line in between. An arm that does not come back within its
curve counts with the interactions that the curve has after the drift, and is told apart. The slow drift goes on all the while, and so
does learning: an arm may also come back because it was not yet at its height.

Usage: python -m benchmarks.learning.drift --seeds 6 7 8 9 10
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.learning.__main__ import named, world_of
from benchmarks.learning.arms import NAMES, PEERS
from benchmarks.learning.play import BLOCK
from benchmarks.learning.report import Difference, paired
from benchmarks.learning.results import RESULTS, Line, current
from benchmarks.worlds.effects import Effects

Kept = Mapping[tuple[int, str], Sequence[Line]]
"""(seed, arm) → its blocks, each with how many interactions it holds."""

BACK = 0.9
"""Of the lift before: what counts as back."""
BLOCKS_BEFORE = 2


class Recovery(NamedTuple):
    """One arm in one world.

    Args:
        before, after: lift before the drift, and of the first block that begins after it.
        interactions: after the drift until the lift is back; `back`: whether it came back at all.
    """

    before: float
    after: float
    interactions: float
    back: bool


def recovery(lifts: Sequence[float], drift_at: int, block: int = BLOCK) -> Recovery | None:
    """Of one curve; None where it has no blocks before the drift or none after.

    Args:
        lifts: by block, all of them whole.
        drift_at: the first interaction of the drifted world.
    """
    whole, first = drift_at // block, -(-drift_at // block)
    if whole < BLOCKS_BEFORE or first >= len(lifts):
        return None
    before = float(np.mean(lifts[whole - BLOCKS_BEFORE : whole]))
    wanted = BACK * before
    middle = (first + 0.5) * block - drift_at
    for place, lift in enumerate(lifts[first:]):
        if lift >= wanted:
            former = lifts[first + place - 1]
            share = (wanted - former) / (lift - former) if place else 1.0
            return Recovery(before, lifts[first], middle + (place - 1 + share) * block, back=True)
    return Recovery(before, lifts[first], float(len(lifts) * block - drift_at), back=False)


def recoveries(curves: Kept, drifts: dict[int, int], arm: str) -> list[Recovery] | None:
    """Of each seed in order; None where a curve is missing or ends before the drift can be told."""
    found = []
    for seed, drift_at in drifts.items():
        lifts = [line.lift for line in curves.get((seed, arm), []) if line.interactions == BLOCK]
        one = recovery(lifts, drift_at)
        if one is None:
            return None
        found.append(one)
    return found


def against(own: Sequence[Recovery], peer: Sequence[Recovery]) -> Difference:
    """Interactions until back, own minus the peer's, paired by seed: below 0 is faster."""
    return paired([one.interactions - other.interactions for one, other in zip(own, peer, strict=True)])


def table(curves: Kept, drifts: dict[int, int]) -> list[str]:
    """A Markdown row per arm whose curves are long enough; the best peer is the one with the most lift before the drift."""
    found = {arm: ones for arm in NAMES if arm != "random" and (ones := recoveries(curves, drifts, arm))}
    peers = [arm for arm in found if arm in PEERS]
    best = max(peers, key=lambda arm: np.mean([one.before for one in found[arm]]), default="")
    rows = [
        f"| arm | before | after | interactions until back | back | minus {best or 'no peer'}'s |",
        "|---|" + "---|" * 5,
    ]
    for arm, ones in found.items():
        gap = against(ones, found[best]) if best and arm != best else None
        shown = [f"{np.mean([getattr(one, name) for one in ones]):.3f}" for name in ("before", "after")]
        lengths = ", ".join(f"{one.interactions:,.0f}" for one in ones)
        cells = [arm, *shown, f"{np.mean([one.interactions for one in ones]):,.0f} ({lengths})"]
        cells += [f"{sum(one.back for one in ones)} of {len(ones)}", _told(gap)]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _told(gap: Difference | None) -> str:
    return "–" if gap is None else f"{gap.mean:+,.0f} ({gap.low:+,.0f} to {gap.high:+,.0f})"


def main(arguments: list[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning.drift",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--world", nargs="*", default=[], help="knobs of the world, as it was played")
    parser.add_argument("--settings", nargs="*", default=[], help="of the served arms, as they were played")
    options = parser.parse_args(arguments)
    world = world_of(options.world)
    drifts = {seed: at for seed in options.seeds if (at := Effects(seed, world).drift_at) is not None}
    if not drifts:
        parser.error("--world: drift_from < drift_to wanted: this world does not drift abruptly")
    curves = current(options.results, options.seeds, NAMES, world, named(options.settings) or None)
    print(f"the drift comes at interaction {', '.join(f'{at:,}' for at in drifts.values())} of seeds {list(drifts)}\n")
    print("\n".join(table(curves, drifts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
