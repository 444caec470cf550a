"""Products as vectors on real purchases: what customers buy in the next 30 days, beside popularity, personal frequency, EASE and tf-idf.

Usage: python -m benchmarks.representations FOLDER [--unit type|product] [--split time|new] [--seed N] [--json]

FOLDER is what `stratagem data prepare` made (of Complete Journey). Every way of ranking is tuned on what is bought in October and in November, from
what was bought before each, and judged on December, made anew from all before it. Judged are customers who bought before and within the month; recall@20 is the share of
the different goods that each bought which are among the first 20, its mean over customers.

--split time: all goods may be ranked. --split new: a fifth of the texts is held out whole (nothing that was bought of them is told, no text of them is
learned from), and only they are ranked. A way of ranking adds up what it has: what the customer bought, popularity, and how goods go with what the
customer bought. Intervals: 95 %, customers drawn anew 2,000 times, differences on the same draws.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import product as grid
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from scipy import sparse

from benchmarks.peers.ease import ease
from benchmarks.representation_months import HALF_LIVES, JUDGED, TUNED, WINDOWS, Floats, Month, goods, month
from benchmarks.telling import say
from model.representation.pretrain import Settings, Work
from model.representation.start import tf_idf_rows
from model.representation.words import bags, rarity
from model.training.runs import Run, identity_of
from model.training.trackers import Nowhere

NEAREST, RESAMPLES = 20, 2_000
SHARPNESSES = (1.5, 3.0, 6.0, 12.0)
POPULAR, BESIDE = (0.0, 30.0, 60.0, 100.0, 200.0), (0.3, 1.0, 3.0, 10.0)
RIDGES, MOST_EASE = (100.0, 300.0, 1_000.0), 3_000
"""EASE inverts a matrix of goods by goods: the most popular ones, the others have no score by it."""
EASED = (1.0, 3.0, 10.0, 30.0)
STEPS = 300
TF_IDF_BUCKETS = 1 << 18
SMOOTHING = 12.0
"""Sharpness with which popularity of new goods is read off what is near them."""
Score = Callable[[Month], Floats]
"""(customers, goods) scores."""
Ways = Iterable[tuple[dict[str, Any], Score]]


def near_by_words(of: Month) -> Floats:
    """(texts, texts) cosines of tf-idf."""
    found = bags(of.said, TF_IDF_BUCKETS)
    rows = tf_idf_rows(found, rarity(found, TF_IDF_BUCKETS))
    near: Floats = (rows @ rows.T).toarray().astype(np.float32)
    return near


def near_by_vectors(of: Month, window: float, steps: int, seed: int) -> Floats:
    """(texts, texts) `beside` of each against `own` of each, by an encoder learned from what was bought together."""
    train = of.baskets[window]
    shop = msgspec.structs.replace(of.shop, baskets={"train": train, "valid": of.baskets[0.0]})
    work = Work(shop, Settings(window_days=window, steps=steps, seed=seed, rate=1e-3))
    with tempfile.TemporaryDirectory() as folder, Run(Path(folder) / "run", identity_of({}, "", seed)) as run:
        work.learn(run, lambda *_: None, Nowhere())
    vectors = work.embedder("").embed(of.said)
    near: Floats = vectors.beside @ vectors.own.T
    return near


def beside(of: Month, near: Floats, words: Floats, half_life: float, sharpness: float) -> Floats:
    """(customers, goods) how what the customer bought goes with each good: its share of p(good | bought) ∝ popularity · exp(sharpness · near).

    Popularity of what nobody could buy is that of the texts near it by their words, whatever `near` is.
    """
    table = sparse.csr_matrix(
        (np.ones(len(of.of_text)), (np.arange(len(of.of_text)), of.of_text)), (len(of.of_text), len(of.said))
    )
    bought = (of.history[half_life] @ table).tocsr()
    share = of.popular[half_life] if of.ranked.all() else smoothed(of, words, half_life)
    share = np.where(of.ranked, share, 0.0)
    by_text = np.asarray(share @ table).ravel()
    known = np.unique(bought.indices)
    found = np.zeros((bought.shape[0], len(of.said)), np.float32)
    for at in range(0, len(known), 512):
        part = known[at : at + 512]
        chance = np.exp(sharpness * (near[part] - near[part].max(1, keepdims=True))) * by_text
        found += bought[:, part] @ (chance / np.maximum(chance.sum(1, keepdims=True), 1e-12)).astype(np.float32)
    scores: Floats = found[:, of.of_text] * (share / np.maximum(by_text[of.of_text], 1e-12))
    return scores


def smoothed(of: Month, near: Floats, half_life: float) -> Floats:
    """(goods,) popularity by what is near: mean over the texts that could be bought, the nearest counting most."""
    known = np.unique(of.of_text[~of.ranked])
    by_text = np.bincount(of.of_text, of.popular[half_life], len(of.said))[known]
    weight = np.exp(SMOOTHING * (near[:, known] - near[:, known].max(1, keepdims=True)))
    found = weight @ by_text / weight.sum(1)
    share: Floats = found[of.of_text] / found[of.of_text].sum()
    return share


def recalls(of: Month, scores: Floats) -> Floats:
    """(customers,) recall@20."""
    allowed = np.where(of.ranked, scores, -np.inf)
    top = np.argpartition(-allowed, NEAREST, axis=1)[:, :NEAREST]
    hit = np.take_along_axis(of.bought.toarray() > 0, top, axis=1).sum(1)
    found: Floats = hit / np.diff(of.bought.indptr)
    return found


class Bench:
    """The two months, and what was computed of them already."""

    def __init__(self, folder: Path, unit: str, *, new: bool, seed: int) -> None:
        """Read the purchases."""
        bought, names, said = goods(folder, unit)
        *self.tuned, self.judged = (month(bought, names, said, begin, new=new) for begin in (*TUNED, JUDGED))
        self.new, self.seed = new, seed
        self._near: dict[tuple[int, object], Floats] = {}

    def near(self, of: Month, how: object) -> Floats:
        """(texts, texts) by words, or by vectors of a window."""
        key = (id(of), how)
        if key not in self._near:
            self._near[key] = (
                near_by_words(of) if how == "words" else near_by_vectors(of, float(str(how)), STEPS, self.seed)
            )
        return self._near[key]

    def best(self, name: str, made: Ways) -> tuple[dict[str, Any], Floats]:
        """The settings that are best in the mean of the tuned months, and the customers' recall by them in the judged one."""
        begun = time.process_time()
        found = [
            (float(np.mean([recalls(each, score(each)).mean() for each in self.tuned])), told, score)
            for told, score in made
        ]
        value, told, score = max(found, key=lambda each: each[0])
        judged = recalls(self.judged, score(self.judged))
        say(f"{name}: tuned {value:.4f}, judged {judged.mean():.4f}, {told}, {time.process_time() - begun:.0f} CPU s")
        return told | {"tuned": round(value, 4)}, judged


