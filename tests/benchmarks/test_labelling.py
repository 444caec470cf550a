"""The benchmark of labelling: no product type on both sides, labels saved reckoned by hand, a small run from end to end."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks import labelling
from benchmarks.labelling import ARMS, PSEUDO, SHIPPED, Judge, Product, products, task
from benchmarks.labels_saved import interval, needed, saved
from model.labelling.features import Ladder


@pytest.fixture(scope="module")
def all_of_it() -> list[Product]:
    """The products that ship."""
    return products(SHIPPED)


@pytest.mark.parametrize("seed", range(5))
def test_no_product_type_is_on_both_sides(all_of_it: list[Product], seed: int) -> None:
    """Nor is a text; about three in ten types are judged, and every one of their products."""
    made = task(all_of_it, "category", seed, 2_000)
    learned = {product.type for those in made.of_text for product in those}
    judged = {product.type for product in made.judged}
    assert not learned & judged
    assert not set(made.texts) & {product.text for product in made.judged}
    assert sum(len(those) for those in made.of_text) == 2_000
    assert len(judged) == round(0.3 * len({product.type for product in all_of_it}))
    assert len(made.judged) == sum(product.type in judged for product in all_of_it)
    assert judged != {product.type for product in task(all_of_it, "category", seed + 1, 10).judged}


def test_each_type_counts_once_in_the_accuracy_per_type(all_of_it: list[Product]) -> None:
    """Two of three products of one type right and a whole other type wrong: 2 of 4 products, one third of the types."""
    one = [Product("apple", f"apple {at}", {"category": "x" if at else "y"}) for at in range(3)]
    made = task(all_of_it, "category", 0, 10)._replace(judged=[*one, Product("bread", "bread", {"category": "y"})])
    judge = Judge(made, Ladder(["apple", "bread"]))
    per_product, per_type = judge.right(np.array(["x"] * len(judge.texts)))
    assert (per_product, per_type) == pytest.approx((2 / 4, (2 / 3 + 0) / 2))


def test_labels_saved_are_where_the_curve_crosses() -> None:
    """On the line between two budgets; more than all where it never gets there; a curve that falls again is not punished."""
    assert saved([0.2, 0.4], [0.3, 0.5], (100, 200)) == pytest.approx(0.75)
    assert saved([0.2, 0.4], [0.4, 0.3], (100, 200)) == pytest.approx(0.5)
    assert saved([0.2, 0.4], [0.2, 0.39], (100, 200)) == math.inf
    assert needed([0.5, math.inf, 0.7]) == "not reached in 1 of 3"
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 4.302652 / math.sqrt(3)))


@pytest.mark.slow
def test_a_small_run_judges_every_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Every arm has a curve per seed, better than always saying the most frequent category, and the same again with the same seed."""
    out = tmp_path / "curves.json"
    words = ["labelling", "--seeds", "7", "--pool", "400", "--budgets", "60", "120", "--labels", "department", "--write", str(out)]  # fmt: skip
    told = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", words)
        assert labelling.main() == 0
        told.append(json.loads(out.read_text()) | {"cpu_s": 0})
    assert told[0] == told[1]
    assert "| margin |" in capsys.readouterr().out
    curves = told[0]["curves"]["department"]
    assert set(curves) == {"tf-idf, linear", *(a.name for a in ARMS), *(a.name + PSEUDO for a in ARMS if a.pseudo)}
    assert all(len(seeds) == 1 and len(seeds[0]) == 2 and seeds[0][-1][0] > 0.4 for seeds in curves.values())
