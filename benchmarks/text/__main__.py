"""Whether the language model reads texts: its choice of product beside its own critic's, with names, texts and wordings changed.

A critic plays a world of `benchmarks/worlds`, an adapter is taught by it, and both choose products for the requests that come next. Lift of
the first slot alone, exact (`benchmarks/text/lifts.py`). One JSON line per seed and condition, then a table over the seeds.

- known: products as they are sold. permuted: under each other's ids, in another order. swapped: each id shows another product; the values are
  those of the ids. words: the same, but prices and relations to the customer stay.
- fresh: products that base, adapter and critic never saw, of the shop's words. strange: of words that pretraining never saw. order: the words in
  an order drawn for each product. free: in free descriptions.

Usage: python -m benchmarks.text --seed 6 7 8 9 10 --json
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.learning.report import paired
from benchmarks.telling import say
from benchmarks.text.learned import SLOT, Learned, distilled, kept, place_of, played
from benchmarks.text.lifts import (
    WORDLESS,
    Asked,
    asked,
    lift,
    moments,
    of_critic,
    of_model,
    permuted,
    swapped,
    without_words,
)
from benchmarks.text.wordings import Fresh, free_text, fresh, other_order, reworded
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from model.lm import LanguageModel
from services.settings import UpdaterSettings, load

INTERACTIONS, REQUESTS = 4_000, 200
WORLD = WorldKnobs(drift_from=0, drift_to=0)
"""The default world without its abrupt drift, which is a question of its own."""
CHANCE = ("swapped", "words")


class Line(msgspec.Struct, frozen=True):
    """What one seed says of one condition.

    Args:
        lm, critic: lifts of the adapter alone and of its critic, as served.
        ids, relations: of critics that saw no words: ids alone; or prices, margins and what relates products to the customer too.
        share: of the critic's lift that the adapter has: where ids or texts are changed, of its lift with `known` as it is.
    """

    seed: int
    condition: str
    lm: float
    critic: float
    ids: float
    relations: float
    share: float


def conditions(seed: int, first: int, count: int) -> dict[str, list[Asked]]:
    """The requests of each condition; the fresh ones have the same customers everywhere, and order and free the products of fresh."""
    known = asked(moments(World(seed, WORLD), first, count, launched=False))
    found = {"known": known, "permuted": permuted(known, seed), "swapped": swapped(known)}
    found["words"] = swapped(known, words_only=True)
    goods = fresh(seed, first)
    shelves = {
        "fresh": goods,
        "strange": fresh(seed, first, only_strange=True),
        "order": reworded(goods, other_order, seed),
        "free": reworded(goods, free_text, seed),
    }
    for name, shelf in shelves.items():
        world = World(seed, msgspec.structs.replace(WORLD, launch_share=1.0))
        world.shop = Fresh(seed, world.knobs, shelf)
        found[name] = asked(moments(world, first, count, launched=True))
    return found


def lines(seed: int, learned: Learned, lm: LanguageModel, first: int, count: int) -> Iterator[Line]:
    """Every condition of a seed."""
    temperature = load(UpdaterSettings, {}).lm_temperature
    usual = 0.0
    for name, asks in conditions(seed, first, count).items():
        own = lift(asks, of_model(lm, SLOT, asks, temperature))
        critic = lift(asks, of_critic(learned.critic, asks))
        usual = critic if name == "known" else usual
        others = {
            seen: lift(asks, of_critic(one, [Asked(without_words(ask.request, seen), ask.values) for ask in asks]))
            for seen, one in learned.wordless.items()
        }
        whole = usual if name in ("permuted", *CHANCE) else critic
        yield Line(seed, name, *(round(each, 4) for each in (own, critic, *others.values(), own / whole)))


def table(found: Sequence[Line]) -> list[str]:
    """A Markdown row per condition: means over seeds, and intervals (95 %, Student's t, paired by seed)."""
    lifts = ("lm", "critic", *WORDLESS)
    heads = ("products", "`lm`", "its critic", *(f"critic on {name}" for name in WORDLESS), "`lm` over its critic")
    heads += tuple(f"`lm` minus {name}" for name in WORDLESS)
    rows = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for name in dict.fromkeys(line.condition for line in found):
        of = [line for line in found if line.condition == name]
        cells = [name, *(f"{np.mean([getattr(line, key) for line in of]):.3f}" for key in lifts)]
        cells.append(_interval([line.share for line in of], ""))
        cells += [_interval([line.lm - getattr(line, other) for line in of], "+") for other in WORDLESS]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _interval(values: Sequence[float], sign: str) -> str:
    found = paired(values)
    return f"{found.mean:{sign}.3f} ({found.low:{sign}.3f} to {found.high:{sign}.3f})"


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.text", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[6, 7, 8, 9, 10], help="1 to 5 are for tuning")
    parser.add_argument("--interactions", type=int, default=INTERACTIONS, help="that the critic plays")
    parser.add_argument("--steps", type=int, default=0, help="of the LoRA; 0: as many as the updater takes by then")
    parser.add_argument(
        "--rate", type=float, help="of learning, of the LoRA, the same for all steps; else the product's, which falls"
    )
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each condition")
    parser.add_argument(
        "--keep", type=Path, help="folder for what was played and taught: what lies there is not made again"
    )
    parser.add_argument("--json", action="store_true", help="JSON lines before the table")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Print every line as it comes, then the table."""
    chosen = options_of(arguments)
    found: list[Line] = []
    for seed in chosen.seed:
        world = World(seed, WORLD)
        learned = kept(chosen.keep, world, chosen.interactions) if chosen.keep else played(world, chosen.interactions)
        steps = chosen.steps or learned.rewards // load(UpdaterSettings, {}).train_every
        at = (
            place_of(chosen.keep, world, chosen.interactions) / f"adapter-{steps}-{chosen.rate}"
            if chosen.keep
            else None
        )
        lm = distilled(learned, seed, steps, chosen.rate, at)
        for line in lines(seed, learned, lm, chosen.interactions, chosen.requests):
            found.append(line)
            told = msgspec.to_builtins(line)
            say(str(told)) if not chosen.json else print(json.dumps(told), flush=True)
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