def ways(bench: Bench) -> dict[str, tuple[dict[str, Any], Floats]]:
    """Every way of ranking: its settings and (customers,) recall in the judged month."""
    found: dict[str, tuple[dict[str, Any], Floats]] = {}
    if bench.new:
        found["popularity_of_near_texts"] = bench.best("popularity_of_near_texts", _near_popular(bench))
        half = found["popularity_of_near_texts"][0]["half_life"]
        for name, hows in (("tf_idf", ("words",)), ("contrastive", WINDOWS)):
            found[name] = bench.best(name, _beside(bench, hows, half, (0.0,), history=False))
        return found
    for name in ("popularity", "personal_frequency", "dirichlet"):
        found[name] = bench.best(name, _simple(name))
    half = found["dirichlet"][0]["half_life"]
    found["ease"] = bench.best("ease", _eased(half))
    for name, hows in (("tf_idf", ("words",)), ("contrastive", WINDOWS)):
        found[name] = bench.best(name, _beside(bench, hows, half, POPULAR, history=True))
    found["contrastive_and_ease"] = bench.best(
        "contrastive_and_ease", _both(bench, half, found["contrastive"][0], found["ease"][0]["ridge"])
    )
    return found


def _near_popular(bench: Bench) -> Ways:
    for half in HALF_LIVES:

        def score(of: Month, half: float = half) -> Floats:
            return np.tile(smoothed(of, bench.near(of, "words"), half), (of.bought.shape[0], 1))

        yield {"half_life": half}, score


def _simple(name: str) -> Ways:
    """What the customer bought, and popularity: one of them, or both."""
    populars = {"popularity": (1.0,), "personal_frequency": (1e-6,), "dirichlet": (1.0, 3.0, 10.0, *POPULAR[1:])}[name]
    for half, popular in grid(HALF_LIVES, populars):

        def score(of: Month, half: float = half, popular: float = popular) -> Floats:
            own: Floats = of.history[half].toarray() * (name != "popularity") + popular * of.popular[half]
            return own

        yield {"half_life": half, "popular": popular}, score


