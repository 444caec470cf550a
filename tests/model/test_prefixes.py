"""Parts that prompts share: read once, the same numbers as read again, bounded, nothing kept where nothing repeats."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model import adapter
from model.critic import Critic
from model.encoding import read_whole
from model.fresh import random_lm
from model.grid import ActionGrid
from model.layout import Chain
from model.lm import LanguageModel
from model.policy import Decided, Knobs, decide
from model.prefixes import Part, PrefixCache, kept
from model.spelling import Spelled
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula
from tests.model.composed import bytes_lm, requests

HEADER = "You decide what a shop says to a customer next. Choose one value of every slot. "
SLOT = "slot_x"
ROOMY = 1 << 30


@pytest.fixture(params=["own", "bytes"])
def lm(request: pytest.FixtureRequest) -> LanguageModel:
    """A lean base and a foreign one, with an adapter that changes something."""
    made = random_lm(1, width=32, layers=2) if request.param == "own" else bytes_lm()
    adapter.attach(made, (SLOT,))
    return made


def headed(lm: LanguageModel) -> int:
    """Another recipe: a constant header before every prompt. Its tokens."""
    header, plain = lm.spelling.ids(HEADER), lm.spelling.prompt

    def prompt(request: StrategyRequest) -> Spelled:
        return msgspec.structs.replace(plain(request), head=header)

    lm.spelling.prompt = prompt  # type: ignore[method-assign]  # a recipe is a base's own
    return len(header)


def decided(lm: LanguageModel, asked: Sequence[StrategyRequest]) -> list[Decided]:
    """Decisions of these requests by the adapter, each with its own random numbers."""
    grids = [ActionGrid.of(each) for each in asked]
    rngs = [np.random.default_rng(number) for number in range(len(asked))]
    with torch.no_grad(), lm.use_adapter(SLOT):
        session = lm.session(lm.encode(asked), asked)
        knobs = Knobs("base", "adapter", 0.4, 1.0)
        return decide(asked, grids, Critic.prior(1, 4, Formula()), session, rngs, knobs)


def before_moments(lm: LanguageModel, asked: Sequence[StrategyRequest]) -> int:
    """Tokens of their heads and candidates."""
    spelled = [lm.spelling.prompt(each) for each in asked]
    return sum(len(each.ids) - len(each.moment) for each in spelled)


@pytest.mark.parametrize("with_header", [False, True])
def test_what_is_shared_is_read_once_and_changes_nothing(lm: LanguageModel, *, with_header: bool) -> None:
    """Pooled states, decisions and propensities are those of prompts that were read whole; also after a swap."""
    header = headed(lm) if with_header else 0
    asked = requests(12)
    plain, plainly = lm.encode(asked), decided(lm, asked)
    lm.prefixes = PrefixCache(ROOMY)
    for part in (asked[:1], asked[1:3], asked[:3]):
        lm.encode(part)
    scale = {key: 0.5 * torch.ones(shape) for key, shape in adapter.expected(lm, SLOT).shapes.items()}
    adapter.place(lm, SLOT, scale)
    before = lm.prefixes.figures.tokens
    shared = lm.encode(asked)
    assert lm.prefixes.figures.tokens - before >= before_moments(lm, asked[:3]) + header * (len(asked) - 3)
    assert (shared.lengths, shared.depths) == (plain.lengths, plain.depths)
    torch.testing.assert_close(shared.pooled, plain.pooled, rtol=1e-4, atol=1e-5)
    adapter.place(lm, SLOT, {key: torch.zeros(shape) for key, shape in adapter.expected(lm, SLOT).shapes.items()})
    for one, wanted in zip(decided(lm, asked), plainly, strict=True):
        assert one.decision == wanted.decision
        assert np.log(one.propensity) == pytest.approx(np.log(wanted.propensity), abs=1e-4)


def test_read_in_parts_or_at_once_is_the_same(lm: LanguageModel) -> None:
    """Keys and values of every token, whatever their order, and pooled states: as pretraining's one pass has them."""
    asked = requests(6)
    spelled = [lm.spelling.prompt(each) for each in asked]
    with torch.no_grad():
        at_once, _, _ = read_whole(lm, spelled)
    lm.prefixes = PrefixCache(ROOMY)
    for _ in range(3):
        in_parts = lm.encode(asked)
    assert lm.prefixes.figures.tokens == before_moments(lm, asked)
    for row, length in enumerate(at_once.lengths):
        one, other = (sorted_tokens(each.memory[row, ..., :length, :]) for each in (in_parts, at_once))
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(in_parts.pooled, at_once.pooled, rtol=1e-4, atol=1e-5)


