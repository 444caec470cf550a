"""Whether vectors find the complements of a simulated shop that is known through and through, and how long a new product takes.

Usage: python -m benchmarks.complements_found [--seeds N…] [--baskets N] [--json]

The shop of `benchmarks/complements.py`: 960 products, each with eight complements. Of each product the first five that are found beside it: the share that are its
complements, for products that were bought in training, and for those that nobody bought and no text of which was learned from. Beside: tf-idf neighbours, the most
popular, and what was bought beside it most often (nothing for a new product). Mean over seeds ± half the 95 % interval (Student's t).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from benchmarks.complements import world, write
from benchmarks.telling import say
from model.representation.baskets import read
from model.representation.embedder import Embedder
from model.representation.figures import Floats, tf_idf
from model.representation.pretrain import Settings
from model.representation.pretrain import main as pretrain
from model.representation.words import bags

FIRST, STEPS, TIMED = 5, 300, 1_000
BUCKETS = 1 << 18


def of_seed(seed: int, baskets: int) -> dict[str, float]:
    """The share of complements by way and kind of product, and the milliseconds of CPU that a new product takes."""
    made = world(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(made, folder / "data", baskets, seed)
        settings = Settings(steps=STEPS, width=64, buckets=4096, seed=seed)
        pretrain(folder / "data", folder / "run", settings, lambda *_: None, resume=False, overwrite=False)
        embedder = Embedder.load(folder / "run" / "representation")
        shop = read(folder / "data")
    vectors = embedder.embed(shop.said)
    bought, count = shop.baskets["train"], len(shop.ids)
    together = np.zeros((count, count))
    for basket in range(bought.total):
        items = bought.of(basket)
        together[np.ix_(items, items)] += 1
    words = tf_idf(bags(shop.said, BUCKETS), BUCKETS)(np.arange(count))
    ways = {
        "contrastive": vectors.beside @ vectors.own.T, "tf_idf": words, "popularity": np.tile(np.diag(together), (count, 1)),
        "bought_beside": together,
    }  # fmt: skip
    found = {}
    for kind, chosen in (("known", np.flatnonzero(made.part == "train")), ("new", np.flatnonzero(made.part == "test"))):
        for way, scores in ways.items():
            found[f"{kind} {way}"] = float(
                np.mean([share(scores[at], made.complements(at), at) for at in chosen.tolist()])
            )
    begun = time.process_time()
    for said in shop.said[:TIMED]:
        embedder.embed([said])
    return found | {"cpu_ms": 1_000 * (time.process_time() - begun) / len(shop.said[:TIMED])}


def share(scores: Floats, right: np.ndarray, own: int) -> float:
    """Of the first five, itself apart; where all scores are equal, what chance would find."""
    others = np.delete(np.arange(len(scores)), own)
    if np.ptp(scores[others]) == 0:
        return float(right[others].mean())
    best = others[np.argsort(-scores[others], kind="stable")[:FIRST]]
    return float(right[best].mean())


def main() -> None:
    """Print a row per way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--baskets", type=int, default=6_000)
    parser.add_argument("--json", action="store_true")
    wish = parser.parse_args()
    torch.set_num_threads(1)
    each = []
    for seed in wish.seeds:
        each.append(of_seed(seed, wish.baskets))
        say(f"seed {seed}: " + ", ".join(f"{name} {value:.3f}" for name, value in each[-1].items()))
    half = float(student.ppf(0.975, max(len(each) - 1, 1))) / len(each) ** 0.5
    columns = {name: np.array([one[name] for one in each]) for name in each[0]}
    rows = {name: [float(v.mean()), float(half * v.std(ddof=1)) if len(v) > 1 else 0.0] for name, v in columns.items()}
    if wish.json:
        sys.stdout.write(json.dumps({"seeds": wish.seeds, "baskets": wish.baskets, "found": rows}) + "\n")
        return
    for name, (value, width) in rows.items():
        sys.stdout.write(f"{name:24} {value:.3f} ± {width:.3f}\n")


if __name__ == "__main__":
    main()
