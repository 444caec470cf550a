"""Law 2 for every kind and arm, with a real language model and a real critic: what is logged is what is sampled.

The sampler is followed on its tree of prefixes, each read once from the model, so that 30,000 draws cost seconds; that this
tree is what `decide` samples is checked draw by draw with the same random numbers.
"""

import itertools
from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from model import adapter
from model.critic import Critic
from model.decode import SlotDistribution, draw
from model.fresh import random_lm
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Decided, Knobs, decide, propensity, walk_of
from streaming.contracts.kinds import KIND_NAMES, Arm
from streaming.contracts.strategies import PolicyRecord, Slot, StrategyRequest
from streaming.reward import Formula
from tests.model.composed import bytes_lm
from tests.model.declared import DECLARED, HARD, declared_request
from tests.model.sample import request_of

ARMS: tuple[Arm, ...] = ("fused", "lm", "critic", "random")
KNOBS = Knobs(base="small", adapter="adapter-000001-abcd", temperature=0.4, lm_weight=0.3)
SLOT = "slot_x"
DRAWS = 30_000
FOLLOWED = 120
"""Decisions of the product's own `decide` that the tree must repeat."""
LEAST_EXPECTED = 5.0
LEAST_P = 1e-4
"""Of the chi-square tests; draws are seeded, so that a test passes for ever or never."""
MOST_VALUES = 3
"""Per slot of the requests here: every action is enumerated."""
Index = tuple[int, ...]


@cache
def small_lm() -> LanguageModel:
    """A base of the shipped shape, random."""
    return adapted(random_lm(3, width=32, layers=2))


@cache
def spelling_lm() -> LanguageModel:
    """Knows single bytes only: every closed value has many tokens."""
    return adapted(bytes_lm())


def adapted(lm: LanguageModel) -> LanguageModel:
    """With an adapter that changes what it says."""
    adapter.attach(lm, (SLOT,))
    generator = torch.Generator().manual_seed(1)
    shapes = adapter.expected(lm, SLOT).shapes
    adapter.place(lm, SLOT, {key: 0.2 * torch.randn(shape, generator=generator) for key, shape in shapes.items()})
    return lm


@cache
def critic() -> Critic:
    """With differences between heads and a softmax that leaves every action some probability."""
    return Critic.prior(5, 4, Formula(), beta=0.02, width=0.5)


def narrowed(request: StrategyRequest) -> StrategyRequest:
    """The same request with few values per slot: all where there are two at most, one in every second of ten."""
    count = len(request.slots)
    most = None if count <= 2 else MOST_VALUES if count <= 4 else 2
    slots = tuple(
        Slot(slot.name, slot.values[: 1 if count == 10 and place % 2 else most])
        for place, slot in enumerate(request.slots)
    )
    return msgspec.structs.replace(request, slots=slots)


def small_request(kind: str, arm: Arm) -> StrategyRequest:
    """One of any kind with at most some hundreds of actions; rules forbid some where the kind has rules."""
    if kind in DECLARED:
        return narrowed(declared_request(kind, 2, arm))
    if kind == "alike":
        return alike(arm)
    return narrowed(request_of(2, kind, 3, arm))  # type: ignore[arg-type]  # a kind that ships


def alike(arm: Arm) -> StrategyRequest:
    """Candidates whose names and ids begin with each other's, one name twice, one that cannot be seen."""
    request = request_of(4, candidates=4, arm=arm)
    named = zip(
        request.candidates, ("p", "p1", "p10", "p100"), ("coffee", "coffee beans", "coffee", "\u200b"), strict=True
    )
    offered = tuple(msgspec.structs.replace(each, id=identity, name=name) for each, identity, name in named)
    product = Slot("product", tuple(candidate.id for candidate in offered))
    others = narrowed(request).slots[1:]
    return msgspec.structs.replace(request, candidates=offered, slots=(product, *others))


class Tree:
    """One request's sampler, prefix by prefix."""

    def __init__(self, lm: LanguageModel, request: StrategyRequest) -> None:
        """Ask the language model once for all that it says along any action."""
        self.request, self.grid = request, ActionGrid.of(request)
        self.actions: list[Index] = [tuple(map(int, index)) for index in np.argwhere(self.grid.allowed)]
        prompts = lm.encode([request])
        decisions = [self.grid.decision(index) for index in self.actions]
        with torch.no_grad(), lm.use_adapter(SLOT):
            rows = lm.slot_log_probs(prompts.rows([0] * len(decisions)), [request] * len(decisions), decisions)
        self.of_prefix = {
            index[:depth]: slot.double().numpy()
            for index, row in zip(self.actions, rows, strict=True)
            for depth, slot in enumerate(row)
        }
        self.nodes: dict[Index, SlotDistribution] = {}

    def node(self, record: PolicyRecord, prefix: Index) -> SlotDistribution:
        """The distribution after a prefix."""
        if prefix not in self.nodes:
            walk = walk_of(self.request, self.grid, record, critic())
            for depth, chosen in enumerate(prefix):
                walk.distribution(self.of_prefix[prefix[:depth]])
                walk.choose(chosen)
            self.nodes[prefix] = walk.distribution(self.of_prefix[prefix])
        return self.nodes[prefix]

    def sample(self, record: PolicyRecord, rng: np.random.Generator) -> Index:
        """One action: a head, then slot by slot from it."""
        head = int(rng.integers(record.heads))
        prefix: Index = ()
        for _ in self.grid.names:
            prefix = (*prefix, draw(self.node(record, prefix).per_head[head], rng.random()))
        return prefix

    def chance(self, record: PolicyRecord, index: Index) -> float:
        """The propensity of an action as the trainer computes it."""
        own = [self.of_prefix.get(index[:depth], np.zeros(size)) for depth, size in enumerate(self.grid.shape)]
        return propensity(self.request, self.grid.decision(index), record, critic(), own)


