"""What another model is asked for a message, and the raw text in its answer. Pure.

**Text of products, customers and campaigns is hostile and does not travel.** The prompt is made of closed values alone: kind, moment,
language, slots without candidates. Names are placeholders here as everywhere (`model/message.py` fills them in), so nothing in a
catalog can steer what is written, and nothing of a customer leaves the house. What comes back is a stranger's text: it is cut, and then
checked against the slots like any other.
"""

import re
from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from model.agreement import MOST_BODY, MOST_TITLE, SUBJECT, wanted_blanks
from model.evaluation.texts import BANNED, folded
from model.phrasing import Phrases
from model.wording import PHRASES, SEPARATOR, compose
from streaming.contracts.strategies import StrategyRequest, grammar_of

EXAMPLES = 3
"""Composed texts for the same decision that are shown: the form is learned from them, not from the rules alone."""
LANGUAGES = {"en": "English", "zh": "Simplified Chinese"}
MOST_ANSWER = 4_000
"""Characters of an answer that are looked at."""
_ADDRESS = re.compile(r"\w[.@/\\]\w|://|www\.", re.IGNORECASE)
"""Of a page, a mailbox or a folder: a mark between two letters, with no space around it."""
_WRAPPING = "`\"'“”‘’ \t"


class Turn(Struct, frozen=True):
    """One message of a chat."""

    role: str
    content: str


def turns(request: StrategyRequest, decision: Mapping[str, str], rng: np.random.Generator) -> tuple[Turn, ...]:
    """The chat that asks for a decision's text.

    Args:
        request: of a kind that ships; its candidates and features are not read.
        rng: draws the examples.
    """
    phrases = PHRASES[request.language]
    examples = [compose(request.kind, request.language, request.trigger, decision, rng) for _ in range(EXAMPLES)]
    closed = grammar_of(request).closed
    said = [f"kind: {request.kind}", f"moment: {request.trigger.replace('_', ' ')}"]
    said += [f"{slot.name.replace('_', ' ')}: {decision[slot.name]}" for slot in request.slots if slot.name in closed]
    lines = ["Write the message for:", *said, "", "Texts in the right form, for the same decision:", *examples]
    return (
        Turn("system", "\n".join(("You write one marketing message for a shop.", *_rules(request, decision, phrases)))),
        Turn("user", "\n".join(lines)),
    )


def raw_of(answer: str) -> str:
    """The raw text `title | body` in an answer: its first line that has both, without what models put around; empty if none has."""
    for line in answer[:MOST_ANSWER].splitlines():
        title, bar, body = line.strip().strip(_WRAPPING).partition(SEPARATOR.strip())
        if bar and title.strip() and body.strip():
            raw = f"{title.strip().strip(_WRAPPING)}{SEPARATOR}{body.strip().strip(_WRAPPING)}"
            return raw if len(raw) <= MOST_TITLE + MOST_BODY else ""
    return ""


def unfit(raw: str, language: str) -> str:
    """What a stranger's text may not bring although it agrees with every slot, in words; empty when there is nothing.

    The base cannot write an address or a claim, because its corpus has none; another model can.
    """
    if _ADDRESS.search(raw):
        return "an address"
    read = folded(raw)
    claims = [phrase for phrase in BANNED.get(language, ()) if folded(phrase) in read]
    return f"claims {claims}" if claims else ""


def _rules(request: StrategyRequest, decision: Mapping[str, str], phrases: Phrases) -> list[str]:
    blanks = sorted(wanted_blanks(request.kind, decision))
    rules = [
        f"Answer with one line and nothing else: TITLE{SEPARATOR}BODY",
        f"Language: {LANGUAGES[request.language]}, no other.",
        f"{', '.join(blanks)} stand for text that is filled in later: write each of them exactly once, {SUBJECT[request.kind]} in the title.",
        "No digits, no links, no markup, no quotation marks, no other braces, no promise that is not in the examples.",
        f"At most {MOST_TITLE // 2} characters of title and {MOST_BODY // 2} of body.",
        f"Hold one of: {_listed(phrases.kind_markers[request.kind])}.",
    ]
    if "tone" in decision:
        own = decision["tone"]
        others = [word for tone, words in phrases.tone_markers.items() if tone != own for word in words]
        rules += [f"Tone {own}: hold one of: {_listed(phrases.tone_markers[own])}.", f"Never write: {_listed(others)}."]
    offer = decision.get("offer_type")
    if offer is not None and phrases.offer_markers[offer]:
        rules.append(f"Say the offer by one of: {_listed(phrases.offer_markers[offer])}.")
    foreign = [word for name, words in phrases.offer_markers.items() if name != offer for word in words]
    rules.append(f"Speak of no other offer: {_listed(foreign)}.")
    if "emphasis" in decision:
        rules.append(f"Hold one of these sentences as it stands: {_listed(phrases.emphases[decision['emphasis']])}")
    return rules


def _listed(words: tuple[str, ...] | list[str]) -> str:
    return "; ".join(words)
