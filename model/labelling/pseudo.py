"""Pseudo-labels: what a model is sure of, and stays sure of when words are taken away, taught as if it were known. Off unless asked for. Pure.

Confidence: Lee, "Pseudo-Label", ICML workshop 2013. Consistency: the same answer for versions of a text that lack words, as in Xie et al.,
"Unsupervised Data Augmentation", NeurIPS 2020. Self-training repeats a model's own mistakes where they are the confident ones: measure it
(docs/measured.md) before it is used.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from model.labelling.features import Features, Floats
from model.labelling.learner import Learned, fit

Chances = Callable[[Sequence[str]], Floats]


class Semi(NamedTuple):
    """How pseudo-labels are made.

    Args:
        sure: least probability of the likeliest answer.
        views: versions of each text that must get the same answer.
        dropped: share of a text's words that a version lacks.
        weight: how much a pseudo-label counts beside a person's, at most 1.
        most_per_class: of the surest, so that a large class does not drown the others.
    """

    sure: float = 0.9
    views: int = 4
    dropped: float = 0.3
    weight: float = 0.5
    most_per_class: int = 20


class Pseudo(NamedTuple):
    """Places of the rows that got one, and which class."""

    places: list[int]
    classes: list[int]


def without_words(text: str, dropped: float, rng: np.random.Generator) -> str:
    """The text without some of its words; one of them always stays."""
    words = text.split()
    kept = [word for word, stays in zip(words, rng.random(len(words)) >= dropped, strict=True) if stays]
    return " ".join(kept or words[:1])


def pseudo_labels(texts: Sequence[str], chances: Chances, how: Semi, rng: np.random.Generator) -> Pseudo:
    """Rows that the model is sure of in every version.

    Args:
        texts: of the rows without a label.
        chances: texts → (n, classes).
    """
    whole = chances(texts)
    answers = whole.argmax(1)
    sure = _surest(whole, how)
    for _ in range(how.views):
        if not sure:
            break
        version = chances([without_words(texts[place], how.dropped, rng) for place in sure]).argmax(1)
        sure = [place for place, answer in zip(sure, version, strict=True) if answer == answers[place]]
    return Pseudo(sure, [int(answers[place]) for place in sure])


def _surest(chances: Floats, how: Semi) -> list[int]:
    """Of each class the surest rows that are sure enough, the surest first."""
    taken: dict[int, int] = {}
    kept = []
    for place in np.argsort(-chances.max(1), kind="stable"):
        answer = int(chances[place].argmax())
        taken[answer] = taken.get(answer, 0) + 1
        if chances[place].max() >= how.sure and taken[answer] <= how.most_per_class:
            kept.append(int(place))
    return kept


def taught_further(
    learned: Learned,
    answers: Sequence[str],
    texts: Sequence[str],
    features_of: Callable[[Sequence[str]], Features],
    how: Semi,
    rng: np.random.Generator,
) -> tuple[Learned, int]:
    """The model taught again with what it is sure of, and how many rows that were.

    Args:
        learned: fitted to people's `answers` alone.
        texts: of the rows without a label.
    """
    found = pseudo_labels(texts, lambda some: learned.chances(features_of(some)), how, rng)
    if not found.places:
        return learned, 0
    more = features_of([texts[place] for place in found.places])
    rows = joined(learned.labelled, more)
    given = [*answers, *[learned.classes[answer] for answer in found.classes]]
    weights = [1.0] * len(answers) + [how.weight] * len(found.places)
    again = fit(rows, given, learned.classes, learned.names, weights=weights, strengths=learned.strengths)
    return again, len(found.places)


def joined(first: Features, second: Features) -> Features:
    """The rows of both."""
    from scipy.sparse import issparse, vstack

    rungs = [
        vstack((a, b), format="csr") if issparse(a) else np.concatenate((a, b))
        for a, b in zip(first.rungs, second.rungs, strict=True)
    ]
    return Features(tuple(rungs), first.weights)
