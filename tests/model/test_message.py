"""Messages: agreement with the slots, placeholders, and the template that stands in."""

import itertools

import msgspec
import numpy as np
import pytest

from model.corpus import compose
from model.message import finish
from model.wording import PHRASES
from model.wording import compose as compose_text
from streaming.contracts.kinds import (
    DISCOUNT_LEVELS,
    DURATIONS,
    EMPHASES,
    GRAMMARS,
    KIND_NAMES,
    OFFER_TYPES,
    TONES,
    Kind,
)
from streaming.contracts.strategies import StrategyRequest
from tests.model.composed import Decision, any_decision


def ask(kind: Kind, language: str = "en", trigger: str = "session_start") -> StrategyRequest:
    """A composed request of a kind in a language."""
    request = compose(np.random.default_rng(3), kind).request
    return msgspec.structs.replace(request, language=language, trigger=trigger)


def decide(request: StrategyRequest, **values: str) -> Decision:
    """A decision with some slots set."""
    return any_decision(request, np.random.default_rng(0)) | values


def refused(raw: str, request: StrategyRequest, decision: Decision) -> set[str]:
    """The names of the checks that a raw text does not pass; it must then be replaced."""
    message, checks = finish(raw, request, decision)
    failed = {check.name for check in checks if not check.passed}
    assert (message.source == "template") == bool(failed)
    return failed


def all_decisions(kind: Kind) -> list[Decision]:
    """Every combination of the closed values that a text can show."""
    shown = {
        "tone": TONES,
        "emphasis": EMPHASES,
        "offer_type": OFFER_TYPES,
        "discount": DISCOUNT_LEVELS,
        "duration": DURATIONS,
    }
    names = [name for name in GRAMMARS[kind].closed if name in shown]
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(shown[name] for name in names))]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_templates_and_phrases_agree_with_their_slots(kind: Kind, language: str) -> None:
    """Whatever is composed from the phrases, and every template, passes all checks."""
    rng = np.random.default_rng(5)
    for values in all_decisions(kind):
        request = ask(kind, language, "price_drop")
        decision = decide(request, **values)
        for each in (None, rng):
            raw = compose_text(kind, language, "price_drop", decision, each)
            assert refused(raw, request, decision) == set(), raw


def test_no_two_kinds_or_tones_have_one_template() -> None:
    """Templates differ by kind, tone, emphasis, offer and language."""
    seen: dict[str, tuple[str, str, str]] = {}
    for language, kind in itertools.product(PHRASES, KIND_NAMES):
        for values in all_decisions(kind):
            raw = compose_text(kind, language, "session_start", values, None)
            key = (language, kind, str({k: v for k, v in values.items() if k in ("tone", "emphasis", "offer_type")}))
            assert seen.setdefault(raw, key) == key


@pytest.mark.parametrize(
    ("raw", "failed"),
    [
        ("", "message_form"),
        ("Hello: {product}, picked for you", "message_form"),
        ("Hello: 50 for you, {product} | We picked it. Glad you are here.", "message_form"),
        ("Hello: {product}, picked for you | 我们推荐。Glad you are here.", "message_language"),
        ("Hello: picked for you | We picked it. Glad you are here.", "message_placeholders"),
        ("Hello: {product}, picked for you | You save {discount}. Glad you are here.", "message_placeholders"),
        ("Hello: {product}, for you | It is here. Glad you are here.", "message_kind"),
        ("Hurry: {product}, picked for you | We picked it. Glad you are here.", "message_tone"),
        ("{product}, picked for you | It goes well with what you buy.", "message_tone"),
        ("Hello: {product}, picked for you | Delivery is free. Glad you are here.", "message_offer"),
        ("Hello: {product}, picked for you | The price has dropped. Glad you are here.", "message_moment"),
    ],
)
def test_a_text_that_does_not_agree_is_replaced(raw: str, failed: str) -> None:
    """Each kind of disagreement is found by the check of its name, and the template stands in."""
    request = ask("recommendation")
    assert failed in refused(raw, request, decide(request, tone="friendly"))


def test_names_are_shown_without_what_could_harm() -> None:
    """A name loses controls, line breaks and marks of direction, keeps its digits, and its braces stay text."""
    request = ask("recommendation")
    decision = decide(request, tone="friendly")
    evil = "Best\u202e {discount}\n\x07 7up {product}" + "x" * 200
    candidates = tuple(msgspec.structs.replace(c, name=evil) for c in request.candidates)
    message, _ = finish("", msgspec.structs.replace(request, candidates=candidates), decision)
    assert "Best {discount} 7up {product}xxx" in message.title
    assert not set(message.title) & set("\u202e\n\x07")
    assert len(message.title) < 160


def test_a_name_without_visible_characters_has_a_stand_in() -> None:
    """An invisible name does not leave a hole."""
    request = ask("recommendation")
    candidates = tuple(msgspec.structs.replace(c, name="\u200b") for c in request.candidates)
    message, _ = finish("", msgspec.structs.replace(request, candidates=candidates), decide(request, tone="friendly"))
    assert "our choice" in message.title


@pytest.mark.parametrize(("duration", "words"), [("1d", "1 day."), ("7d", "7 days.")])
def test_offers_are_filled_in(duration: str, words: str) -> None:
    """Discount and days are written as numbers with their units."""
    request = ask("promotion")
    decision = decide(request, tone="urgent", offer_type="percent_off", discount="15", duration=duration)
    message, _ = finish("", request, decision)
    assert "15%" in message.body
    assert words in message.body


def test_tone_markers_do_not_overlap() -> None:
    """No tone's marker is part of another tone's, in either language."""
    for phrases in PHRASES.values():
        for one, other in itertools.permutations(TONES, 2):
            assert not [(a, b) for a in phrases.tone_markers[one] for b in phrases.tone_markers[other] if a in b]
