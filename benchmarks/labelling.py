"""How many labels are saved on real products: accuracy against number of labels, for every way of choosing what to ask about.

Usage: python -m benchmarks.labelling [--source FOLDER] [--encoder PATH] [--seeds N] [--pool N] [--labels category department] [--write]

Complete Journey's products (`--source`: the folder of its CSV files; else the extract that ships) are parted by type: no type is both learned from
and judged. A product says its type, size and brand; its label is the retailer's category or department. Whoever asks about a product is told its
true label. Judged is on every product of the held-out types: each product counting once, and each type once. Beside ways of choosing stand two that know
nothing: `random products`, and `random texts`, which like ours never asks twice about products that say the same; the peer is scikit-learn's tf-idf of words
and a linear support vector machine on random products. Intervals are Student's t over seeds, which draw types, products and everything else; differences are paired.
`--encoder` is a sentence encoder's folder or hub name, a rung beside tf-idf.
"""

import argparse
import csv
import gzip
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.labels_saved import table
from benchmarks.telling import say
from model.labelling.choosing import Chooser, choose
from model.labelling.features import Features, Ladder
from model.labelling.learner import Learned, fit
from model.labelling.pseudo import Semi, taught_further

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "services/shop/data"
COLUMNS = {"category": "product_category", "department": "department"}
JUDGED = 0.3
"""Share of the types."""
BUDGETS = (50, 100, 200, 400, 800)
"""Labels at which is judged; between them a batch is asked about."""
FIRST, GROWTH = 25, 0.5
"""Labels of the first batch, and how much the labels grow by until the model is taught anew."""
Ints = npt.NDArray[np.int64]


class Product(NamedTuple):
    """A product of the source: its type, what it says, its labels by name."""

    type: str
    text: str
    labels: dict[str, str]


class Task(NamedTuple):
    """A split of the products, for one label.

    Args:
        texts: distinct texts of the pool; `of_text` has each one's products.
        judged, judged_types: texts, labels and types of the products that are judged by.
    """

    classes: tuple[str, ...]
    texts: list[str]
    of_text: list[list[Product]]
    judged: list[Product]
    label: str


def products(source: Path) -> list[Product]:
    """The source's products that have a type and a category."""
    with gzip.open(source / "products.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Product(row["product_type"], " . ".join(row[name] for name in ("product_type", "package_size", "brand") if row[name]),
                {name: row[column] for name, column in COLUMNS.items()})
        for row in rows if row["product_type"] and all(row[column] for column in COLUMNS.values())
    ]  # fmt: skip


def task(all_of_it: Sequence[Product], label: str, seed: int, pool: int) -> Task:
    """Types parted by the seed; of the products to learn from so many are in the pool."""
    rng = np.random.default_rng(seed)
    types = rng.permutation(sorted({product.type for product in all_of_it}))
    judged = set(types[: round(JUDGED * len(types))].tolist())
    rest = [product for product in all_of_it if product.type not in judged]
    drawn = [rest[at] for at in rng.permutation(len(rest))[:pool]]
    by_text: dict[str, list[Product]] = {}
    for product in drawn:
        by_text.setdefault(product.text, []).append(product)
    return Task(
        tuple(sorted({product.labels[label] for product in all_of_it})),
        list(by_text), list(by_text.values()), [product for product in all_of_it if product.type in judged], label,
    )  # fmt: skip


class Judge:
    """What a model says of the held-out products, and how often that is right."""

    def __init__(self, made: Task, ladder: Ladder) -> None:
        """Read each distinct text once."""
        self.texts = sorted({product.text for product in made.judged})
        place = {text: at for at, text in enumerate(self.texts)}
        self.at = np.array([place[product.text] for product in made.judged])
        self.truth = np.array([product.labels[made.label] for product in made.judged])
        _, self.type, counts = np.unique([product.type for product in made.judged], return_inverse=True, return_counts=True)  # fmt: skip
        self.share = 1.0 / counts[self.type]
        self.features = ladder.of(self.texts)

    def right(self, said: npt.NDArray[np.str_]) -> tuple[float, float]:
        """Accuracy per product and per type, of one answer per text."""
        right = said[self.at] == self.truth
        return float(right.mean()), float((right * self.share).sum() / self.share.sum())


class Arm(NamedTuple):
    """A way of choosing; `pseudo`: judged a second time with pseudo-labels taught as well."""

    name: str
    chooser: Chooser
    by_product: bool = False
    pseudo: bool = False


PSEUDO = ", pseudo-labels"
ARMS = (
    Arm("random products", "random", by_product=True),
    Arm("random texts", "random", pseudo=True),
    Arm("margin", "margin"),
    Arm("entropy", "entropy"),
    Arm("diversity", "diversity"),
)


