"""Text quality: what agrees is told from what does not, whatever a message says of itself."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from msgspec import structs

from model.evaluation.texts import Texts, banned_of, distinct, form_problems, taken_out
from model.grid import ActionGrid
from model.message import finish
from model.wording import compose
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.strategies import Explanation, PolicyRecord, Strategy
from tests.model.sample import request_of

RECORD = PolicyRecord("base", "none", "none", "random", "random", 0.4, 0.0, 1.0, 0.005, 1, 1)


def strategies(language: str, count: int = 40) -> Iterator[Strategy]:
    """Of all kinds, in composed words that pass their checks."""
    for number in range(count):
        request = request_of(number, KIND_NAMES[number % 4], language=language)
        grid, rng = ActionGrid.of(request), np.random.default_rng(number)
        flat = int(rng.choice(np.flatnonzero(grid.allowed)))
        decision = grid.decision(tuple(int(i) for i in np.unravel_index(flat, grid.shape)))
        raw = compose(request.kind, language, request.trigger, decision, rng)
        message, checks = finish(raw, request, decision)
        yield Strategy(
            f"str-{language}-{number}", request.request_id, request.user_id, request.kind, request.issued_at, decision, message,
            request.issued_at + timedelta(days=1), RECORD, 0.5, {}, Explanation((), (), ()), checks, request,
        )  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_published_texts_agree_when_judged_anew(language: str) -> None:
    """Every text that passed its checks passes them again from what was published; no form, no banned phrase is at fault."""
    texts = Texts(language, banned_of(language, ()))
    for strategy in strategies(language):
        texts.take(strategy)
    found = texts.quality()
    assert (found.texts, found.judged, found.agreeing, found.by_source) == (40, 40, 40, {"model": 40})
    assert (found.failures, found.form, found.banned, found.examples) == ({}, {}, {}, ())
    assert 0 < found.distinct["1"] < found.distinct["2"] < found.distinct["3"] <= 1
    assert 0 < found.title_chars[0] <= found.title_chars[1] <= found.title_chars[3]


def test_a_text_of_another_decision_is_found_whatever_it_says_of_itself() -> None:
    """Messages exchanged between decisions of other tones disagree, although every check that came with them has passed."""
    first, second = (
        next(s for s in strategies("en", 80) if s.kind == "recommendation" and s.decision["tone"] == tone)
        for tone in ("urgent", "premium")
    )
    texts = Texts("en", ())
    texts.take(structs.replace(first, message=second.message))
    found = texts.quality()
    assert found.agreeing == 0
    assert found.failures["message_tone"] == 1
    assert "message_tone" in found.examples[0]


def test_banned_phrases_are_found_in_any_case_and_width() -> None:
    """A shop's own phrase and one that ships, in capitals and full-width letters."""
    strategy = next(strategies("en"))
    message = structs.replace(strategy.message, body="GUARANTEED！ Ｃｈｅａｐ　ｔｒｉｃｋ for you")
    texts = Texts("en", banned_of("en", ["cheap trick"]))
    texts.take(structs.replace(strategy, message=message))
    assert texts.quality().banned == {"cheap trick": 1, "guaranteed": 1}


@pytest.mark.parametrize(
    ("title", "body", "problem"),
    [
        ("", "x", "empty title or body"),
        ("x", "<b>x</b>", "markup"),
        ("{product}", "x", "a placeholder that was not filled"),
        ("x", "a\nb", "several lines"),
        ("x", "a\u202eb", "control or direction characters"),
        ("x", "y" * 1000, "too long"),
    ],
)
def test_faults_of_form_are_named(title: str, body: str, problem: str) -> None:
    """Each by itself; a plain text has none."""
    assert problem in form_problems(title, body)
    assert form_problems("A title", "A body.") == []


def test_what_was_filled_in_is_taken_out_once() -> None:
    """The longest first; a name that holds another's text does not hide it."""
    request = request_of(1, "promotion")
    decision = {"product": request.candidates[0].id, "discount": "10", "duration": "3d"}
    name = request.candidates[0].name
    assert taken_out(f"{name} now", f"10% for 3 days, {name}", request, decision)[0] == "{product} now"


def test_distinct_by_hand() -> None:
    """`a b a b`: 2 of 4 words, 2 of 3 pairs; Chinese is counted by characters."""
    assert distinct({"a b a b": 1}, 1, "en") == 0.5
    assert distinct({"a b a b": 1}, 2, "en") == pytest.approx(2 / 3)
    assert distinct({"好好学": 2}, 1, "zh") == pytest.approx(2 / 6)
    assert distinct({}, 2, "en") == 0.0
