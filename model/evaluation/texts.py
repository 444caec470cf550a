"""Quality of the messages that customers read, per language: agreement with the slots, length, form, banned phrases, variety. Pure.

Whether a text agrees is judged anew from what was published, whatever its own checks say: what was filled in is taken out again, and
the text is held against the decision as the worker held it. Variety is measured on texts without what was filled in, or names of
products would make any template look varied.

Reference:
    Li, Galley, Brockett, Gao, Dolan (2016), A diversity-promoting objective function for neural conversation models, NAACL: distinct-n.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import UNSET, Struct

from model.agreement import MOST_BODY, MOST_TITLE, check
from model.message import MOST_NAME, fillings
from streaming.contracts.strategies import Strategy, StrategyRequest

BANNED: dict[str, tuple[str, ...]] = {
    "en": (
        "100% free", "100 % free", "risk-free", "risk free", "guaranteed", "no obligation", "click here", "cash bonus",
        "you have won", "miracle", "cure", "act now or", "once in a lifetime", "lowest price ever",
    ),
    "zh": ("国家级", "世界级", "最佳", "最低价", "第一品牌", "绝无仅有", "万能", "百分之百", "治愈", "保证有效", "点击领取现金"),
}  # fmt: skip
"""Claims that consumer law or mail filters hold against a sender; a shop adds its own."""
NGRAMS = (1, 2, 3)
_WORD = re.compile(r"[^\W_]+|\{\w+\}")


class TextQuality(Struct, frozen=True):
    """Texts of one language.

    Args:
        by_source: `model` or `template` → texts. declared: of kinds that bring their own text: no agreement to judge.
        agreeing: of `judged`. failures: check → texts that fail it now. reported: check → texts whose own checks failed:
            those were replaced by templates before they were published.
        title_chars, body_chars: least, median, 95th percentile, most.
        form: problem → texts.
        banned: phrase → texts.
        distinct: n → different n-grams over all n-grams, names taken out.
        different: different texts, names taken out.
        examples: of texts that do not agree, with why.
    """

    language: str
    texts: int
    by_source: dict[str, int]
    declared: int
    judged: int
    agreeing: int
    failures: dict[str, int]
    reported: dict[str, int]
    title_chars: tuple[int, int, int, int]
    body_chars: tuple[int, int, int, int]
    form: dict[str, int]
    banned: dict[str, int]
    distinct: dict[str, float]
    different: int
    examples: tuple[str, ...]


MOST_EXAMPLES = 5


class Texts:
    """Collects the messages of one language."""

    def __init__(self, language: str, banned: Sequence[str]) -> None:
        """Nothing is known."""
        self.language, self._banned = language, [(phrase, folded(phrase)) for phrase in banned]
        self._sources: Counter[str] = Counter()
        self._declared = self._judged = self._agreeing = 0
        self._failures: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._form: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()
        self._titles: Counter[int] = Counter()
        self._bodies: Counter[int] = Counter()
        self._plain: Counter[str] = Counter()
        self._examples: list[str] = []

    def take(self, strategy: Strategy) -> None:
        """Judge one strategy's message."""
        title, body = strategy.message.title, strategy.message.body
        self._sources[strategy.message.source] += 1
        self._titles[len(title)] += 1
        self._bodies[len(body)] += 1
        self._reported.update(each.name for each in strategy.checks if not each.passed)
        self._form.update(form_problems(title, body))
        read = folded(f"{title} {body}")
        self._hits.update(phrase for phrase, wanted in self._banned if wanted in read)
        if strategy.request.grammar is not UNSET:
            self._declared += 1
            self._plain[f"{title} {body}"] += 1
        else:
            self._agree(strategy)

    def _agree(self, strategy: Strategy) -> None:
        title, body = taken_out(strategy.message.title, strategy.message.body, strategy.request, strategy.decision)
        failed = [each for each in check(title, body, strategy.request, strategy.decision) if not each.passed]
        self._judged += 1
        self._agreeing += not failed
        self._failures.update(each.name for each in failed)
        self._plain[f"{title} {body}"] += 1
        if failed:
            why = "; ".join(f"{each.name}: {each.detail}" for each in failed)
            said = f"{strategy.strategy_id}: {title} | {body}: {why}"[:500]
            self._examples = sorted([*self._examples, said])[:MOST_EXAMPLES]  # the same whatever the order of lines

    def quality(self) -> TextQuality:
        """What was found."""
        return TextQuality(
            language=self.language,
            texts=self._sources.total(),
            by_source=dict(sorted(self._sources.items())),
            declared=self._declared,
            judged=self._judged,
            agreeing=self._agreeing,
            failures=dict(sorted(self._failures.items())),
            reported=dict(sorted(self._reported.items())),
            title_chars=_spread(self._titles),
            body_chars=_spread(self._bodies),
            form=dict(sorted(self._form.items())),
            banned=dict(sorted(self._hits.items())),
            distinct={str(n): distinct(self._plain, n, self.language) for n in NGRAMS},
            different=len(self._plain),
            examples=tuple(self._examples),
        )


