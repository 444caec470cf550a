"""What else could have been chosen beside each decision of a served policy, at the same moment and by the same models, and what it was worth.

Two runs of one policy differ by .05 of lift because they explored differently. Here nothing but the choice differs: others choose on the
same request, with the same draws, and are served to nobody; critic and adapter learn from what the policy showed.

| policy | others |
|---|---|
| `lm` | `critic`: its own critic as arm `critic` decides, heads and all |
| `fused` | `critic`: its own critic alone; `without_adapter`: the same fusion with the base as it is in the adapter's place, at the adapter's share |

A choice is one draw, and few decisions change with an adapter. Of the first slot, which is the product or the campaign, the whole
distribution is at hand, so that its expected lift is reported too: the same mean without the noise of drawing.

The policy's curve is kept as `python -m benchmarks.learning` keeps it; the others' blocks lie beside the seeds, in `beside/`. What this does
not show: what the others would have taught, had they been served.

Usage: python -m benchmarks.learning.beside --arm fused --seeds 6 7 8 9 10 --interactions 10000 --json
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.stats import ttest_1samp

from benchmarks.learning.play import BLOCK, YOUNG, Block, Gap, Tally, play
from benchmarks.learning.production import Production
from benchmarks.learning.report import paired
from benchmarks.learning.results import RESULTS, Line, code_of, covers, line_of, path_of, read, read_as
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import Moment, World
from model.decode import Floats
from model.grid import ActionGrid
from model.policy import Decided
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import StrategyRequest

FOLDER = "beside"
OTHERS = {"lm": ("critic",), "fused": ("critic", "without_adapter")}
"""Policy → who else chooses."""


class Choice(NamedTuple):
    """What was drawn, and (values,) the probabilities of the first slot that it was drawn from."""

    action: tuple[int, ...]
    first: Floats


class Beside(Line, frozen=True, kw_only=True):
    """A block of the policy, and the same of what others would have chosen; new products are new as the policy has shown them.

    Args:
        new_campaign_lift: policy or other → lift of ads that may show a campaign of the latest wave; empty where there was none.
        new_campaigns: such ads.
        new_product_slot: policy or other → expected lift of the product slot, on the requests of `new_product_lift`; empty in runs
            from before it was kept.
        new_campaign_slot: the same of the campaign slot, on such ads.
    """

    others: dict[str, Block]
    new_campaign_lift: dict[str, float] = msgspec.field(default_factory=dict)
    new_campaigns: int = 0
    new_product_slot: dict[str, float] = msgspec.field(default_factory=dict)
    new_campaign_slot: dict[str, float] = msgspec.field(default_factory=dict)


@dataclass
class Gaps:
    """Of one chooser, within a block: ads of new campaigns by what was drawn, and the first slot of those and of new products."""

    ads: Gap = field(default_factory=Gap)
    campaigns: Gap = field(default_factory=Gap)
    products: Gap = field(default_factory=Gap)

    def add(self, moment: Moment, choice: Choice, *, new_product: bool, new_campaign: bool) -> None:
        """Count one decision where it belongs."""
        if new_campaign:
            self.ads.add(float(moment.values[choice.action]), moment.random, moment.oracle)
            self.campaigns.add(*_expected(moment, choice.first))
        if new_product:
            self.products.add(*_expected(moment, choice.first))


def _expected(moment: Moment, first: Floats) -> tuple[float, float, float]:
    """(value, uniform, best) of the first slot's distribution, the other slots chosen uniformly."""
    means = moment.by_candidate()
    return float(np.nansum(first * means)), float(np.nanmean(means)), float(np.nanmax(means))


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


