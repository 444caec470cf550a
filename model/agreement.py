"""Whether a text agrees with the decision it belongs to. Pure.

Validity hides emptiness: a fluent text may ignore its tone, invent a discount or speak of another moment. So every slot
that a text can show is looked for by markers, and what belongs to another value is looked for too.
"""

import re
from collections.abc import Mapping

from model.phrasing import Options, Phrases
from model.placeholders import PLACEHOLDERS
from model.wording import PHRASES
from streaming.contracts.strategies import Check, StrategyRequest

MOST_TITLE, MOST_BODY = 120, 300
"""Characters of a raw title and body at most."""

SUBJECT = {"recommendation": "{product}", "ad": "{campaign}", "ranking": "{category}", "promotion": "{product}"}
"""Kind → the placeholder its title must hold."""

_BLANK = re.compile(r"\{\w*\}")
_HAN = re.compile(r"[㐀-鿿]")
_LATIN = re.compile(r"[A-Za-z]")


def check(title: str, body: str, request: StrategyRequest, decision: Mapping[str, str]) -> tuple[Check, ...]:
    """All checks of a raw title and body against a decision; a text may be used only if every one has passed."""
    text, phrases = f"{title} {body}", PHRASES[request.language]
    plain = _BLANK.sub(" ", text).lower()
    return (
        _result("message_form", _form(title, body)),
        _result("message_language", _language(plain, request.language)),
        _result("message_placeholders", _placeholders(title, text, request.kind, decision)),
        _result("message_kind", _own_marker(plain, phrases.kind_markers, request.kind)),
        _result(
            "message_tone", _only_marker(plain, phrases.tone_markers, decision["tone"]) if "tone" in decision else ""
        ),
        _result("message_offer", _offer(plain, phrases, decision)),
        _result("message_moment", _phrases(text, phrases, request.trigger, decision)),
    )


def _result(name: str, problem: str) -> Check:
    return Check(name, passed=not problem, detail=problem)


def _form(title: str, body: str) -> str:
    if not title.strip() or not body.strip():
        return "title or body is empty"
    if len(title) > MOST_TITLE or len(body) > MOST_BODY:
        return f"{len(title)} and {len(body)} characters, at most {MOST_TITLE} and {MOST_BODY} wanted"
    loose = _BLANK.sub("", f"{title} {body}")
    strange = sorted({mark for mark in loose if not mark.isprintable() or mark in "{}<>|=_�" or mark.isdigit()})
    return f"characters that only placeholders may bring: {strange}" if strange else ""


def _language(plain: str, language: str) -> str:
    han, latin = len(_HAN.findall(plain)), len(_LATIN.findall(plain))
    fits = han > 0 and latin == 0 if language == "zh" else latin > 0 and han == 0
    return "" if fits else f"{han} Chinese and {latin} Latin letters in {language!r}"


def wanted_blanks(kind: str, decision: Mapping[str, str]) -> frozenset[str]:
    """The placeholders that a text for this decision must hold."""
    wanted = {SUBJECT[kind]}
    if kind == "promotion":
        wanted |= {"{days}"} | ({"{discount}"} if decision["discount"] != "0" else set())
    return frozenset(wanted)


def _placeholders(title: str, text: str, kind: str, decision: Mapping[str, str]) -> str:
    held = _BLANK.findall(text)
    wanted = wanted_blanks(kind, decision)
    allowed = wanted | ({"{product}"} if kind == "ranking" else set())
    if SUBJECT[kind] not in title:
        return f"the title lacks {SUBJECT[kind]}"
    missing, foreign = sorted(wanted - set(held)), sorted(set(held) - allowed)
    repeated = sorted({blank for blank in held if blank in PLACEHOLDERS and held.count(blank) > 1})
    problems = {"missing": missing, "foreign": foreign, "repeated": repeated}
    return ", ".join(f"{name} {blanks}" for name, blanks in problems.items() if blanks)


def _own_marker(plain: str, markers: Options, own: str) -> str:
    """A kind's words are common ones: they may stand in another kind's text, but its own must stand there."""
    return "" if any(marker in plain for marker in markers[own]) else f"no word of {own!r}"


def _only_marker(plain: str, markers: Options, own: str) -> str:
    foreign = [name for name, words in markers.items() if name != own and any(word in plain for word in words)]
    return f"words of {foreign}" if foreign else _own_marker(plain, markers, own)


def _offer(plain: str, phrases: Phrases, decision: Mapping[str, str]) -> str:
    own = decision.get("offer_type")
    marked = [name for name, words in phrases.offer_markers.items() if any(word in plain for word in words)]
    needed = [own] if own is not None and phrases.offer_markers[own] else []
    return "" if marked == needed else f"speaks of {marked}, {needed} wanted"


def _phrases(text: str, phrases: Phrases, trigger: str, decision: Mapping[str, str]) -> str:
    """Sentences that are true at one moment or under one emphasis only."""
    foreign = [name for name, options in phrases.moments.items() if name != trigger and any(p in text for p in options)]
    emphasis = decision.get("emphasis")
    foreign += [
        name for name, options in phrases.emphases.items() if name != emphasis and any(p in text for p in options)
    ]
    if foreign:
        return f"speaks of {foreign}"
    if emphasis is not None and not any(phrase in text for phrase in phrases.emphases[emphasis]):
        return f"does not say {emphasis!r}"
    return ""
