"""How much of its own critic's lift the language model alone has: beside each decision of `lm`, what the critic of that moment would choose.

The critic's choice is made as arm `critic` makes it, heads and all, on the same request, and served to nobody: the critic learns from what
`lm` showed. The curve of `lm` is kept as `python -m benchmarks.learning` keeps it; what the critic's choices were worth lies beside the seeds,
in `own_critic/`.

Usage: python -m benchmarks.learning.own_critic --seeds 6 7 8 9 10 --interactions 20000 --json
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.learning.play import BLOCK, Gap, play
from benchmarks.learning.production import Production
from benchmarks.learning.report import paired
from benchmarks.learning.results import RESULTS, Line, code_of, covers, line_of, path_of, read, read_as
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from model.critic import Critic
from model.grid import ActionGrid
from model.policy import Decided, Knobs, decide
from streaming.contracts.ids import stable_seed
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest

ARM = "lm"
FOLDER = "own_critic"


class Beside(Line, frozen=True, kw_only=True):
    """A block of `lm`, and the lift of what its critic would have chosen meanwhile."""

    own_critic_lift: float


class Watched:
    """`lm`, and what its critic would choose."""

    def __init__(self, arm: Production, seed: int) -> None:
        """Around an arm that has learned nothing yet."""
        self._arm, self._seed = arm, seed
        self.wished: list[tuple[int, ...]] = []

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """As the arm does; the critic's wishes are remembered in order."""
        self.wished += [one.index for one in wishes(self._arm.critic, requests, grids, self._seed)]
        return self._arm.decide(requests, grids)

    def learn(self, reward: Reward) -> None:
        """As the arm does."""
        self._arm.learn(reward)

    def turn(self, number: int) -> None:
        """As the arm does."""
        self._arm.turn(number)


def wishes(
    critic: Critic, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid], seed: int
) -> list[Decided]:
    """What the critic alone would serve."""
    asked = [msgspec.structs.replace(request, arm="critic") for request in requests]
    rngs = [np.random.default_rng(stable_seed("own critic", one.request_id, str(seed))) for one in asked]
    return decide(asked, grids, critic, None, rngs, Knobs("none", "none", 1.0, 0.0))


def played(seed: int, count: int, results: Path) -> Iterator[Beside]:
    """The blocks of one seed: from the file if it covers them, else played and kept, here and as a curve of `lm`."""
    knobs = WorldKnobs()
    code = code_of(ARM, knobs)
    path = path_of(results / FOLDER, seed, ARM, code)
    kept = read_as(path, Beside)
    if covers(kept, count):
        yield from kept[: -(-count // BLOCK)]
        return
    found = []
    for block in _played(seed, count, code, World(seed, knobs)):
        found.append(block)
        yield block
    _keep(path, found)
    curve = path_of(results, seed, ARM, code)
    if not covers(read(curve), count):
        _keep(curve, [Line(**{name: getattr(block, name) for name in Line.__struct_fields__}) for block in found])


def _played(seed: int, count: int, code: str, world: World) -> Iterator[Beside]:
    arm = Watched(Production(ARM, world), seed)
    for block in play(world, arm, count):
        line, wished = line_of(seed, ARM, count, code, None, block), Gap()
        for number in range(block.block * BLOCK, block.block * BLOCK + line.interactions):
            moment = world.moment(number)
            wished.add(float(moment.values[arm.wished[number]]), moment.random, moment.oracle)
        yield Beside(**msgspec.structs.asdict(line), own_critic_lift=wished.lift or 0.0)


def _keep(path: Path, lines: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    partial.replace(path)


def main(arguments: list[str]) -> int:
    """One line per seed and block of a thousand."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning.own_critic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--interactions", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    options = parser.parse_args(arguments)
    found: dict[int, list[Beside]] = {}
    for seed in options.seeds:
        for block in played(seed, options.interactions, options.results):
            found.setdefault(seed, []).append(block)
            print(msgspec.json.encode(block).decode() if options.json else _shown(block), flush=True)
    if not options.json:
        print("\n".join(summary(found)))
    return 0


def summary(found: Mapping[int, Sequence[Beside]]) -> list[str]:
    """Per span of blocks the part of its critic's lift that `lm` has, by seed, and with two seeds or more their mean and interval."""
    lines = []
    for first, last in SPANS:
        parts = {seed: [block for block in blocks if first <= block.block < last] for seed, blocks in found.items()}
        if not all(parts.values()):
            continue
        shares = [sum(b.lift for b in blocks) / sum(b.own_critic_lift for b in blocks) for blocks in parts.values()]
        told = ", ".join(f"{share:.2f}" for share in shares)
        mean = paired(shares) if len(shares) > 1 else None
        interval = f": {mean.mean:.3f} (95 % {mean.low:.3f} to {mean.high:.3f})" if mean else ""
        lines.append(f"blocks {first} to {last - 1}: lm over its own critic {told}{interval}")
    return lines


SPANS = ((1, 6), (6, 20))
"""Of blocks: from the second thousand on, and from 6,000 on."""


def _shown(block: Beside) -> str:
    share = block.lift / block.own_critic_lift if block.own_critic_lift > 0.0 else float("nan")
    return f"seed {block.seed:3d}  block {block.block:2d}  lm {block.lift:6.3f}  its critic {block.own_critic_lift:6.3f}  share {share:5.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