def played(arm: str, seed: int, count: int, results: Path) -> Iterator[Beside]:
    """The blocks of one seed: from the file if it covers them, else played and kept, here and as the policy's curve."""
    knobs = WorldKnobs()
    code = code_of(arm, knobs)
    path = path_of(results / FOLDER, seed, arm, code)
    kept = read_as(path, Beside)
    if covers(kept, count):
        yield from kept[: -(-count // BLOCK)]
        return
    found = []
    for block in _played(arm, seed, count, code, World(seed, knobs)):
        found.append(block)
        yield block
    _keep(path, found)
    curve = path_of(results, seed, arm, code)
    if not covers(read(curve), count):
        _keep(curve, [Line(**{name: getattr(block, name) for name in Line.__struct_fields__}) for block in found])


def _choices(decided: Iterable[Decided]) -> list[Choice]:
    return [Choice(one.index, one.slots[0].marginal) for one in decided]


def _played(arm: str, seed: int, count: int, code: str, world: World) -> Iterator[Beside]:
    watched = Watched(Production(arm, world), OTHERS[arm])
    choices = {arm: watched.served, **watched.wished}
    tallies = {name: Tally() for name in choices}
    for block in play(world, watched, count):
        line = line_of(seed, arm, count, code, None, block)
        gaps = {name: Gaps() for name in choices}
        for number in range(block.block * BLOCK, block.block * BLOCK + line.interactions):
            moment = world.moment(number)
            seen = dict(tallies[arm].impressions)
            of_new = {
                "new_product": moment.launch > 0 and seen.get(moment.launch, 0) < YOUNG,
                "new_campaign": _has_new_campaign(world, moment),
            }
            for name, chosen in choices.items():
                tallies[name].impressions = dict(seen)
                tallies[name].add(moment, chosen[number].action)
                gaps[name].add(moment, chosen[number], **of_new)
        others = {name: tally.close(block.block) for name, tally in tallies.items() if name != arm}
        tallies[arm].close(block.block)
        yield Beside(
            **msgspec.structs.asdict(line),
            others=others,
            new_campaign_lift=_lifts({name: gap.ads for name, gap in gaps.items()}),
            new_campaigns=gaps[arm].ads.count,
            new_product_slot=_lifts({name: gap.products for name, gap in gaps.items()}),
            new_campaign_slot=_lifts({name: gap.campaigns for name, gap in gaps.items()}),
        )


def _lifts(gaps: Mapping[str, Gap]) -> dict[str, float]:
    return {name: gap.lift for name, gap in gaps.items() if gap.lift is not None}


def _has_new_campaign(world: World, moment: Moment) -> bool:
    wave = world.shop.wave_at(moment.number)
    return wave > 0 and any(good.what == "campaign" and good.wave == wave for good in moment.setting.goods.values())


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
    options = parser.parse_args(arguments)
    found: dict[int, list[Beside]] = {}
    for seed in options.seeds:
        for block in played(options.arm, seed, options.interactions, options.results):
            found.setdefault(seed, []).append(block)
            print(msgspec.json.encode(block).decode() if options.json else _shown(block), flush=True)
    if not options.json:
        print("\n".join(summary(options.arm, found)))
    return 0


SPANS = ((1, 6), (6, 20))
"""Of blocks: from the second thousand on, and from 6,000 on."""


def summary(arm: str, found: Mapping[int, Sequence[Beside]]) -> list[str]:
    """Per span of blocks and other the policy's lift over the other's, and minus it, of new products and campaigns too; by seed, then in all."""
    lines = []
    for first, last in SPANS:
        parts = {seed: [block for block in blocks if first <= block.block < last] for seed, blocks in found.items()}
        if not all(parts.values()):
            continue
        for name in OTHERS[arm]:
            where = f"blocks {first} to {last - 1}: {arm}"
            one = [_lift(blocks) for blocks in parts.values()]
            other = [_lift([block.others[name] for block in blocks]) for blocks in parts.values()]
            lines.append(_told(f"{where} over {name}", [a / b for a, b in zip(one, other, strict=True)], wanted=1.0))
            lines.append(_told(f"{where} minus {name}", [a - b for a, b in zip(one, other, strict=True)]))
            new = [_new(blocks) - _new([b.others[name] for b in blocks]) for blocks in parts.values()]
            lines.append(_told(f"{where} minus {name}, new products", new))
            for what, lifts in _OF_NEW.items():
                news = [lifts(blocks, arm) - lifts(blocks, name) for blocks in parts.values()]
                if shown := [one for one in news if not np.isnan(one)]:
                    lines.append(_told(f"{where} minus {name}, {what}", shown))
    return lines


def _lift(blocks: Sequence[Block]) -> float:
    value, uniform, best = (sum(getattr(block, name) for block in blocks) for name in ("reward", "random", "oracle"))
    return float((value - uniform) / (best - uniform))


def _weighted(lifts: Iterable[tuple[float | None, int]]) -> float:
    """Mean of the lifts that there are, by how many requests each rests on; NaN for none."""
    known = [(lift, count) for lift, count in lifts if lift is not None]
    total = sum(count for _, count in known)
    return sum(lift * count for lift, count in known) / total if total else np.nan


def _new(blocks: Sequence[Block]) -> float:
    return _weighted((block.new_product_lift, block.new_products) for block in blocks)


def _ads(blocks: Sequence[Beside], name: str) -> float:
    return _weighted((block.new_campaign_lift.get(name), block.new_campaigns) for block in blocks)


def _product_slot(blocks: Sequence[Beside], name: str) -> float:
    return _weighted((block.new_product_slot.get(name), block.new_products) for block in blocks)


def _campaign_slot(blocks: Sequence[Beside], name: str) -> float:
    return _weighted((block.new_campaign_slot.get(name), block.new_campaigns) for block in blocks)


_OF_NEW = {
    "new campaigns": _ads,
    "new products, expected of the slot": _product_slot,
    "new campaigns, expected of the slot": _campaign_slot,
}
"""What is summed up → lift of a policy or other over some blocks; NaN where there was none, or in runs from before it was kept."""


def _told(what: str, values: Sequence[float], wanted: float = 0.0) -> str:
    said = f"{what}: " + ", ".join(f"{value:+.3f}" for value in values)
    if len(values) < 2:  # noqa: PLR2004 -- one seed has no interval
        return said
    found = paired(values)
    chance = float(ttest_1samp(values, wanted).pvalue)
    return f"{said}; mean {found.mean:+.3f} (95 % {found.low:+.3f} to {found.high:+.3f}; p = {chance:.4f} that it is {wanted:g})"


def _shown(block: Beside) -> str:
    others = "  ".join(f"{name} {other.lift:6.3f}" for name, other in block.others.items())
    return f"seed {block.seed:3d}  block {block.block:2d}  {block.arm} {block.lift:6.3f}  {others}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
