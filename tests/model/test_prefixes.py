"""Beginnings that prompts share: read once, the same numbers as read again, bounded, nothing kept where nothing repeats."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import adapter
from model.critic import Critic
from model.fresh import random_lm
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Decided, Knobs, decide
from model.prefixes import BLOCK, Block, PrefixCache
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.composed import bytes_lm, requests

HEADER = "You decide what a shop says to a customer next. Choose one value of every slot. " * 2
SLOT = "slot_x"
ROOMY = 1 << 30


@pytest.fixture(params=["own", "bytes"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """A lean base and a foreign one, each with prompts that begin with the same words."""
    made = random_lm(1, width=32, layers=2) if request.param == "own" else bytes_lm()
    adapter.attach(made, (SLOT,))
    headed(made)
    return made


def headed(lm: LanguageModel) -> int:
    """Another recipe: a constant header before every prompt. Its tokens."""
    header, plain = lm.spelling.ids(HEADER), lm.spelling.prompt
    count = len(header)

    def prompt(request: StrategyRequest) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        ids, spans = plain(request)
        return header + ids, tuple((begin + count, end + count) for begin, end in spans)

    lm.spelling.prompt = prompt  # type: ignore[method-assign]  # a recipe is a base's own
    return count


def decided(lm: LanguageModel, asked: Sequence[StrategyRequest]) -> list[Decided]:
    """Decisions of these requests by the adapter, each with its own random numbers."""
    grids = [ActionGrid.of(each) for each in asked]
    rngs = [np.random.default_rng(number) for number in range(len(asked))]
    with torch.no_grad(), lm.use_adapter(SLOT):
        session = lm.session(lm.encode(asked), asked)
        knobs = Knobs("base", "adapter", 0.4, 1.0)
        return decide(asked, grids, Critic.prior(1, 4, Formula()), session, rngs, knobs)


def test_a_shared_beginning_is_read_once_and_changes_nothing(lm: LanguageModel) -> None:
    """Keys, values, pooled states, decisions and propensities are those of prompts that were read whole; also after a swap."""
    asked = requests(12)
    plain, plainly = lm.encode(asked), decided(lm, asked)
    lm.prefixes = PrefixCache(ROOMY)
    for part in (asked[:1], asked[1:3]):
        lm.encode(part)
    scale = {key: 0.5 * torch.ones(shape) for key, shape in adapter.expected(lm, SLOT).shapes.items()}
    adapter.place(lm, SLOT, scale)
    shared = lm.encode(asked)
    blocks = len(lm.spelling.ids(HEADER)) // BLOCK
    assert lm.prefixes.figures.tokens >= len(asked) * blocks * BLOCK
    assert shared.lengths == plain.lengths
    for row, length in enumerate(plain.lengths):
        own, other = shared.memory[row, ..., :length, :], plain.memory[row, ..., :length, :]
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shared.pooled, plain.pooled, rtol=1e-4, atol=1e-5)
    adapter.place(lm, SLOT, {key: torch.zeros(shape) for key, shape in adapter.expected(lm, SLOT).shapes.items()})
    for one, wanted in zip(decided(lm, asked), plainly, strict=True):
        assert one.decision == wanted.decision
        assert np.log(one.propensity) == pytest.approx(np.log(wanted.propensity), abs=1e-4)


def test_a_prompt_asked_again_is_read_from_its_last_block(lm: LanguageModel) -> None:
    """The same request a third time: all whole blocks are kept, and its candidates are pooled from them."""
    asked = requests(3)
    plain = lm.encode(asked)
    lm.prefixes = PrefixCache(ROOMY)
    for _ in range(3):
        again = lm.encode(asked)
    whole = sum((length - 1) // BLOCK * BLOCK for length in plain.lengths)
    assert lm.prefixes.figures.tokens >= whole
    torch.testing.assert_close(again.pooled, plain.pooled, rtol=1e-4, atol=1e-5)


def test_prompts_without_a_common_beginning_cost_no_memory() -> None:
    """As with the recipe that ships: candidates come first."""
    lm = random_lm(1, width=32, layers=2)
    lm.prefixes = PrefixCache(ROOMY)
    lm.encode(requests(16))
    assert lm.prefixes.nbytes == 0
    assert lm.prefixes.figures.tokens == 0


def told(cache: PrefixCache, tokens: Sequence[int]) -> list[Block]:
    """Look a prompt up and tell what was read: at every place, its token."""
    found = cache.find(tokens)
    states = torch.tensor(tokens, dtype=torch.float32)[:, None]
    cache.keep(tokens, states[None, None, None], states)
    return found


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5 * BLOCK), max_size=30), st.integers(0, 40))
def test_what_is_found_is_what_the_prompt_begins_with(prompts: list[list[int]], room: int) -> None:
    """Whatever came before and was pushed out: the blocks found are this prompt's own beginning, within the bytes allowed."""
    block_bytes = 2 * BLOCK * 4
    cache = PrefixCache(room * block_bytes)
    for tokens in [each for each in prompts for _ in range(2)]:
        found = told(cache, tokens)
        assert len(found) * BLOCK < len(tokens)
        states = [state for block in found for state in block.states[:, 0].tolist()]
        assert states == tokens[: len(states)]
        assert cache.nbytes <= room * block_bytes


def test_what_was_used_longest_ago_goes_first_and_never_a_beginning_before_its_end() -> None:
    """A chain loses its last block first; one that is asked for stays."""
    cache = PrefixCache(6 * 2 * BLOCK * 4)
    first, second = list(range(3 * BLOCK + 1)), list(range(100, 100 + 3 * BLOCK + 1))
    for tokens in (first, first, second, second):
        told(cache, tokens)
    assert len(told(cache, first)) == 3
    third = list(range(200, 200 + 2 * BLOCK + 1))
    for tokens in (third, third):
        told(cache, tokens)
    assert len(cache.find(first)) == 3
    assert len(cache.find(second)) == 1
    assert len(cache.find(third)) == 2


def test_beginnings_with_one_hash_are_told_apart() -> None:
    """The first is kept, the other is read each time."""
    one, other = [-1] * (BLOCK + 1), [-2] * (BLOCK + 1)
    assert hash((0, tuple(one[:BLOCK]))) == hash((0, tuple(other[:BLOCK])))
    cache = PrefixCache(ROOMY)
    for tokens in (one, one, other, other):
        told(cache, tokens)
    assert len(cache.find(one)) == 1
    assert cache.find(other) == []
