"""Vectors in the loop: a simulated shop whose customers answer to complements of what they looked at, first with known products, then with new ones alone.

Usage: python -m benchmarks.representation_loop [--seeds N…] [--interactions N] [--json]

The shop of `benchmarks/complements.py`: vectors are learned from 6,000 baskets of its older products. A customer looks at a product, a recommendation is
asked for as the agents do, a critic of the updater's kind decides by its posterior mean, and learns from every answer: a complement of what was looked at is clicked
with probability .5, anything else with .05. After `--interactions` the whole assortment is replaced by products that nobody has bought or answered
for, and half as many follow. Arms: `without` vectors; `relations`, told to the critic alone; `candidates`, neighbours offered alone; `whole`, both. One row is a mean over seeds of the
chance of a click by what was chosen, with the 95 % interval over seeds (Student's t), and how often a complement was among the candidates.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.complements import World, world, write
from benchmarks.simulated import reward_of
from benchmarks.telling import say
from model.critic import Critic
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from model.representation.placed import CatalogVectors, PlacedProducts
from model.representation.pretrain import Settings
from model.representation.pretrain import main as pretrain
from streaming.asking import ask
from streaming.contracts.catalog import Product
from streaming.contracts.codec import to_ms
from streaming.contracts.events import Event, ProductProperties
from streaming.contracts.ids import stable_seed
from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import StrategyRequest
from streaming.profile import EMPTY, fold
from streaming.reference import Reference
from streaming.reward import Formula
from streaming.row import Row
from streaming.rules import HOUR_MS, Rules
from streaming.triggers import Moment
from streaming.vectors import Placed, Vectors

ARMS = ("without", "relations", "candidates", "whole")
BASKETS, STEPS = 6_000, 300
CLICK, OTHER_CLICK = 0.5, 0.05
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Half:
    """Vectors that tell one thing alone, neighbours or relations."""

    def __init__(self, vectors: CatalogVectors, *, neighbours: bool) -> None:
        """Ask `vectors`."""
        self._vectors, self._neighbours = vectors, neighbours

    def placed(self, products: Mapping[str, Product]) -> Placed:
        """The snapshot without the other."""
        return HalfPlaced(self._vectors.placed(products), neighbours=self._neighbours)


class HalfPlaced:
    """A snapshot's neighbours or relations."""

    def __init__(self, placed: PlacedProducts, *, neighbours: bool) -> None:
        """Ask `placed`."""
        self._placed, self._neighbours = placed, neighbours

    def beside(self, product_id: str, limit: int) -> Sequence[str]:
        """What the vectors say, or no product."""
        return self._placed.beside(product_id, limit) if self._neighbours else ()

    def relation(self, product_id: str, recent: Sequence[str]) -> dict[str, float]:
        """What the vectors say, or nothing."""
        return {} if self._neighbours else self._placed.relation(product_id, recent)


def catalog(of: World, *, new: bool) -> dict[str, Product]:
    """The older products, or those that nobody has bought; all at one price."""
    chosen = np.flatnonzero((of.part == "train") != new).tolist()
    launched = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        f"p{at:04d}": Product(
            f"p{at:04d}", of.names[at], ("shop",), "", 1_000, "USD", 600, 10, launched_at=launched,
        )
        for at in chosen
    }  # fmt: skip


