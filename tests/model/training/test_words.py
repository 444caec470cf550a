"""Tokenizers made here are the same each time, and read what they were made of."""

import json

from model.training.words import byte_pairs, wordpiece

TEXTS = [
    f"fresh {fruit} {number} for the family, sweet & ripe"
    for fruit in ("apples", "pears", "plums")
    for number in range(40)
]


def test_the_same_texts_give_the_same_words() -> None:
    """Trained ten times, in any order of the texts, the vocabulary is one."""
    for make in (wordpiece, byte_pairs):
        made = {json.dumps(make(TEXTS[::step], 400).get_vocab(), sort_keys=True) for step in (1, -1) * 5}
        assert len(made) == 1


def test_words_are_read_back() -> None:
    """Words of the texts are known, a pair has two segments, and inner letters written out are no special tokens."""
    made = wordpiece(TEXTS, 400)
    assert made.decode(made("Sweet apples")["input_ids"], skip_special_tokens=True) == "sweet apples"
    pair = made("apples", "pears")
    assert set(pair["token_type_ids"]) == {0, 1}
    assert "##a" not in made.tokenize("##a")[0:1]
    pairs = byte_pairs(TEXTS, 400)
    assert pairs.decode(pairs("sweet Äpfel 🍎")["input_ids"]) == "sweet Äpfel 🍎"