class Rows:
    """A decoder of many rows of one request, from its tree: what a session says, without asking the model again."""

    def __init__(self, tree: Tree, count: int) -> None:
        """Begin before the first slot."""
        self._tree = tree
        self._prefixes: list[Index] = [()] * count

    def log_probs(self) -> list[np.ndarray]:
        """Of the current slot, per row."""
        return [self._tree.of_prefix.get(prefix, np.zeros(0)) for prefix in self._prefixes]

    def choose(self, indices: list[int]) -> None:
        """Move on."""
        self._prefixes = [(*prefix, index) for prefix, index in zip(self._prefixes, indices, strict=True)]


def lm_for(kind: str) -> LanguageModel:
    """Values that are hard to spell are spelled byte by byte."""
    return spelling_lm() if kind == "hard" else small_lm()


def served(tree: Tree, count: int) -> list[Decided]:
    """So many decisions on the tree's request, by the product's `decide`."""
    rngs = [np.random.default_rng([seed, 7]) for seed in range(count)]
    many = [tree.request] * count
    return decide(many, [tree.grid] * count, critic(), Rows(tree, count), rngs, KNOBS)  # type: ignore[arg-type]  # a decoder


def agrees(counts: np.ndarray, expected: np.ndarray) -> bool:
    """The chi-square test, what is expected rarely being counted together."""
    often = expected >= LEAST_EXPECTED
    pooled = [np.append(each[often], each[~often].sum()) for each in (counts, expected)]
    if pooled[1][-1] < LEAST_EXPECTED:
        assert pooled[0][-1] <= 4 * LEAST_EXPECTED
        pooled = [each[:-1] for each in pooled]
    if len(pooled[0]) == 1:
        return bool(pooled[0][0] == pooled[0].sum())
    return bool(chisquare(pooled[0], pooled[1] * pooled[0].sum() / pooled[1].sum()).pvalue > LEAST_P)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("kind", [*KIND_NAMES, *DECLARED, "alike"])
def test_what_is_served_has_the_distribution_that_is_logged(kind: str, arm: Arm) -> None:
    """Whole actions and each slot over 30,000 draws; the logged numbers; their sum; nothing for what rules forbid."""
    tree = Tree(lm_for(kind), small_request(kind, arm))
    decided = served(tree, FOLLOWED)
    record = decided[0].record
    for seed, one in enumerate(decided):
        assert one.index == tree.sample(record, np.random.default_rng([seed, 7]))
        assert one.propensity == pytest.approx(tree.chance(record, one.index), rel=1e-9)
        for slot, name in enumerate(tree.grid.names):
            marginal = tree.node(record, one.index[:slot]).marginal
            assert one.slot_propensities[name] == pytest.approx(marginal[one.index[slot]], rel=1e-9)
        assert np.prod(list(one.slot_propensities.values())) == pytest.approx(one.propensity, rel=1e-9)
    chances = np.zeros(tree.grid.shape)
    for index in np.ndindex(tree.grid.shape):
        chances[index] = tree.chance(record, index)
    assert chances.sum() == pytest.approx(1.0, abs=1e-9)
    assert not chances[~tree.grid.allowed].any()
    counts, rng = np.zeros(tree.grid.shape), np.random.default_rng(11)
    for _ in range(DRAWS):
        counts[tree.sample(record, rng)] += 1
    assert agrees(counts.ravel(), DRAWS * chances.ravel())
    for axis in range(counts.ndim):
        others = tuple(each for each in range(counts.ndim) if each != axis)
        assert agrees(counts.sum(others), DRAWS * chances.sum(others)), tree.grid.names[axis]


@pytest.mark.parametrize("arm", ARMS)
def test_what_a_session_served_is_recomputed_teacher_forced(arm: Arm) -> None:
    """All kinds in one batch, step by step with keys and values kept, against one packed pass: within 1e-4 (float32)."""
    for lm in (small_lm(), spelling_lm()):
        requests = [small_request(kind, arm) for kind in (*KIND_NAMES, *DECLARED, "alike")]
        grids = [ActionGrid.of(request) for request in requests]
        rngs = [np.random.default_rng(seed) for seed in range(len(requests))]
        with torch.no_grad(), lm.use_adapter(SLOT):
            decided = decide(requests, grids, critic(), lm.session(lm.encode(requests), requests), rngs, KNOBS)
            again = lm.slot_log_probs(lm.encode(requests), requests, [one.decision for one in decided])
        for request, one, row in zip(requests, decided, again, strict=True):
            own = [slot.double().numpy() for slot in row]
            other = propensity(request, one.decision, one.record, critic(), own)
            assert np.log(other) == pytest.approx(np.log(one.propensity), abs=1e-4)


@pytest.mark.parametrize("lm", [small_lm, spelling_lm], ids=["own", "bytes"])
def test_values_that_are_hard_to_spell_have_paths_of_their_own(lm: Callable[[], LanguageModel]) -> None:
    """Prefixes, quotes, lines, emoji, right-to-left text, special tokens: no path is another's, and none is cut short."""
    spelling = lm().spelling
    values = HARD.closed["value"]
    paths = [spelling.value_path(values, value) for value in values]
    for one, other in itertools.permutations(paths, 2):
        assert other[: len(one)] != one
    assert not {token for path in paths for token in path} & set(spelling.tokenizer.all_special_ids)
    fewer = spelling.slot_trie(values, values[:2])  # the same paths, whichever a request allows
    assert [len(route) for route in fewer.routes] == [len(path) for path in paths[:2]]