def asked(number: int, seed: int, reference: Reference) -> tuple[int, StrategyRequest] | None:
    """The product that a customer looks at, and what is asked for."""
    rng = Random(stable_seed("loop", str(seed), str(number)))
    looked = rng.choice(reference.product_ids)
    now_ms = to_ms(NOON) + number * 1_000
    event = Event(f"m{number}", "Product Viewed", f"u{number}", None, now_ms - HOUR_MS // 6, ProductProperties(looked))
    row = Row(f"u{number}", "critic", fold(EMPTY, event, reference))
    request = ask(
        row, Moment("session_start", "recommendation", f"c{number}", now_ms, {}), reference, now_ms, Rules()
    ).request
    return None if request is None else (int(looked[1:]), request)


def decided(critic: Critic, request: StrategyRequest) -> dict[str, str]:
    """The best action by the posterior mean."""
    grid = ActionGrid.of(request)
    values = np.where(grid.allowed, critic.values(request, grid)[0], -np.inf)
    return grid.decision(tuple(int(i) for i in np.unravel_index(int(np.argmax(values)), grid.shape)))


def play(seed: int, arm: str, interactions: int, vectors: CatalogVectors) -> dict[str, list[float]]:
    """Chances of a click, and whether a complement was offered: of each interaction in turn."""
    of, formula = world(seed), Formula()
    learner = CriticLearner(LearnerKnobs(seed=seed), formula)
    critic = learner.snapshot()
    halves = {name: Half(vectors, neighbours=name == "candidates") for name in ("relations", "candidates")}
    used: Vectors | None = {"without": None, "whole": vectors, **halves}[arm]
    chances, offered = [], []
    for number in range(interactions + interactions // 2):
        if number in {0, interactions}:
            reference = Reference(catalog(of, new=number > 0), vectors=used)
        found = asked(number, seed, reference)
        if found is None:
            continue
        looked, request = found
        beside = of.complements(looked)
        decision = decided(critic, request)
        chance = CLICK if beside[int(decision["product"][1:])] else OTHER_CLICK
        chances.append(chance)
        offered.append(float(any(beside[int(c.id[1:])] for c in request.candidates)))
        clicked = Random(stable_seed("answer", str(seed), str(number))).random() < chance
        outcomes = Outcomes("USD", shown=True, clicked=clicked, shown_at=NOON, clicked_at=NOON if clicked else None)
        if learner.learn(reward_of(request, decision, outcomes, 1.0, 0.0)).refitted:
            critic = learner.snapshot()
    return {"chance": chances, "offered": offered}


def blocks(played: dict[str, list[float]], interactions: int) -> dict[str, float]:
    """Means of the second half of the older products, and of the new ones' first 250 and all."""
    parts = {
        "known": slice(interactions // 2, interactions),
        "new_first_250": slice(interactions, interactions + 250),
        "new": slice(interactions, None),
    }
    return {
        f"{name}_{what}": float(np.mean(values[part]))
        for what, values in played.items()
        for name, part in parts.items()
    }


def main() -> None:
    """Print a row per arm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--interactions", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for seed in wish.seeds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(world(seed), folder / "data", BASKETS, seed)
            settings = Settings(steps=STEPS, width=32, buckets=4096, seed=seed)
            pretrain(folder / "data", folder / "run", settings, lambda *_: None, resume=False, overwrite=False)
            for arm in ARMS:
                vectors = CatalogVectors.load(folder / "run" / "representation")
                found[arm].append(blocks(play(seed, arm, wish.interactions, vectors), wish.interactions))
                say(f"seed {seed}, {arm}: " + ", ".join(f"{key} {value:.3f}" for key, value in found[arm][-1].items()))
    half = float(student.ppf(0.975, max(len(wish.seeds) - 1, 1))) / len(wish.seeds) ** 0.5
    rows = {}
    for arm, each in found.items():
        columns = {key: np.array([one[key] for one in each]) for key in each[0]}
        rows[arm] = {
            k: [float(v.mean()), float(half * v.std(ddof=1)) if len(v) > 1 else 0.0] for k, v in columns.items()
        }
    if wish.json:
        sys.stdout.write(json.dumps({"seeds": wish.seeds, "interactions": wish.interactions, "arms": rows}) + "\n")
        return
    for arm, row in rows.items():
        sys.stdout.write(
            f"{arm:10} " + "  ".join(f"{key} {value:.3f} ± {width:.3f}" for key, (value, width) in row.items()) + "\n"
        )


if __name__ == "__main__":
    main()