def sorted_tokens(memory: torch.Tensor) -> torch.Tensor:
    """(tokens, everything of one) in the order of their sums."""
    flat = memory.movedim(3, 0).flatten(1)
    return flat[flat.double().sum(1).argsort()]


def test_prompts_without_anything_in_common_cost_no_memory() -> None:
    """What is asked for once is not kept."""
    lm = random_lm(1, width=32, layers=2)
    lm.prefixes = PrefixCache(ROOMY)
    [asked] = requests(1)
    words = ["milk", "coffee", "bread", "tea", "corn", "rice"]
    for word, candidate in zip(words, asked.candidates, strict=False):
        alone = msgspec.structs.replace(candidate, name=word, relation={})
        lm.encode([msgspec.structs.replace(asked, candidates=(alone,))])
    assert lm.prefixes.nbytes == 0
    assert lm.prefixes.figures.tokens == 0


def told(cache: PrefixCache, chain: Chain) -> dict[Chain, Part]:
    """Look up a chain with all before it, and tell what was read: at every place, its token."""
    chains = [chain[:end] for end in range(1, len(chain) + 1)]
    found = cache.find(chains)
    cache.keep(chains, lambda of: found.get(of) or read(of))
    return found


def read(chain: Chain) -> Part:
    """The last part of a chain, each token's state its number."""
    states = torch.tensor(chain[-1], dtype=torch.float32)[:, None]
    return Part(states[None, None, None], states.sum(0))


SIZE = 4 * 4 + 4
"""Bytes of a part of four tokens."""
CHAINS = st.lists(st.lists(st.integers(0, 1), min_size=4, max_size=4).map(tuple), min_size=1, max_size=3).map(tuple)


@given(st.lists(CHAINS, max_size=30), st.integers(0, 10))
def test_what_is_found_is_what_was_read(chains: list[Chain], room: int) -> None:
    """Whatever came before and was pushed out: a part is found with all before it, as it was read, within the bytes allowed."""
    cache = PrefixCache(room * SIZE)
    for chain in [each for each in chains for _ in range(2)]:
        found = told(cache, chain)
        assert list(found) == [chain[:end] for end in range(1, len(found) + 1)]
        for of, part in found.items():
            assert part.memory.flatten().tolist() == list(of[-1])
        assert cache.nbytes <= room * SIZE


def test_what_was_used_longest_ago_goes_first_and_never_a_part_before_those_after_it() -> None:
    """A chain loses its last part first; one that is asked for stays."""
    first, second, third = ((((number,) * 4), (number + 1,) * 4, (number + 2,) * 4) for number in (0, 10, 20))
    cache = PrefixCache(6 * SIZE)
    for chain in (first, first, second, second):
        told(cache, chain)
    assert len(told(cache, first)) == 3
    for _ in range(2):
        told(cache, third[:2])
    assert len(cache.find([first[:end] for end in (1, 2, 3)])) == 3
    assert len(cache.find([second[:end] for end in (1, 2, 3)])) == 1
    assert len(cache.find([third[:end] for end in (1, 2, 3)])) == 2


def test_no_room_is_no_cache() -> None:
    """0 MiB."""
    assert kept(0) is None
    assert kept(1) is not None
