"""The message a customer reads: the model's own words if they agree with the decision, else a plain template.

Pure. Names are filled in last and in one pass, so that a name can neither be sampled nor bring a placeholder of its own.
"""

import re
import unicodedata
from collections.abc import Mapping

from msgspec import UNSET

from model.agreement import check
from model.wording import PHRASES, SEPARATOR, compose
from streaming.contracts.kinds import Grammar, Template
from streaming.contracts.strategies import Candidate, Check, Message, StrategyRequest, candidate_by_id

MOST_NAME = 80
"""Characters of a name that is shown."""

_BLANK = re.compile(r"\{(\w+)\}")


def finish(raw: str, request: StrategyRequest, decision: Mapping[str, str]) -> tuple[Message, tuple[Check, ...]]:
    """A readable message from the model's raw text `title | body`, or from the text that a declared kind brings.

    Returns:
        The message, its `source` saying whose words they are, and the checks of the model's words.
    """
    if request.grammar is not UNSET:
        return _declared(request, request.grammar, decision), ()
    title, _, body = (part.strip() for part in raw.partition(SEPARATOR.strip()))
    checks = check(title, body, request, decision)
    source = "model" if all(each.passed for each in checks) else "template"
    if source == "template":
        title, _, body = compose(request.kind, request.language, request.trigger, decision, None).partition(SEPARATOR)
    blanks = fillings(request, decision)
    return Message(
        language=request.language,
        title=_fill(title, blanks),
        body=_fill(body, blanks),
        source="model" if source == "model" else "template",
    ), checks


def _declared(request: StrategyRequest, grammar: Grammar, decision: Mapping[str, str]) -> Message:
    """Of a kind that the base's words know nothing of: its own template, or the values by themselves."""
    candidates = candidate_by_id(request)
    blanks = {
        slot: _visible(candidates[value].name) or UNNAMED[request.language]
        if slot in grammar.candidate_slots
        else _visible(value)
        for slot, value in decision.items()
    }
    first, *others = (f"{{{slot}}}" for slot in grammar.slots)
    text = grammar.texts.get(request.language, Template(first, ", ".join(others)))
    return Message(request.language, _fill(text.title, blanks), _fill(text.body, blanks), "template")


def fillings(request: StrategyRequest, decision: Mapping[str, str]) -> dict[str, str]:
    """What each placeholder stands for in a decision."""
    candidates, phrases = candidate_by_id(request), PHRASES[request.language]
    blanks = {}
    for slot in ("product", "pinned_product", "campaign", "category"):
        if slot in decision:
            blanks[slot.removeprefix("pinned_")] = _shown(candidates[decision[slot]], request.language)
    if "discount" in decision:
        blanks["discount"] = phrases.discount.format(decision["discount"])
    if "duration" in decision:
        days = int(decision["duration"].removesuffix("d"))
        blanks["days"] = phrases.one_day if days == 1 else phrases.many_days.format(days)
    return blanks


def _shown(candidate: Candidate, language: str) -> str:
    """A candidate's name as a customer may see it; a stand-in where nothing of it is visible."""
    return _visible(candidate.name) or UNNAMED[language]


def _visible(text: str) -> str:
    """One line, no control characters or marks of direction, nothing that a page would take for markup, not too long."""
    folded = unicodedata.normalize("NFC", text).translate(_MARKUP)
    visible = "".join(mark if unicodedata.category(mark)[0] not in "CZ" else " " for mark in folded)
    return " ".join(visible.split())[:MOST_NAME].strip()


_MARKUP = str.maketrans("<>", "‹›")
"""A message is plain text; a page that forgets so shows quotes, not a stranger's element."""


UNNAMED = {"en": "our choice", "zh": "本店商品"}
"""In place of a name that has no visible character."""


def _fill(text: str, blanks: Mapping[str, str]) -> str:
    return _BLANK.sub(lambda blank: blanks[blank[1]], text)
