"""The phrases from which the corpus' messages and the templates are composed, in English and Chinese.

Pure. Every phrase of a tone holds one of the tone's markers and no other tone's; so do the titles of a kind: by these
markers `message.py` tells whether a text agrees with its slots. A test holds the phrases to it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from model.phrases_en import ENGLISH
from model.phrases_zh import CHINESE
from model.phrasing import Phrases

PHRASES: dict[str, Phrases] = {"en": ENGLISH, "zh": CHINESE}
SEPARATOR = " | "
"""Between title and body in a raw text."""


def compose(
    kind: str, language: str, trigger: str, decision: Mapping[str, str], rng: np.random.Generator | None
) -> str:
    """A raw text for a decision's closed values: phrases drawn by `rng`, or the first of each (the template).

    Args:
        decision: slot → value; candidate slots are not read.
    """
    phrases = PHRASES[language]
    parts = [_pick(phrases.bodies[kind], rng)]
    if kind == "promotion":
        parts.append(_pick(offers(phrases, decision), rng))
    if kind == "ranking":
        parts.append(_pick(phrases.emphases[decision["emphasis"]], rng))
    if rng is not None and trigger in phrases.moments and rng.random() < MOMENT_SHARE:
        parts.insert(0, _pick(phrases.moments[trigger], rng))
    if "tone" in decision:
        parts.append(_pick(phrases.closers[decision["tone"]], rng))
    title = _pick(phrases.titles[kind], rng)
    if "tone" in decision and (rng is None or rng.random() < OPENER_SHARE):
        title = _pick(phrases.openers[decision["tone"]], rng) + phrases.joint + title
    return title + SEPARATOR + phrases.space.join(parts)


MOMENT_SHARE = 0.4
OPENER_SHARE = 0.6
"""How often a text says why it comes now, and how often its title begins with a word of the tone."""


def offers(phrases: Phrases, decision: Mapping[str, str]) -> Sequence[str]:
    """What may be said of an offer: a discount of nothing is not mentioned."""
    named = decision["offer_type"] if decision["discount"] != "0" else f"{decision['offer_type']}_0"
    return phrases.offers[named]


def _pick(options: Sequence[str], rng: np.random.Generator | None) -> str:
    return options[0] if rng is None else options[int(rng.integers(len(options)))]
