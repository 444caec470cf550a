"""The pool of message texts."""

import numpy as np
import pytest

from model.fresh import random_lm
from model.lm import LanguageModel
from model.texts import MAX_TRIES, TextPool
from tests.model.sample import request_of

DECISION = {"product": "product-1", "channel": "email", "send_time": "now", "tone": "urgent"}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A tiny base."""
    return random_lm(7, width=32, layers=2)


def one(pool: TextPool, decision: dict[str, str], seed: int) -> str:
    """One text."""
    return pool.texts([request_of(1)], [decision], 12, np.random.default_rng(seed))[0]


def test_what_was_kept_is_shared(lm: LanguageModel) -> None:
    """From the first kept text on, a context's texts are among those kept, whatever the random numbers say."""
    pool = TextPool(lm, variants=2)
    for text in ("one | text", "another | text", "one too | many"):
        pool.keep(request_of(1), DECISION, text)
    assert {one(pool, DECISION, seed) for seed in range(40)} == {"one | text", "another | text"}


def test_variants_are_written_when_the_model_writes_anyway(lm: LanguageModel) -> None:
    """A batch with an unknown context fills up the others; a batch of known ones writes nothing."""
    pool = TextPool(lm, variants=2)
    pool.keep(request_of(1), DECISION, "kept | text")
    both = [DECISION, {**DECISION, "tone": "playful"}]
    texts = pool.texts([request_of(1)] * 2, both, 12, np.random.default_rng(0))
    assert "kept | text" not in texts
    assert one(pool, DECISION, 0) == "kept | text"


def test_after_many_failures_a_context_is_the_templates(lm: LanguageModel) -> None:
    """A context whose texts never pass costs a bounded number of tries, then none."""
    pool = TextPool(lm)
    texts = [one(pool, DECISION, seed) for seed in range(MAX_TRIES + 3)]
    assert all(texts[:MAX_TRIES])
    assert texts[MAX_TRIES:] == ["", "", ""]


def test_what_was_not_kept_is_written_anew(lm: LanguageModel) -> None:
    """A text that failed its checks is never shown to the next customer because it was there."""
    pool = TextPool(lm, variants=1)
    assert one(pool, DECISION, 1) != one(pool, DECISION, 2)


def test_another_tone_is_another_context(lm: LanguageModel) -> None:
    """What is kept for one tone is not given to another; the candidate plays no part."""
    pool = TextPool(lm, variants=1)
    pool.keep(request_of(1), DECISION, "kept | text")
    assert one(pool, {**DECISION, "product": "product-2"}, 3) == "kept | text"
    assert one(pool, {**DECISION, "tone": "playful"}, 3) != "kept | text"


def test_the_longest_unused_context_is_forgotten_first(lm: LanguageModel) -> None:
    """The memory is bounded; using a context keeps it."""
    pool = TextPool(lm, variants=1, max_contexts=2)
    for tone in ("urgent", "playful"):
        pool.keep(request_of(1), {**DECISION, "tone": tone}, tone)
    assert one(pool, {**DECISION, "tone": "urgent"}, 0) == "urgent"
    pool.keep(request_of(1), {**DECISION, "tone": "premium"}, "premium")
    assert one(pool, {**DECISION, "tone": "urgent"}, 0) == "urgent"
    assert one(pool, {**DECISION, "tone": "playful"}, 0) != "playful"