def form_problems(title: str, body: str) -> list[str]:
    """What no message may have, whoever wrote it."""
    text = f"{title}\n{body}"
    problems = {
        "empty title or body": not title.strip() or not body.strip(),
        "too long": len(title) > MOST_TITLE + MOST_NAME or len(body) > MOST_BODY + 2 * MOST_NAME,
        "markup": "<" in text or ">" in text,
        "a placeholder that was not filled": re.search(r"\{\w*\}", text) is not None,
        "several lines": "\n" in title or "\n" in body,
        "control or direction characters": any(
            unicodedata.category(mark) in ("Cc", "Cf", "Co", "Cs") for mark in title + body if mark != "\n"
        ),
    }
    return [name for name, found in problems.items() if found]


def taken_out(title: str, body: str, request: StrategyRequest, decision: Mapping[str, str]) -> tuple[str, str]:
    """The text with placeholders for what was filled in: each once, longest first, the title before the body.

    A text that holds something else than what belongs there keeps it, and fails.
    """
    try:
        blanks = fillings(request, decision)
    except (KeyError, ValueError):  # of another writer: names no candidate, or no number of days
        return title, body
    found: dict[str, str] = {}
    for name, said in sorted(blanks.items(), key=lambda blank: (-len(blank[1]), blank[0])):
        mark = chr(0xE000 + len(found))  # of the private use area: no name holds it, see `model/message.py`
        if said and said in title:
            title, found[mark] = title.replace(said, mark, 1), name
        elif said and said in body:
            body, found[mark] = body.replace(said, mark, 1), name
    for mark, name in found.items():
        title, body = title.replace(mark, f"{{{name}}}"), body.replace(mark, f"{{{name}}}")
    return title, body


def folded(text: str) -> str:
    """As phrases are compared: compatibility forms, case and spaces alike."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def distinct(texts: Mapping[str, int], n: int, language: str) -> float:
    """Different n-grams over all n-grams of texts with their counts: of words, of characters in Chinese; 0 where there are none."""
    grams: set[tuple[str, ...]] = set()
    total = 0
    for text, count in texts.items():
        words = _words(text, language)
        own = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
        grams.update(own)
        total += count * len(own)
    return len(grams) / total if total else 0.0


def _words(text: str, language: str) -> list[str]:
    words = _WORD.findall(text.casefold())
    return [part for word in words for part in (word if language == "zh" and word[0] != "{" else (word,))]


def _spread(lengths: Counter[int]) -> tuple[int, int, int, int]:
    ordered = sorted(lengths.elements())
    if not ordered:
        return 0, 0, 0, 0
    last = len(ordered) - 1
    return ordered[0], ordered[last // 2], ordered[round(0.95 * last)], ordered[last]


def banned_of(language: str, own: Iterable[str]) -> list[str]:
    """The phrases to look for: those that ship, and a shop's own in every language."""
    return sorted({*BANNED.get(language, ()), *own})
