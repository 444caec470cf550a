"""A request as text, for any tokenizer: candidates first, then kind, moment and customer.

Pure. Products, campaigns and search words were written by strangers: here they are cleaned, so that they can neither
carry a control character or a special token nor imitate the words that only we may write (`popularity=4`, ` c3`).
Our own words hold `=` or a digit beside a letter; cleaned text holds neither.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import get_args

import msgspec

from streaming.contracts.features import CATEGORIES, NUMBERS, RELATIONS, bin_of
from streaming.contracts.kinds import CHANNELS, GRAMMARS, KIND_NAMES, MAX_CANDIDATES
from streaming.contracts.strategies import Candidate, Features, StrategyRequest, Trigger, grammar_of

RECIPE = "prompt-2"
"""Part of the base's hash: another way to write the prompt needs another base."""

NAME_CHARS = 60
"""Longest part of a candidate's name that is read."""
WORD_CHARS = 24
MAX_WORDS = 8
"""Words of name, category and brand together."""
TEXT_WORDS = 4
"""Words of a campaign's own text, or of a search query."""

LEVEL_EDGES = (0.04, 0.12, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85)
"""Shares in [0, 1] → levels 0..8; level 0 is not written."""
PRICE_EDGES = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0, 22.0, 32.0, 45.0, 64.0, 90.0, 128.0)
"""Major units → price levels 0..15, two to a doubling."""
MARGIN_EDGES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Margin over price → levels 0..7."""
AGE_EDGES_DAYS = (14.0, 90.0)
DEAL_EDGES_PCT = (5, 15, 30)
"""Largest allowed discount → levels 0..3; written where the kind decides on a discount."""

START = " decide:"
MESSAGE = " message:"
BODY = " |"
END = "\n"

UNITS = frozenset("oz ct lb lbs ml kg count gram grams liter fl gal dz pk sq".split())
"""Units without their number say nothing, and every token of a prompt is paid for."""
LEVELS_BEGIN = " price="
"""Where a candidate's words end: cleaned words cannot hold it."""

_CONTROL = re.compile(r"[^\w\s'’-]|[_\d]+", re.UNICODE)
_SPACE = re.compile(r"\s+")
_ESCAPED = re.compile(r"[\x00-\x1f\x7f-\x9f\\\u2028\u2029]")


class Prompt(msgspec.Struct, frozen=True):
    """A request as pieces of text; each piece is tokenised alone, so that positions are known for any tokenizer.

    Args:
        candidates: one text per candidate, in the request's order.
        tags: the token path that names each candidate in the suffix.
        moment: kind, trigger, language and the customer.
    """

    candidates: tuple[str, ...]
    tags: tuple[str, ...]
    moment: tuple[str, ...]


@lru_cache(maxsize=65536)
def clean(text: str, words: int, chars: int = NAME_CHARS) -> str:
    """Lower-case words of letters only: no controls, marks of direction, digits, brackets or underscores.

    Digits go because of our own words; a size in a name tells the price level nothing that is not written anyway.
    """
    folded = unicodedata.normalize("NFKC", text[: 4 * chars]).lower()
    visible = "".join(mark if unicodedata.category(mark)[0] != "C" else " " for mark in folded)
    letters = _SPACE.sub(" ", _CONTROL.sub(" ", visible)).strip()[:chars]
    return " ".join([word[:WORD_CHARS] for word in letters.split(" ") if word not in UNITS][:words])


def level(value: float, edges: Iterable[float]) -> int:
    """The bin of a value: how many edges it reaches."""
    return bisect.bisect_right(tuple(edges), value)


def candidate_text(candidate: Candidate, *, priced: bool) -> str:
    """What the model reads of one candidate: words, then levels, then how the customer relates to it.

    Args:
        candidate: what is offered.
        priced: its kind decides on a discount, so the deepest one it bears is said.
    """
    words = [clean(candidate.name, MAX_WORDS)]
    for extra in (candidate.category[-1] if candidate.category else "", candidate.brand):
        cleaned = clean(extra, 3, WORD_CHARS)
        if cleaned and cleaned not in words[0]:
            words.append(cleaned)
    if candidate.what == "campaign":
        words.append(clean(candidate.text, TEXT_WORDS))
    text = " " + " ".join(word for word in words if word)
    return text + "".join(_levels(candidate, priced=priced)) + "".join(_relations(candidate.relation))


