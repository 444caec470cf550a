"""Collators: whole words by the 80/10/10 rule, rows of any length, draws that depend on seed and example alone; pairs of two customers."""

from collections import Counter

import numpy as np
import pytest

from model.objectives.collate import IGNORED, NO_WORD, Batch, Pairs, Row, Vocabulary, causal, generator, masked
from model.objectives.rows import Reader
from model.training.words import wordpiece

CLS, SEP, MASK, PAD = 1, 2, 3, 0
VOCABULARY = Vocabulary(PAD, MASK, list(range(10, 1_000)), segments=True)


def row(words: int, per_word: int = 2) -> Row:
    """Words of some tokens each between two marks."""
    ids = [CLS, *(10 + at for at in range(words * per_word)), SEP]
    return Row(ids, [NO_WORD, *(at // per_word for at in range(words * per_word)), NO_WORD], [0] * len(ids))


ROWS = [row(3 + at % 40) for at in range(600)]


def hidden(batch: Batch) -> list[list[int]]:
    """Per row the places that are targets."""
    return [np.flatnonzero(told != IGNORED).tolist() for told in batch.targets.numpy()]


def test_whole_words_are_hidden_swapped_or_left() -> None:
    """About 15 % of the words, at least one in each row, all of a word's tokens alike: 80 % hidden, 10 % swapped, 10 % left."""
    batch = masked(ROWS, range(600), VOCABULARY, 5, 0)
    fates: Counter[str] = Counter()
    for at, places in enumerate(hidden(batch)):
        assert places
        words = Counter(ROWS[at].words[place] for place in places)
        assert set(words.values()) == {2}
        assert NO_WORD not in words
        for place in places:
            now, was = int(batch.inputs["input_ids"][at, place]), ROWS[at].ids[place]
            assert int(batch.targets[at, place]) == was
            fates["hidden" if now == MASK else "left" if now == was else "swapped"] += 1
    total = fates.total()
    assert total == pytest.approx(0.15 * 2 * sum(3 + at % 40 for at in range(600)), rel=0.05)
    assert fates["hidden"] / total == pytest.approx(0.8, abs=0.04)
    assert fates["swapped"] / total == pytest.approx(0.1, abs=0.03)
    assert fates["left"] / total == pytest.approx(0.1, abs=0.03)


def test_the_rest_of_a_row_stays() -> None:
    """What is no target is as it was; what is filled up is not seen and no target."""
    batch = masked(ROWS[:50], range(50), VOCABULARY, 5, 0)
    for at, places in enumerate(hidden(batch)):
        ids, length = batch.inputs["input_ids"][at].tolist(), len(ROWS[at].ids)
        assert all(ids[place] == was for place, was in enumerate(ROWS[at].ids) if place not in places)
        assert set(ids[length:]) <= {PAD}
        assert batch.inputs["attention_mask"][at].sum() == length


def test_draws_depend_on_seed_example_and_round_alone() -> None:
    """The same example is masked alike in any batch, and otherwise in another round or with another seed."""
    together = hidden(masked(ROWS[:8], range(8), VOCABULARY, 5, 0))
    backwards = hidden(masked(ROWS[7::-1], range(7, -1, -1), VOCABULARY, 5, 0))
    assert together == backwards[::-1]
    assert together != hidden(masked(ROWS[:8], range(8), VOCABULARY, 5, 1))
    assert together != hidden(masked(ROWS[:8], range(8), VOCABULARY, 6, 0))


def test_a_causal_end_mark_is_a_target_though_padding_has_its_id() -> None:
    """GPT-2 pads with its end mark: the mark itself is learned, the padding is not."""
    rows = [Row([9, 10, 11, 9], [NO_WORD] * 4, [0] * 4), Row([9, 12, 9], [NO_WORD] * 3, [0] * 3)]
    batch = causal(rows, Vocabulary(9, None, [], segments=False))
    assert batch.targets.tolist() == [[IGNORED, 10, 11, 9], [IGNORED, 12, 9, IGNORED]]
    assert set(batch.inputs) == {"input_ids", "attention_mask"}


def test_a_pair_is_the_next_session_or_another_customers() -> None:
    """The next one is the same customer's; another is never, and is drawn from sessions that follow something."""
    pairs = Pairs([(0, 1), (1, 2), (3, 4), (5, 6)], ["a", "a", "a", "b", "b", "c", "c"])
    for example in range(4):
        assert pairs.drawn(example, next_one=True, rng=generator(0, example, 0)) == pairs.follows[example]
        for turn in range(50):
            first, second = pairs.drawn(example, next_one=False, rng=generator(0, example, turn))
            assert first == pairs.follows[example][0]
            assert pairs.owners[second] != pairs.owners[first]
            assert second in {1, 2, 4, 6}


def test_marks_in_a_text_are_text() -> None:
    """A product named [MASK] [SEP] has words of letters and brackets, in single texts and in pairs."""
    tokenizer = wordpiece(["mask sep [ ] tea"] * 3, 300)
    reader = Reader("mlm", tokenizer, 32, 0)
    [(_, read)] = reader._read([("[MASK] tea [SEP]", None)])
    assert tokenizer.mask_token_id not in read.ids
    assert read.ids.count(tokenizer.sep_token_id) == 1
    assert tokenizer.decode(read.ids, skip_special_tokens=True) == "[ mask ] tea [ sep ]"
