"""The pool of message texts."""

import numpy as np
import pytest

from model.fresh import random_lm
from model.lm import LanguageModel
from model.texts import TextPool
from tests.model.sample import request_of

DECISION = {"product": "product-1", "channel": "email", "send_time": "now", "tone": "urgent"}


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    """A tiny base."""
    return random_lm(7, width=32, layers=2)


def one(pool: TextPool, decision: dict[str, str], seed: int) -> str:
    """One text."""
    return pool.texts([request_of(1)], [decision], 12, np.random.default_rng(seed))[0]


def test_texts_are_shared_once_enough_were_kept(lm: LanguageModel) -> None:
    """Two kept variants: from then on a context's texts are these, whatever the random numbers say."""
    pool = TextPool(lm, variants=2)
    kept = {one(pool, DECISION, seed) for seed in range(2)}
    assert len(kept) == 2
    for text in kept:
        pool.keep(request_of(1), DECISION, text)
    assert {one(pool, DECISION, seed) for seed in range(20, 40)} == kept


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
    tones = ("urgent", "playful", "premium")
    for tone in tones[:2]:
        pool.keep(request_of(1), {**DECISION, "tone": tone}, tone)
    assert one(pool, {**DECISION, "tone": "urgent"}, 0) == "urgent"
    pool.keep(request_of(1), {**DECISION, "tone": "premium"}, "premium")
    found = {tone: one(pool, {**DECISION, "tone": tone}, 0) for tone in tones}
    assert [tone for tone in tones if found[tone] == tone] == ["urgent", "premium"]