def _levels(candidate: Candidate, *, priced: bool) -> list[str]:
    price = candidate.price_minor / 100
    rate = candidate.margin_minor / candidate.price_minor if candidate.price_minor else 0.0
    words = [
        f"{LEVELS_BEGIN}{level(price, PRICE_EDGES)}",
        f" margin={level(rate, MARGIN_EDGES)}",
        f" age={level(candidate.age_days, AGE_EDGES_DAYS)}",
    ]
    if priced:
        words.append(f" deal={level(candidate.max_discount_pct, DEAL_EDGES_PCT)}")
    return words


def _relations(relation: Mapping[str, float]) -> list[str]:
    levels = [(name, level(relation.get(name, 0.0), LEVEL_EDGES)) for name in RELATIONS]
    return [f" {name}={value}" for name, value in levels if value]


RATE_EDGES = (0.03, 0.08, 0.15, 0.3)
"""Click rates → levels 0..4: they live far below one."""


def customer_words(features: Features) -> list[str]:
    """The customer's numbers as levels, categories as words, strongest affinities, answers by channel."""
    words = [f" {name}={bin_of(name, features.numbers.get(name, spec.when_unknown))}" for name, spec in NUMBERS.items()]
    for name, allowed in CATEGORIES.items():
        value = features.categories.get(name, "")
        if value in allowed:
            words.append(f" {name}={value}")
    for channel in CHANNELS:
        rate = level(features.channel_response.get(channel, 0.0), RATE_EDGES)
        if channel in features.channel_response:
            words.append(f" {channel}={rate}")
    return words


def _likes(features: Features) -> list[str]:
    tops = [
        max(shares, key=lambda name: (shares[name], name))
        for shares in (features.category_affinity, features.brand_affinity)
        if shares
    ]
    return [f" likes {cleaned}" for top in tops if (cleaned := clean(top, 3, WORD_CHARS))]


def render(request: StrategyRequest) -> Prompt:
    """The prompt of a request. Raises `ValueError` for more candidates than a request may have."""
    count = len(request.candidates)
    if count > MAX_CANDIDATES:
        raise ValueError(f"candidates: {count} in request {request.request_id!r}, at most {MAX_CANDIDATES} wanted")
    moment = [f" kind={request.kind}", f" trigger={request.trigger}", f" language={request.language}"]
    moment += customer_words(request.features)
    moment += _likes(request.features)
    query = clean(request.context.get("query", "") or request.context.get("category", ""), TEXT_WORDS)
    if query:
        moment.append(f" about {query}")
    priced = "discount" in grammar_of(request).slots
    return Prompt(
        candidates=tuple(candidate_text(candidate, priced=priced) for candidate in request.candidates),
        tags=tuple(tag(index) for index in range(count)),
        moment=tuple(moment),
    )


def tag(index: int) -> str:
    """The name of the candidate at `index` inside the prompt: never an id, which the model would memorise."""
    return f" c{index + 1}"


def slot_text(slot: str) -> str:
    """What the suffix says before a slot's value."""
    return f" {slot}="


def value_text(value: str) -> str:
    """How a closed value is written; its token path alone is canonical.

    Controls are escaped, so that no value holds `END`, by which one is told from a longer one that begins with it.
    """
    return " " + _ESCAPED.sub(lambda mark: mark[0].encode("unicode_escape").decode(), value)


def vocabulary() -> tuple[str, ...]:
    """Every word that only we write, in a fixed order: our own tokenizer gives each one token."""
    words = [START, MESSAGE, BODY, *(tag(index) for index in range(MAX_CANDIDATES))]
    words += [f" kind={kind}" for kind in KIND_NAMES]
    words += [f" trigger={trigger}" for trigger in _triggers()]
    words += [" language=en", " language=zh", " likes", " about"]
    words += _level_words()
    words += [f" {name}={value}" for name, values in CATEGORIES.items() for value in values]
    for kind in KIND_NAMES:
        words += [slot_text(slot) for slot in GRAMMARS[kind].slots]
        words += [value_text(value) for values in GRAMMARS[kind].closed.values() for value in values]
    return tuple(dict.fromkeys(words))


def _level_words() -> list[str]:
    edges: dict[str, int] = {name: len(spec.edges) for name, spec in NUMBERS.items()}
    edges |= {"price": len(PRICE_EDGES), "margin": len(MARGIN_EDGES)}
    edges |= {"age": len(AGE_EDGES_DAYS), "deal": len(DEAL_EDGES_PCT)}
    edges |= dict.fromkeys(CHANNELS, len(RATE_EDGES)) | dict.fromkeys(RELATIONS, len(LEVEL_EDGES))
    return [f" {name}={bin_}" for name, count in edges.items() for bin_ in range(count + 1)]


def _triggers() -> tuple[str, ...]:
    return tuple(get_args(Trigger))