class Asking:
    """One arm's work on one split: what was asked about, what was answered, what was learned of it."""

    def __init__(self, made: Task, arm: Arm, ladder: Ladder, rows: Features, seed: int) -> None:
        """Nothing asked yet."""
        self.made, self.arm, self.ladder, self.rows = made, arm, ladder, rows
        self.rng, self.names = np.random.default_rng((seed, 1)), ladder.of(made.classes)
        self.asked, self.answers = list[int](), list[str]()
        self.learned: Learned | None = None
        self.order = [text for text, _ in shuffled(made, seed)]

    def ask(self, count: int) -> None:
        """Choose so many more and learn their labels: each that of a product that says so."""
        if self.arm.by_product:
            more = self.order[len(self.asked) : len(self.asked) + count]
        else:
            open_ = sorted(set(range(len(self.made.texts))) - set(self.asked))
            by_model = self.learned is not None and self.arm.chooser in ("margin", "entropy")
            chances = self.learned.chances(self.rows.at(open_)) if self.learned is not None and by_model else None
            more = choose(self.arm.chooser, count, features=self.rows, known=self.asked, open_=open_, chances=chances, rng=self.rng)  # fmt: skip
        for at in more:
            those = self.made.of_text[at]
            self.answers.append(those[int(self.rng.integers(len(those)))].labels[self.made.label])
        self.asked += more

    def learn(self, *, tune: bool) -> Learned:
        """Learn from all answers so far."""
        strengths = None if tune or self.learned is None else self.learned.strengths
        groups = [self.made.of_text[at][0].type for at in self.asked]
        self.learned = fit(self.rows.at(self.asked), self.answers, self.made.classes, self.names, strengths=strengths, groups=groups)  # fmt: skip
        return self.learned

    def learn_more(self, learned: Learned) -> Learned:
        """The same with pseudo-labels."""
        rest = sorted(set(range(len(self.made.texts))) - set(self.asked))
        texts = [self.made.texts[at] for at in rest]
        return taught_further(learned, self.answers, texts, self.ladder.of, Semi(), self.rng)[0]


def shuffled(made: Task, seed: int) -> list[tuple[int, Product]]:
    """The pool's products in a random order, each with the place of its text."""
    drawn = [(at, product) for at, those in enumerate(made.of_text) for product in those]
    return [drawn[place] for place in np.random.default_rng((seed, 2)).permutation(len(drawn))]


def curves(asking: Asking, judge: Judge, budgets: Sequence[int]) -> dict[str, list[tuple[float, float]]]:
    """(per product, per type) accuracy at each budget; between budgets the model is taught anew when the labels have grown by `GROWTH`."""
    arm, classes = asking.arm, np.array(asking.made.classes)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (arm.name, arm.name + PSEUDO)[: 1 + arm.pseudo]}
    for budget in budgets:
        while (left := budget - len(asking.asked)) > 0:
            by_model = arm.chooser in ("margin", "entropy")
            asking.ask(min(left, max(FIRST, round(GROWTH * len(asking.asked))) if by_model else left))
            if len(asking.asked) < budget:
                asking.learn(tune=False)
        learned = asking.learn(tune=True)
        found[arm.name].append(judge.right(classes[learned.scores(judge.features).argmax(1)]))
        if arm.pseudo:
            more = asking.learn_more(learned)
            found[arm.name + PSEUDO].append(judge.right(classes[more.scores(judge.features).argmax(1)]))
    return found


def peer(made: Task, judge: Judge, seed: int, budgets: Sequence[int]) -> list[tuple[float, float]]:
    """tf-idf of words and a linear support vector machine, as scikit-learn has them, on random products."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    drawn, words, found = [product for _, product in shuffled(made, seed)], TfidfVectorizer(), []
    words.fit([product.text for product in drawn])
    for budget in budgets:
        some = drawn[:budget]
        fitted = LinearSVC().fit(words.transform([p.text for p in some]), [p.labels[made.label] for p in some])
        found.append(judge.right(fitted.predict(words.transform(judge.texts))))
    return found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Every curve: label → arm → seed → budget → accuracies."""
    all_of_it, began = products(args.source), time.process_time()
    texts = sorted({product.text for product in all_of_it})
    classes = sorted({value for product in all_of_it for value in product.labels.values()})
    ladder = Ladder([*texts, *classes], encoder=args.encoder, base=args.base)
    say(f"{len(all_of_it):,} products, {len(texts):,} texts read by {', '.join(ladder.names)}: {time.process_time() - began:.0f} s of CPU")  # fmt: skip
    found: dict[str, Any] = {"products": len(all_of_it), "rungs": ladder.names, "budgets": args.budgets, "curves": {}}
    for label in args.labels:
        of_label: dict[str, list[Any]] = {"tf-idf, linear": []}
        for seed in args.seeds:
            made = task(all_of_it, label, seed, args.pool)
            rows, judge = ladder.of(made.texts), Judge(made, ladder)
            of_label["tf-idf, linear"].append(peer(made, judge, seed, args.budgets))
            for arm in args.arms:
                for name, points in curves(Asking(made, arm, ladder, rows, seed), judge, args.budgets).items():
                    of_label.setdefault(name, []).append(points)
                    say(f"{label}, seed {seed}, {name}: {' '.join(f'{a:.3f}/{b:.3f}' for a, b in points)}")
        found["curves"][label] = of_label
    found["cpu_s"] = round(time.process_time() - began)
    return found


def main() -> int:
    """Run, print, and write the curves down."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, default=SHIPPED)
    parser.add_argument("--encoder", default="")
    parser.add_argument("--base", nargs="?", const="", default=None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pool", type=int, default=5_000)
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS))
    parser.add_argument("--labels", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))
    parser.add_argument("--arms", nargs="+", default=[arm.name for arm in ARMS])
    parser.add_argument("--write", type=Path, help="File for the curves, JSON.")
    args = parser.parse_args()
    args.arms = [arm for arm in ARMS if arm.name in args.arms]
    found = run(args)
    table(found)
    if args.write:
        args.write.parent.mkdir(parents=True, exist_ok=True)
        args.write.write_text(json.dumps(found, indent=None) + "\n")
    print(f"\n{found['cpu_s']} s of CPU", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
