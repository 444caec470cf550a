"""What is asked next: on a made case each chooser picks what it must, and nothing twice."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from model.labelling.choosing import Chooser, choose, entropy, margin
from model.labelling.features import Features

ROWS = Features((csr_matrix(np.eye(6, dtype=np.float32)[[0, 0, 1, 2, 3, 4]]),), (1.0,))
"""Six rows; the first two are alike, the others have nothing in common."""
CHANCES = np.array(
    [[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.34, 0.33, 0.33], [0.9, 0.05, 0.05], [0.5, 0.5, 0.0], [0.8, 0.2, 0.0]],
    dtype=np.float32,
)


def chosen(how: Chooser, count: int, known: tuple[int, ...] = (), open_: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> list[int]:  # fmt: skip
    """What is chosen of the made case."""
    rng = np.random.default_rng(1)
    return choose(how, count, features=ROWS, known=known, open_=open_, chances=CHANCES[list(open_)], rng=rng)


def test_margin_takes_the_ties_first() -> None:
    """Rows whose two likeliest answers are as likely come first; of two alike only one is among the first."""
    first = chosen("margin", 3)
    assert len({0, 1} & set(first)) == 1
    assert set(first) - {0, 1} == {2, 4}
    assert margin(CHANCES)[[0, 4]] == pytest.approx([1.0, 1.0])
    assert margin(CHANCES)[3] == pytest.approx(0.15)


def test_entropy_takes_what_is_spread_over_all_answers() -> None:
    """A tie of three goes before a tie of two."""
    assert chosen("entropy", 1) == [2]
    assert entropy(np.full((1, 4), 0.25, np.float32)) == pytest.approx([1.0])
    assert entropy(np.array([[1.0, 0.0]], np.float32)) == pytest.approx([0.0], abs=1e-6)


def test_diversity_takes_what_is_unlike_all_that_is_known() -> None:
    """Whatever the model thinks: no known row's like, no two alike, while there are others."""
    assert 1 not in chosen("diversity", 4, known=(0,), open_=(1, 2, 3, 4, 5))
    assert len({0, 1} & set(chosen("diversity", 5))) == 1


def test_without_a_model_uncertain_means_diverse() -> None:
    """The first questions go to rows that are unlike each other."""
    found = choose("margin", 5, features=ROWS, known=(), open_=range(6), chances=None, rng=np.random.default_rng(0))
    assert len({0, 1} & set(found)) == 1


@pytest.mark.parametrize("how", ["margin", "entropy", "diversity", "random"])
def test_nothing_is_asked_twice_and_no_more_than_there_is(how: Chooser) -> None:
    """All open rows come, each once, for any number wanted."""
    assert sorted(chosen(how, 99)) == [0, 1, 2, 3, 4, 5]
    assert choose(how, 3, features=ROWS, known=(), open_=(), chances=None, rng=np.random.default_rng(0)) == []


def test_random_takes_everything_alike_often() -> None:
    """The control knows nothing of the model: over 600 draws each of six rows comes about 100 times."""
    rng = np.random.default_rng(5)
    drawn = [choose("random", 1, features=ROWS, known=(), open_=range(6), chances=CHANCES, rng=rng)[0] for _ in range(600)]  # fmt: skip
    assert min(np.bincount(drawn, minlength=6)) > 60
