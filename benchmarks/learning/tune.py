"""Tunes a peer on the tuning seeds: every combination of its grid, kept, so that an interrupted search goes on.

Usage: python -m benchmarks.learning.tune --peers lints,vw --interactions 4000 --seeds 1 2 3 4 5
"""

import argparse
import os
import sys
from itertools import product
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.learning.arms import PEERS, Knobs
from benchmarks.learning.results import RESULTS, code_of, path_of, read
from benchmarks.learning.runs import Task, run_all
from benchmarks.learning.tuned import GRIDS, TUNING_SEEDS
from benchmarks.worlds.knobs import WorldKnobs

TUNING = RESULTS / "tuning"


class Tried(msgspec.Struct, frozen=True):
    """A combination and what it reached: mean lift over seeds and blocks, of each seed too."""

    knobs: Knobs
    lift: float
    by_seed: dict[str, float]


class Published(msgspec.Struct, frozen=True):
    """A peer's grid, best first."""

    peer: str
    interactions: int
    seeds: tuple[int, ...]
    tried: tuple[Tried, ...]


ONLY_OF = {"c": "logistic", "rate": "boosted"}
"""Knob of the epsilon-greedy peer → the model that has it; for the other one it is not varied."""


def combinations(peer: str) -> list[Knobs]:
    """Every combination of a grid that is different in what is played."""
    grid = GRIDS[peer]
    found = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if peer != "epsilon":
        return found
    first = {name: values[0] for name, values in grid.items()}
    return [
        knobs
        for knobs in found
        if all(knobs["model"] == model or knobs[name] == first[name] for name, model in ONLY_OF.items())
    ]


def tune(peer: str, seeds: tuple[int, ...], count: int, processes: int, folder: Path = TUNING) -> Published:
    """Play what has not been played, and publish the grid."""
    world = WorldKnobs()
    tried = combinations(peer)
    tasks = [Task(seed, peer, count, world, folder, knobs) for knobs in tried for seed in seeds]
    for line in run_all(tasks, processes):
        print(f"{peer} seed {line.seed} block {line.block}: {line.lift:.3f}  {line.knobs}", flush=True)
    found = []
    for knobs in tried:
        code = code_of(peer, world, knobs)
        lifts = {
            str(seed): float(np.mean([line.lift for line in read(path_of(folder, seed, peer, code))])) for seed in seeds
        }
        found.append(Tried(knobs, float(np.mean(list(lifts.values()))), lifts))
    published = Published(peer, count, seeds, tuple(sorted(found, key=lambda one: -one.lift)))
    (folder / f"{peer}.json").write_bytes(msgspec.json.format(msgspec.json.encode(published), indent=1) + b"\n")
    return published


def main(arguments: list[str]) -> int:
    """Tune the peers named, and print the best of each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.tune", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(TUNING_SEEDS))
    parser.add_argument("--interactions", type=int, default=4000)
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 4))
    options = parser.parse_args(arguments)
    if not set(options.seeds) <= set(TUNING_SEEDS):
        parser.error(f"--seeds: of {TUNING_SEEDS}: the others are for what is reported")
    for peer in options.peers.split(","):
        published = tune(peer, tuple(options.seeds), options.interactions, options.processes)
        for tried in published.tried:
            print(f"{peer}: {tried.lift:.3f}  {tried.knobs}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
