"""The message a customer reads: the model's own words if they agree with the decision, else a plain template.

Pure. Names are filled in last and in one pass, so that a name can neither be sampled nor bring a placeholder of its own.
"""

import re
import unicodedata
from collections.abc import Mapping

from model.agreement import check
from model.wording import PHRASES, SEPARATOR, compose
from streaming.contracts.strategies import Candidate, Check, Message, StrategyRequest, candidate_by_id

MOST_NAME = 80
"""Characters of a name that is shown."""

_BLANK = re.compile(r"\{(\w+)\}")


def finish(raw: str, request: StrategyRequest, decision: Mapping[str, str]) -> tuple[Message, tuple[Check, ...]]:
    """A readable message from the model's raw text `title | body`.

    Returns:
        The message, its `source` saying whose words they are, and the checks of the model's words.
    """
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
    """A name as a customer may see it: one line, no control characters or marks of direction, not too long."""
    folded = unicodedata.normalize("NFC", candidate.name)
    visible = "".join(mark if unicodedata.category(mark)[0] not in "CZ" else " " for mark in folded)
    name = " ".join(visible.split())[:MOST_NAME].strip()
    return name or UNNAMED[language]


UNNAMED = {"en": "our choice", "zh": "本店商品"}
"""In place of a name that has no visible character."""


def _fill(text: str, blanks: Mapping[str, str]) -> str:
    return _BLANK.sub(lambda blank: blanks[blank[1]], text)
