"""What else could have been chosen beside each decision of a served policy, at the same moment and by the same models, and what it was worth.

Two runs of one policy differ by .05 of lift because they explored differently. Here nothing but the choice differs: others choose on the
same request, with the same draws, and are served to nobody; critic and adapter learn from what the policy showed.

| policy | others |
|---|---|
| `lm` | `critic`: its own critic as arm `critic` decides, heads and all |
| `fused` | `critic`: its own critic alone; `without_adapter`: the same fusion with the base as it is in the adapter's place, at the adapter's share |
| `fused`, `--others critic lm` | `lm`: the language model alone, with its adapter, as arm `lm` decides: what production serves to that arm's customers, where other arms explore |

A choice is one draw, and few decisions change with an adapter. Of the first slot, which is the product or the campaign, the whole
distribution is at hand, so that its expected lift is reported too: the same mean without the noise of drawing.

The policy's curve is kept as `python -m benchmarks.learning` keeps it; the others' blocks lie beside the seeds, in `beside/`. What this does
not show: what the others would have taught, had they been served.

Usage: python -m benchmarks.learning.beside --arm fused --seeds 6 7 8 9 10 --interactions 10000 --json
       python -m benchmarks.learning.beside --arm fused --others critic lm --seeds 11 12 13 14 15 --interactions 20000
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.learning.arms import PEERS
from benchmarks.learning.beside_blocks import EVERYBODY, OTHERS, Beside, Choice, Gaps, has_new_campaign, lifts_of
from benchmarks.learning.beside_summary import beside_peers, summary
from benchmarks.learning.play import BLOCK, Tally, play
from benchmarks.learning.production import Production
from benchmarks.learning.results import RESULTS, Line, code_of, covers, current, line_of, path_of, read, read_as
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from model.grid import ActionGrid
from model.policy import Decided
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest

FOLDER = "beside"


class Watched:
    """A policy, and what others would choose beside it."""

    def __init__(self, arm: Production, others: Sequence[str]) -> None:
        """Around an arm that has learned nothing yet."""
        self._arm = arm
        self.served: list[Choice] = []
        self.wished: dict[str, list[Choice]] = {name: [] for name in others}

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """As the arm does; everybody's choices are remembered in order."""
        acted = self._arm.decide(requests, grids)
        self.served += _choices(self._arm.decided)
        for name, wished in self.wished.items():
            wished.extend(_choices(self._arm.wishes(name, requests, grids)))
        return acted

    def learn(self, reward: Reward) -> None:
        """As the arm does."""
        self._arm.learn(reward)

    def turn(self, number: int) -> None:
        """As the arm does."""
        self._arm.turn(number)


def played(arm: str, others: Sequence[str], seed: int, count: int, results: Path) -> Iterator[Beside]:
    """The blocks of one seed: from the file if it covers them, else played and kept, here and as the policy's curve."""
    knobs = WorldKnobs()
    code = code_of(arm, knobs)
    path = path_of(results / FOLDER, seed, arm, code)
    if tuple(others) != OTHERS[arm]:
        path = path.with_stem("-".join([path.stem, *others]))
    kept = read_as(path, Beside)
    if covers(kept, count):
        yield from kept[: -(-count // BLOCK)]
        return
    found = []
    for block in _played(arm, others, seed, count, code, World(seed, knobs)):
        found.append(block)
        yield block
    _keep(path, found)
    curve = path_of(results, seed, arm, code)
    if not covers(read(curve), count):
        _keep(curve, [Line(**{name: getattr(block, name) for name in Line.__struct_fields__}) for block in found])


def _choices(decided: Iterable[Decided]) -> list[Choice]:
    return [Choice(one.index, one.slots[0].marginal) for one in decided]


def _played(arm: str, others: Sequence[str], seed: int, count: int, code: str, world: World) -> Iterator[Beside]:
    watched = Watched(Production(arm, world), others)
    choices = {arm: watched.served, **watched.wished}
    tallies = {name: Tally() for name in choices}
    for block in play(world, watched, count):
        line = line_of(seed, arm, count, code, None, block)
        gaps = {name: Gaps() for name in choices}
        for number in range(block.block * BLOCK, block.block * BLOCK + line.interactions):
            _add(world, number, choices, tallies, gaps)
        closed = {name: tally.close(block.block) for name, tally in tallies.items()}
        yield Beside(
            **msgspec.structs.asdict(line),
            others={name: one for name, one in closed.items() if name != arm},
            new_campaign_lift=lifts_of({name: gap.ads for name, gap in gaps.items()}),
            new_campaigns=gaps[arm].ads.count,
            new_product_slot=lifts_of({name: gap.products for name, gap in gaps.items()}),
            new_campaign_slot=lifts_of({name: gap.campaigns for name, gap in gaps.items()}),
        )


def _add(
    world: World,
    number: int,
    choices: Mapping[str, Sequence[Choice]],
    tallies: Mapping[str, Tally],
    gaps: Mapping[str, Gaps],
) -> None:
    """Count everybody's choice of one interaction; what is new is so by the impressions of the first, who was served."""
    moment, served = world.moment(number), next(iter(tallies.values()))
    seen, new_before = dict(served.impressions), served.new.count
    for name, tally in tallies.items():
        tally.impressions = dict(seen)
        tally.add(moment, choices[name][number].action)
    new_product, new_campaign = served.new.count > new_before, has_new_campaign(world, moment)
    for name, gap in gaps.items():
        gap.add(moment, choices[name][number], new_product=new_product, new_campaign=new_campaign)


def _keep(path: Path, lines: Sequence[Line]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    partial.replace(path)


def main(arguments: list[str]) -> int:
    """One line per seed and block of a thousand."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning.beside",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--arm", choices=sorted(OTHERS), required=True)
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--interactions", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a table")
    parser.add_argument("--others", nargs="+", choices=EVERYBODY, help="who else chooses, in place of the table's")
    options = parser.parse_args(arguments)
    asked = options.others or OTHERS[options.arm]
    if options.arm in asked:
        parser.error(f"--others: {options.arm} is the policy itself")
    others = tuple(name for name in EVERYBODY if name in asked)
    found: dict[int, list[Beside]] = {}
    for seed in options.seeds:
        for block in played(options.arm, others, seed, options.interactions, options.results):
            found.setdefault(seed, []).append(block)
            print(msgspec.json.encode(block).decode() if options.json else _shown(block), flush=True)
    if not options.json:
        peers = current(options.results, options.seeds, PEERS, WorldKnobs(), None)
        lines = [*summary(options.arm, others, found), *beside_peers((options.arm, *others), found, peers)]
        print("\n".join(lines))
    return 0


def _shown(block: Beside) -> str:
    others = "  ".join(f"{name} {other.lift:6.3f}" for name, other in block.others.items())
    return f"seed {block.seed:3d}  block {block.block:2d}  {block.arm} {block.lift:6.3f}  {others}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
