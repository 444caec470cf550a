"""How well each arm does in a simulated shop whose every action has a known worth: one JSON line per arm and block of 1,000.

    lift = (reward - random) / (oracle - random)

Usage: python -m benchmarks.learning --seed 6 --interactions 8000 --arms fused,critic,lints --json
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.learning.arms import NAMES, PRODUCTION
from benchmarks.learning.results import RESULTS, Line
from benchmarks.learning.runs import Task, run_all
from benchmarks.worlds.knobs import WorldKnobs


def options_of(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[6], help="1 to 5 are for tuning: report others")
    parser.add_argument("--interactions", type=int, default=8000)
    parser.add_argument("--arms", default=",".join(NAMES), help=f"of {','.join(NAMES)}")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 4), help="arms at once")
    parser.add_argument("--results", type=Path, default=RESULTS, help="curves are kept here and not run twice")
    parser.add_argument("--world", nargs="*", default=[], help="knobs of the world, name=value")
    parser.add_argument("--settings", nargs="*", default=[], help="the updater's, for the served arms, name=value")
    options = parser.parse_args(arguments)
    unknown = set(options.arms.split(",")) - set(NAMES)
    if unknown:
        parser.error(f"--arms: {', '.join(sorted(unknown))}: of {', '.join(NAMES)} wanted")
    return options


def named(pairs: list[str]) -> dict[str, Any]:
    """`name=value` with values in JSON."""
    return {name: msgspec.json.decode(value) for name, value in (pair.split("=", 1) for pair in pairs)}


def world_of(pairs: list[str]) -> WorldKnobs:
    """The default world with some knobs changed."""
    return msgspec.convert({**msgspec.to_builtins(WorldKnobs()), **named(pairs)}, WorldKnobs)


def shown(line: Line) -> str:
    """A line for people."""
    new = "    –" if line.new_product_lift is None else f"{line.new_product_lift:5.2f}"
    return (
        f"seed {line.seed:3d}  {line.arm:12s} block {line.block:2d}  lift {line.lift:6.3f}  new products {new}  "
        f"reward {line.reward:.4f}  (random {line.random:.4f}, oracle {line.oracle:.4f})"
    )


def main(arguments: list[str]) -> int:
    """Print every line as it comes."""
    options = options_of(arguments)
    world = world_of(options.world)
    settings = named(options.settings) or None
    tasks = [
        Task(seed, arm, options.interactions, world, options.results, settings if arm in PRODUCTION else None)
        for seed in options.seed
        for arm in options.arms.split(",")
    ]
    for line in run_all(tasks, options.processes):
        print(msgspec.json.encode(line).decode() if options.json else shown(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
