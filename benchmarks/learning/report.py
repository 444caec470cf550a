"""What the kept curves say: lift per block, and the served policy against the best peer of each block, paired by seed.

Usage: python -m benchmarks.learning.report --seeds 6 7 8
       python -m benchmarks.learning.report --seeds 6 7 8 --tampered tampered_from=1500 tampered_to=2500 flipped=0.3
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from benchmarks.learning.__main__ import named, world_of
from benchmarks.learning.arms import NAMES, PEERS, Knobs
from benchmarks.learning.play import BLOCK, Block
from benchmarks.learning.results import RESULTS, current
from benchmarks.worlds.knobs import WorldKnobs

Curves = Mapping[tuple[int, str], Sequence[Block]]
"""(seed, arm) → its blocks."""
CONFIDENCE = 0.95
CLEAN_AGAIN = 2000
"""Untampered interactions after which what tampering cost is looked at."""


class Difference(NamedTuple):
    """A paired mean difference over seeds with its interval by Student's t; the interval is infinite for one seed."""

    mean: float
    low: float
    high: float
    seeds: int


def paired(differences: Sequence[float]) -> Difference:
    """Of one difference per seed."""
    values = np.asarray(differences, np.float64)
    count = len(values)
    half = np.inf
    if count > 1:
        half = float(student.ppf(0.5 + CONFIDENCE / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    mean = float(values.mean())
    return Difference(mean, mean - half, mean + half, count)


def lifts(curves: Curves, seeds: Sequence[int], arm: str) -> np.ndarray:
    """(seeds, blocks) of the shortest curve."""
    rows = [[line.lift for line in curves[seed, arm]] for seed in seeds]
    width = min(len(row) for row in rows)
    return np.array([row[:width] for row in rows])


def complete(curves: Curves, seeds: Sequence[int], arms: Sequence[str]) -> list[str]:
    """The arms that have a curve for every seed."""
    return [arm for arm in arms if all((seed, arm) in curves for seed in seeds)]


def against_best(curves: Curves, seeds: Sequence[int], arm: str, blocks: range) -> Difference | None:
    """An arm's mean lift over blocks minus that of the peer which is best there (by the mean over seeds), per block."""
    peers = [lifts(curves, seeds, peer) for peer in complete(curves, seeds, PEERS)]
    own = lifts(curves, seeds, arm)
    last = min([own.shape[1], *(peer.shape[1] for peer in peers)])
    chosen = [block for block in blocks if block < last]
    if not peers or not chosen:
        return None
    gaps = [
        own[:, block] - max((peer[:, block] for peer in peers), key=lambda one: float(one.mean())) for block in chosen
    ]
    return paired(list(np.mean(gaps, axis=0)))


def lost(usual: Curves, tampered: Curves, seeds: Sequence[int], arm: str, world: WorldKnobs) -> Difference | None:
    """The lift that an arm lacks once rewards have been clean again for `CLEAN_AGAIN` interactions; None: not played so far."""
    first = -(-(world.tampered_to + CLEAN_AGAIN) // BLOCK)
    one, other = lifts(usual, seeds, arm), lifts(tampered, seeds, arm)
    width = min(one.shape[1], other.shape[1])
    if width <= first:
        return None
    return paired(list((one[:, first:width] - other[:, first:width]).mean(axis=1)))


def table(curves: Curves, seeds: Sequence[int], field: str = "lift") -> list[str]:
    """One Markdown row per arm: mean over seeds by block; new products weighted by the requests they rest on."""
    arms = complete(curves, seeds, NAMES)
    width = min((len(curves[seed, arm]) for seed in seeds for arm in arms), default=0)
    rows = ["| arm | " + " | ".join(f"{block}–{block + 1}k" for block in range(width)) + " |", "|---|" + "---|" * width]
    for arm in arms:
        cells = [_cell([curves[seed, arm][block] for seed in seeds], field) for block in range(width)]
        rows.append(f"| {arm} | " + " | ".join(cells) + " |")
    return rows


def _cell(lines: Sequence[Block], field: str) -> str:
    counts = {"new_product_lift": "new_products", "unseen_product_lift": "unseen_products"}
    known = [line for line in lines if getattr(line, field) is not None]
    if not known:
        return "–"
    weights = [getattr(line, counts[field]) if field in counts else 1 for line in known]
    return f"{np.average([getattr(line, field) for line in known], weights=weights):.3f}"


def _show_lost(options: argparse.Namespace, curves: Curves, world: WorldKnobs, settings: Knobs | None) -> None:
    tampered = current(options.results, options.seeds, NAMES, world, settings)
    for arm in [
        arm for arm in complete(curves, options.seeds, NAMES) if arm in complete(tampered, options.seeds, NAMES)
    ]:
        if found := lost(curves, tampered, options.seeds, arm, world):
            print(f"{arm}: lift lost by tampering {found.mean:.3f} ({found.low:+.3f} to {found.high:+.3f})")


def main(arguments: list[str]) -> int:
    """Print tables and differences."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.report", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--settings", nargs="*", default=[], help="of the served arms, as they were played")
    parser.add_argument("--tampered", nargs="*", default=[], help="knobs of a world to compare the usual one with")
    options = parser.parse_args(arguments)
    settings = named(options.settings) or None
    curves = current(options.results, options.seeds, NAMES, WorldKnobs(), settings)
    for field in ("lift", "new_product_lift", "unseen_product_lift"):
        print(f"\n{field}, mean of seeds {options.seeds}\n")
        print("\n".join(table(curves, options.seeds, field)))
    print()
    for arm in complete(curves, options.seeds, ("fused", "fused_frozen", "lm", "critic")):
        for blocks in (range(1, 6), range(6, 20)):
            found = against_best(curves, options.seeds, arm, blocks)
            if found is not None:
                print(
                    f"{arm} minus the best peer of each block, {blocks.start}–{blocks.stop}k: {found.mean:+.3f} "
                    f"({found.low:+.3f} to {found.high:+.3f}, {found.seeds} seeds)"
                )
    if options.tampered:
        _show_lost(options, curves, world_of(options.tampered), settings)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
