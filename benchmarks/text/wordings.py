"""Products that nothing was trained on, and the ways their texts are written: as the shop does, and as pretraining never saw. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.lexicon import CATEGORIES, STYLES
from benchmarks.worlds.shop import Good, Shop, draw_product
from model.manifest import Recipe
from model.pretrain import corpus_texts
from streaming.contracts.ids import stable_seed

Wording = Callable[[Good, np.random.Generator], str]
"""Another name for a product; it is its text as well."""

FRESH = 240
"""Products of a fresh wave."""
MOST_DRAWN = 200
"""Products drawn per one that is kept: more would mean that hardly any word is unknown."""
COMPOSED = 1000
"""Requests composed to collect pretraining's words: each word it can say comes many times."""
_WORD = re.compile(r"[^\W\d_]+")


class Fresh(Shop):
    """A shop whose latest wave, whenever it is asked, is these products."""

    def __init__(self, seed: int, knobs: WorldKnobs, goods: Sequence[Good]) -> None:
        """Everything else is the seed's shop."""
        super().__init__(seed, knobs)
        self._goods = tuple(goods)

    def wave_at(self, number: int) -> int:
        """At least one wave has come."""
        return max(super().wave_at(number), 1)

    def latest(self, wave: int) -> tuple[Good, ...]:
        """The products."""
        del wave
        return self._goods


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words that pretraining's corpus composes prompts and messages of."""
    texts = corpus_texts(Recipe(corpus=COMPOSED))
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


def strange(good: Good) -> bool:
    """Whether pretraining saw no word of a product's category and name."""
    said = " ".join((CATEGORIES[good.category][0], *(STYLES[style] for style in good.styles), good.name))
    return not known_words().intersection(_WORD.findall(said.lower()))


def fresh(seed: int, born: int, *, only_strange: bool = False, count: int = FRESH) -> tuple[Good, ...]:
    """Products of a wave that no run has played; `only_strange`: those of words that pretraining never saw.

    Raises:
        ValueError: when hardly any product is strange.
    """
    rng = np.random.default_rng(stable_seed("fresh", str(seed), str(only_strange)))
    found: list[Good] = []
    for _ in range(MOST_DRAWN * count):
        good = draw_product(f"p9{len(found):05d}", 99, born, rng)
        if not only_strange or strange(good):
            found.append(good)
        if len(found) == count:
            return tuple(found)
    raise ValueError(f"{len(found)} products of words that pretraining never saw, {count} wanted")


def reworded(goods: Sequence[Good], wording: Wording, seed: int) -> tuple[Good, ...]:
    """The same products in other words."""
    rng = np.random.default_rng(stable_seed("wording", str(seed)))
    names = [wording(good, rng) for good in goods]
    return tuple(replace(good, name=name, text=name) for good, name in zip(goods, names, strict=True))


def other_order(good: Good, rng: np.random.Generator) -> str:
    """Style, style, thing, brand and category in an order drawn for each product: pretraining says brand, style, thing or style, thing, brand."""
    parts = [*_styles(good), _thing(good), good.brand, CATEGORIES[good.category][0]]
    return " ".join(parts[int(place)] for place in rng.permutation(len(parts)))


def free_text(good: Good, rng: np.random.Generator) -> str:
    """A clause of the kinds in which shops praise products; what is told stands within the eight words that a prompt reads of a name."""
    one, other = _styles(good)
    thing, label = _thing(good), CATEGORIES[good.category][0]
    clauses = (
        f"A {thing}, {other} to touch and {one}: nobody regrets it",
        f"{other.capitalize()} yet {one}, our dearest {thing} for {label} lovers",
        f"Whoever loves {label} deserves such {one}, {other} {thing}",
        f"Behold: {thing}, so {one}, so {other}!",
    )
    return clauses[int(rng.integers(len(clauses)))]


def _styles(good: Good) -> list[str]:
    return [STYLES[style] for style in good.styles]


def _thing(good: Good) -> str:
    """What the product is, out of its usual name."""
    return good.name.removeprefix(" ".join(_styles(good))).strip()
