"""What has been labelled so far → how likely each answer is for every other row. Pure.

Kernel ridge regression on one-hot answers, one system for all classes (Rifkin, Yeo & Poggio, "Regularized least-squares classification", 2003):
its solution is exact and takes fractions of a second at the few labels that people give. An answer's name is a text: how alike a row and a
name are is added to the score, so that an answer nobody has given yet can be proposed. How strongly, the ridge's strength and the softmax's
temperature are chosen by leaving whole groups out (a product type, a text): whoever tunes on look-alikes tunes for remembering.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model.labelling.features import Features, Floats

RIDGES = (0.1, 0.3, 1.0, 3.0)
NAMINGS = (0.0, 0.3, 1.0, 3.0)
TEMPERATURES = tuple(float(t) for t in np.geomspace(0.01, 1.0, 13))
FOLDS = 3
LEAST_GROUPS = 12
"""Fewer labelled groups cannot be parted for choosing: `DEFAULT` it is."""
ROWS = 2_048
"""Rows scored at once."""


class Strengths(NamedTuple):
    """What is chosen on left-out groups."""

    ridge: float = 0.3
    naming: float = 1.0
    temperature: float = 0.1
    curved: bool = False

    def shaped(self, kernel: Floats) -> Floats:
        """The kernel, or where it is `curved` the Gaussian of the distance that it stands for."""
        return np.exp(kernel - 1.0) if self.curved else kernel


DEFAULT = Strengths()


class Learned(NamedTuple):
    """A fitted model: `weights` (labelled, classes) over the kernel with the labelled rows."""

    classes: tuple[str, ...]
    labelled: Features
    names: Features
    weights: Floats
    strengths: Strengths

    def scores(self, rows: Features) -> Floats:
        """(n, classes)."""
        found = np.zeros((len(rows), len(self.classes)), np.float32)
        for begin in range(0, len(rows), ROWS):
            some = rows.at(np.arange(begin, min(begin + ROWS, len(rows))))
            named = np.float32(self.strengths.naming) * some.kernel(self.names)
            found[begin : begin + ROWS] = self.strengths.shaped(some.kernel(self.labelled)) @ self.weights + named
        return found

    def chances(self, rows: Features) -> Floats:
        """(n, classes) that sum to 1."""
        return softmax(self.scores(rows) / np.float32(self.strengths.temperature))


def softmax(scores: Floats) -> Floats:
    """Over the last axis."""
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    found: Floats = raised / raised.sum(-1, keepdims=True)
    return found


def fit(
    rows: Features,
    answers: Sequence[str],
    classes: Sequence[str],
    names: Features,
    *,
    weights: Sequence[float] | None = None,
    strengths: Strengths | None = None,
    groups: Sequence[str] = (),
) -> Learned:
    """Fit to labelled rows.

    Args:
        rows: (n,) labelled rows, at least one.
        answers: their labels, each of `classes`.
        classes: every answer that may be given; `names` are their features.
        weights: how much each label counts, 1 where they are not given.
        strengths: as chosen before; None: chosen now on left-out groups.
        groups: which rows stand or fall together, for choosing; not given: each row alone.
    """
    place = {name: at for at, name in enumerate(classes)}
    wanted = np.zeros((len(answers), len(classes)), np.float64)
    wanted[np.arange(len(answers)), [place[answer] for answer in answers]] = 1.0
    counts = np.ones(len(answers)) if weights is None else np.asarray(weights, np.float64)
    kernel = rows.kernel(rows)
    chosen = strengths or chosen_strengths(kernel, wanted, counts, rows.kernel(names), groups or [str(i) for i in range(len(answers))])  # fmt: skip
    return Learned(tuple(classes), rows, names, _solved(chosen.shaped(kernel), wanted, counts, chosen.ridge), chosen)


def chosen_strengths(
    kernel: Floats,
    wanted: npt.NDArray[np.float64],
    counts: npt.NDArray[np.float64],
    named: Floats,
    groups: Sequence[str],
) -> Strengths:
    """Ridge and naming of the most accurate on left-out groups, each group counting once; the temperature of the least log loss there."""
    if len(set(groups)) < LEAST_GROUPS:
        return DEFAULT
    from sklearn.model_selection import GroupKFold

    truth, size = wanted.argmax(1), Counter(groups)
    share = np.array([1.0 / size[group] for group in groups])
    best: tuple[float, Strengths, Floats] | None = None
    folds = list(GroupKFold(FOLDS).split(kernel, groups=groups))
    for tried in (Strengths(ridge, curved=curved) for curved in (False, True) for ridge in RIDGES):
        left_out, shaped = np.zeros(wanted.shape, np.float32), tried.shaped(kernel)
        for taught, judged in folds:
            solved = _solved(shaped[np.ix_(taught, taught)], wanted[taught], counts[taught], tried.ridge)
            left_out[judged] = shaped[np.ix_(judged, taught)] @ solved
        for naming in NAMINGS:
            scores = left_out + np.float32(naming) * named
            right = float(((scores.argmax(1) == truth) * share).sum() / share.sum())
            if best is None or right > best[0]:
                best = (right, tried._replace(naming=naming), scores)
    assert best is not None
    _, chosen, scores = best
    losses = [_log_loss(scores / np.float32(t), truth, share) for t in TEMPERATURES]
    return chosen._replace(temperature=TEMPERATURES[int(np.argmin(losses))])


def _log_loss(scores: Floats, truth: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> float:
    chances = np.clip(softmax(scores)[np.arange(len(truth)), truth], 1e-12, 1.0)
    return float(-(np.log(chances) * share).sum() / share.sum())


def _solved(kernel: Floats, wanted: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], ridge: float) -> Floats:
    from sklearn.kernel_ridge import KernelRidge

    fitted = KernelRidge(alpha=ridge, kernel="precomputed").fit(kernel.astype(np.float64), wanted, sample_weight=counts)
    found: Floats = np.asarray(fitted.dual_coef_, np.float32).reshape(wanted.shape)
    return found
