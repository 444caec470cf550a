"""Closed values of any kind, spelled for any tokenizer: one path each, none another's prefix."""

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from model.fresh import random_lm
from model.spelling import Spelling
from model.trie import build
from streaming.contracts.kinds import GRAMMARS, MAX_VALUE_CHARS
from tests.model.composed import bytes_lm


@cache
def own() -> Spelling:
    """The shipped shape's tokenizer."""
    return random_lm(1, width=32, layers=1).spelling


@cache
def of_bytes() -> Spelling:
    """Single bytes."""
    return bytes_lm().spelling


@cache
def careless() -> Spelling:
    """Lower case only, one token a letter, and no token at all for most of the world's letters."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789 =.:\n", "<unk>", "<end>"]
    tokenizer = Tokenizer(models.WordLevel({mark: place for place, mark in enumerate(letters)}, unk_token="<unk>"))  # noqa: S106 -- no password
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return Spelling(
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers' own lack
            tokenizer_object=tokenizer,
            eos_token="<end>",  # noqa: S106 -- no password
            unk_token="<unk>",  # noqa: S106 -- no password
        )
    )


SNAGS = (
    "<eos>",
    "<pad>",
    "<t3>",
    " c1",
    "c1",
    "\n",
    " message:",
    "sale",
    "é",
    "e\u0301",
    "|",
    "{product}",
    "\\n",
    "\u2028",
)
TEXT = st.lists(st.one_of(st.text(min_size=1, max_size=12), st.sampled_from(SNAGS)), min_size=1, max_size=3).map(
    "".join
)
VALUES = st.lists(TEXT.filter(lambda v: v.strip() and len(v) <= MAX_VALUE_CHARS), min_size=1, max_size=12, unique=True)


@pytest.mark.parametrize("spelling", [own, of_bytes], ids=["own", "bytes"])
@given(values=VALUES)
@settings(derandomize=True, deadline=None, max_examples=150)
def test_any_values_have_paths_of_their_own(spelling: Callable[[], Spelling], values: list[str]) -> None:
    """Whatever a kind's values are, a trie can be built of them; no special token is in it, nor a line's end but as its end."""
    spelled = spelling()
    paths = spelled.paths(tuple(values))
    assert len(build(paths).routes) == len(values)
    special = set(spelled.tokenizer.all_special_ids)
    for path in paths:
        assert not special & set(path)
        assert spelled.end[-1] not in path[:-1]


def test_what_a_tokenizer_writes_alike_is_numbered() -> None:
    """Two values of one spelling, or of none, are told apart by their place; others are spelled as they are."""
    spelled = careless()
    shouted = ("SALE", "sale", "Sale now")
    assert len(build(spelled.paths(shouted)).routes) == 3
    assert spelled.paths(shouted)[0][:2] != spelled.paths(shouted)[1][:2]
    foreign = ("优惠", "特价")
    assert len(build(spelled.paths(foreign)).routes) == 2
    assert spelled.paths(("ab", "cd")) == (spelled.ids(" ab"), spelled.ids(" cd"))


def test_kinds_that_ship_are_spelled_as_they_always_were() -> None:
    """Another path for a value would need another base: each is its own text, closed only where one begins another."""
    spelled = own()
    for grammar in GRAMMARS.values():
        for values in grammar.closed.values():
            assert spelled.paths(values) == tuple(spelled.ids(f" {value}") for value in values)