class Kept:
    """What the settings of one group share, by month; another group's is forgotten: each is a matrix of customers by goods."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._group: object = None
        self._held: dict[int, Floats] = {}

    def of(self, group: object, month_: Month, make: Score) -> Floats:
        """The group's matrix of a month, made where it is not kept."""
        if group != self._group:
            self._group, self._held = group, {}
        if id(month_) not in self._held:
            self._held[id(month_)] = make(month_).astype(np.float32)
        return self._held[id(month_)]


def _own(of: Month, half: float, popular: float) -> Floats:
    """What the customer bought, and popularity."""
    found: Floats = of.history[half].toarray() + popular * of.popular[half]
    return found


def _near(bench: Bench, of: Month, how: object, half: float, sharpness: float) -> Floats:
    return beside(of, bench.near(of, how), bench.near(of, "words"), half, sharpness)


def _eased(half: float) -> Ways:
    kept = Kept()
    for ridge, popular, weight in grid(RIDGES, POPULAR, EASED):

        def score(of: Month, ridge: float = ridge, popular: float = popular, weight: float = weight) -> Floats:
            eased = kept.of(ridge, of, lambda each: ease(each.everybody[half], each.history[half], ridge, MOST_EASE))
            return _own(of, half, popular) + weight * eased

        yield {"ridge": ridge, "popular": popular, "weight": weight}, score


def _beside(bench: Bench, hows: Iterable[object], half: float, populars: tuple[float, ...], *, history: bool) -> Ways:
    kept = Kept()
    for how, sharpness, popular, weight in grid(hows, SHARPNESSES, populars, BESIDE if history else (1.0,)):

        def score(
            of: Month, how: object = how, sharpness: float = sharpness, popular: float = popular, weight: float = weight
        ) -> Floats:
            near = kept.of((how, sharpness), of, lambda each: _near(bench, each, how, half, sharpness))
            return _own(of, half, popular) + weight * near if history else near

        yield {"near": str(how), "sharpness": sharpness, "popular": popular, "weight": weight}, score


def _both(bench: Bench, half: float, told: dict[str, Any], ridge: float) -> Ways:
    one, other = Kept(), Kept()
    for popular, weight, eased in grid(POPULAR, BESIDE, EASED):

        def score(of: Month, popular: float = popular, weight: float = weight, eased: float = eased) -> Floats:
            near = one.of(0, of, lambda each: _near(bench, each, told["near"], half, told["sharpness"]))
            by_ease = other.of(0, of, lambda each: ease(each.everybody[half], each.history[half], ridge, MOST_EASE))
            found: Floats = _own(of, half, popular) + weight * near + eased * by_ease
            return found

        yield {"popular": popular, "weight": weight, "eased": eased}, score


def main() -> None:
    """Print, per way of ranking, recall@20 with its interval and the difference of `contrastive` to it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--unit", choices=["type", "product"], default="type")
    parser.add_argument("--split", choices=["time", "new"], default="time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(asked.folder, asked.unit, new=asked.split == "new", seed=asked.seed)
    found = ways(bench)
    customers = bench.judged.bought.shape[0]
    drawn = (
        np.random.default_rng((asked.seed, 7)).multinomial(customers, np.full(customers, 1 / customers), RESAMPLES)
        / customers
    )
    rows = {}
    for name, (told, recall) in found.items():
        gap = found["contrastive"][1] - recall
        spans = [[float(each.mean()), *np.percentile(drawn @ each, (2.5, 97.5)).tolist()] for each in (recall, gap)]
        rows[name] = {"recall_at_20": spans[0], "contrastive_less_this": spans[1], "settings": told}
    ranked = int(bench.judged.ranked.sum())
    whole = {
        "unit": asked.unit,
        "split": asked.split,
        "seed": asked.seed,
        "customers": customers,
        "ranked": ranked,
        "ways": rows,
    }
    if asked.json:
        sys.stdout.write(json.dumps(whole) + "\n")
        return
    for name, row in rows.items():
        shown = [f"{a:.4f} ({b:.4f} to {c:.4f})" for a, b, c in (row["recall_at_20"], row["contrastive_less_this"])]
        sys.stdout.write(f"{name:26} {shown[0]}   contrastive less this {shown[1]}\n")


if __name__ == "__main__":
    main()
