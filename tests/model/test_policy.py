"""Decisions and their exact probabilities, checked by enumeration of the whole grid."""

from collections.abc import Sequence
from itertools import product

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from model.grid import ActionGrid
from model.policy import Decided, Knobs, decide, propensity, record_of
from streaming.contracts.kinds import KIND_NAMES, Arm, Kind
from streaming.contracts.strategies import Exclusion, StrategyRequest
from tests.model.sample import request_of

KNOBS = Knobs(base="small", adapter="adapter-000001-abcd", temperature=0.4, lm_weight=0.3)
DECIDING: tuple[Arm, ...] = ("fused", "lm", "critic", "random")


class TableCritic(msgspec.Struct, frozen=True):
    """A critic whose values are drawn by seed: the policy needs numbers, not how they were learned."""

    seed: int
    heads: int = 4
    beta: float = 0.005
    spread: float = 0.01
    version: str = "critic-000001-table"

    def values(self, request: StrategyRequest, grid: ActionGrid) -> np.ndarray:
        """(1 + heads, *grid.shape)."""
        rng = np.random.default_rng([self.seed, len(request.candidates)])
        return self.spread * rng.standard_normal((1 + self.heads, *grid.shape))


class TableDecoder:
    """A language model whose conditionals depend on the whole prefix, by seed."""

    def __init__(self, grids: Sequence[ActionGrid], seed: int) -> None:
        """Start before the first slot."""
        self._grids, self._seed = grids, seed
        self.prefixes: list[tuple[int, ...]] = [() for _ in grids]

    def log_probs(self) -> list[np.ndarray]:
        """The current slot's, per request."""
        return [table_lm(grid, prefix, self._seed) for grid, prefix in zip(self._grids, self.prefixes, strict=True)]

    def choose(self, indices: Sequence[int]) -> None:
        """Move on."""
        self.prefixes = [(*prefix, index) for prefix, index in zip(self.prefixes, indices, strict=True)]


def table_lm(grid: ActionGrid, prefix: tuple[int, ...], seed: int) -> np.ndarray:
    """Log p(v | prefix), (values,), float32 as a model gives it."""
    logits = np.random.default_rng([seed, *prefix, len(prefix)]).standard_normal(grid.shape[len(prefix)])
    return (logits - float(np.log(np.exp(logits).sum()))).astype(np.float32)


def teacher_forced(grid: ActionGrid, index: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """The conditionals along one decision."""
    return [table_lm(grid, index[:slot], seed) for slot in range(len(index))]


def decide_one(request: StrategyRequest, critic: TableCritic, *, seed: int = 0, late: bool = False) -> Decided:
    """One decision, through the batch interface."""
    grid = ActionGrid.of(request)
    decoder = None if late else TableDecoder([grid], 5)
    return decide([request], [grid], critic, decoder, [np.random.default_rng(seed)], KNOBS)[0]


def everything(request: StrategyRequest, decided: Decided, critic: TableCritic) -> np.ndarray:
    """The propensity of every cell of the grid under the decision's record."""
    grid = ActionGrid.of(request)
    table = np.zeros(grid.shape)
    for index in np.ndindex(grid.shape):
        lm = teacher_forced(grid, index, 5)
        table[index] = propensity(request, grid.decision(index), decided.record, critic, lm)
    return table


def by_definition(request: StrategyRequest, decided: Decided, critic: TableCritic) -> np.ndarray:
    """The same table written out as DESIGN says it, with nothing shared: sums of exponentials, no log space."""
    grid, record = ActionGrid.of(request), decided.record
    mean, *heads = critic.values(request, grid)
    values = np.stack([mean + (head - mean) / (record.critic_weight or 1.0) for head in heads])
    weights = np.where(grid.allowed, np.exp(values / critic.beta), 0.0)
    table = np.zeros(grid.shape)
    for head, index in product(range(critic.heads), np.ndindex(grid.shape)):
        chance = 1.0
        for slot in range(len(index)):
            rest = weights[head][index[:slot]]
            per_value = rest.reshape(rest.shape[0], -1).sum(1)
            pi = per_value / per_value.sum()
            lm = np.exp(table_lm(grid, index[:slot], 5).astype(float))
            raw = np.where(pi > 0, lm ** (record.lm_weight / record.temperature) * pi**record.critic_weight, 0.0)
            chance *= raw[index[slot]] / raw.sum() if raw[index[slot]] > 0 else 0.0
            if not chance:
                break
        table[index] += chance / critic.heads
    return table


@pytest.mark.parametrize("arm", DECIDING)
@pytest.mark.parametrize("kind", KIND_NAMES)
def test_probabilities_of_all_actions_sum_to_one(kind: Kind, arm: Arm) -> None:
    """Over the whole grid the propensities sum to one, and forbidden actions have none of it."""
    request = request_of(kind=kind, candidates=2 if kind == "promotion" else 3, arm=arm)
    critic = TableCritic(3)
    if kind == "promotion":  # fewer actions: every one is recomputed
        request = msgspec.structs.replace(
            request,
            slots=request.slots[:1]
            + tuple(msgspec.structs.replace(slot, values=slot.values[:3]) for slot in request.slots[1:]),
        )
    table = everything(request, decide_one(request, critic), critic)
    assert table.sum() == pytest.approx(1.0, abs=1e-9)
    assert not table[~ActionGrid.of(request).allowed].any()


@pytest.mark.parametrize("arm", ["fused", "critic", "lm"])
def test_the_table_is_the_one_of_the_definition(arm: Arm) -> None:
    """Log space, reweighted heads and prefix slices change nothing against the formula written out plainly."""
    request, critic = request_of(candidates=2, arm=arm), TableCritic(8)
    decided = decide_one(request, critic)
    np.testing.assert_allclose(everything(request, decided, critic), by_definition(request, decided, critic), rtol=1e-9)


def test_a_language_model_that_says_what_the_mean_says_changes_nothing() -> None:
    """However large its share: the heads explore as they do where the critic decides alone. Slot after slot, one slot allowed at a time."""
    request = request_of(candidates=3, arm="fused")
    critic = TableCritic(4)
    for open_slot in range(len(request.slots)):
        slots = tuple(
            slot if place == open_slot else msgspec.structs.replace(slot, values=slot.values[:1])
            for place, slot in enumerate(request.slots)
        )
        asked = msgspec.structs.replace(request, slots=slots)
        grid = ActionGrid.of(asked)
        mean = critic.values(asked, grid)[0].ravel()
        alone = _marginal(msgspec.structs.replace(asked, arm="critic"), critic, 0.0, mean)
        for share in (0.2, 0.5, 0.9):
            np.testing.assert_allclose(_marginal(asked, critic, share, mean), alone, rtol=1e-9)


def _marginal(request: StrategyRequest, critic: TableCritic, share: float, mean: np.ndarray) -> list[float]:
    """Of the one open slot's values, beside a language model whose log-probabilities are those of the mean at its temperature."""
    grid, knobs = ActionGrid.of(request), msgspec.structs.replace(KNOBS, lm_weight=share)
    logs = mean * knobs.temperature / critic.beta
    said = [
        logs - np.log(np.exp(logs - logs.max()).sum()) - logs.max() if size > 1 else np.zeros(1) for size in grid.shape
    ]
    record = record_of(request, grid, critic, knobs, late=False)
    return [propensity(request, grid.decision(index), record, critic, said) for index in np.ndindex(grid.shape)]


def test_random_is_uniform_over_allowed_actions() -> None:
    """Every allowed action has probability 1/n, also where exclusions leave a value few completions."""
    request, critic = request_of(candidates=3, arm="random"), TableCritic(3)
    grid = ActionGrid.of(request)
    table = everything(request, decide_one(request, critic), critic)
    np.testing.assert_allclose(table[grid.allowed], 1.0 / grid.count, rtol=1e-12)


@given(seed=st.integers(0, 2**32), arm=st.sampled_from(DECIDING), kind=st.sampled_from(KIND_NAMES), data=st.data())
@settings(derandomize=True, deadline=None, max_examples=60)
def test_slot_propensities_multiply_to_the_marginal_on_any_grid(
    seed: int, arm: Arm, kind: Kind, data: st.DataObject
) -> None:
    """On random grids, with random exclusions, the product over slots is the marginal to 1e-12."""
    request = request_of(seed, kind, data.draw(st.integers(1, 4)), arm)
    first, second = request.slots[0], data.draw(st.sampled_from(request.slots[1:]))
    extra = Exclusion(first.name, first.values[-1], second.name, second.values[1:])
    request = msgspec.structs.replace(request, exclusions=(*request.exclusions, extra))
    spread = data.draw(st.sampled_from((0.0, 0.01, 30.0)))  # the last spans thousands of nats
    critic = TableCritic(seed, heads=data.draw(st.integers(1, 16)), spread=spread)
    decided = decide_one(request, critic, seed=seed, late=data.draw(st.booleans()))
    grid = ActionGrid.of(request)
    assert grid.allowed[decided.index]
    assert decided.decision == grid.decision(decided.index)
    assert np.prod(list(decided.slot_propensities.values())) == pytest.approx(decided.propensity, rel=1e-12)
    lm = teacher_forced(grid, decided.index, 5)
    again = propensity(request, decided.decision, decided.record, critic, lm)
    assert again == pytest.approx(decided.propensity, rel=1e-9)


@pytest.mark.parametrize("arm", DECIDING)
def test_sampled_frequencies_agree_with_the_propensities(arm: Arm) -> None:
    """Chi-square of 2,000 draws against the table does not reject at 1 in 1,000 (fixed seeds)."""
    request, critic = request_of(2, candidates=2, arm=arm), TableCritic(11)
    grid = ActionGrid.of(request)
    rngs = [np.random.default_rng([arm == "random", seed]) for seed in range(2000)]
    decoder = TableDecoder([grid] * len(rngs), 5)
    drawn = decide([request] * len(rngs), [grid] * len(rngs), critic, decoder, rngs, KNOBS)
    counts = np.zeros(grid.shape)
    for one in drawn:
        counts[one.index] += 1
    expected = everything(request, drawn[0], critic) * len(drawn)
    common = expected >= 5
    seen = np.append(counts[common], counts[~common].sum())
    wanted = np.append(expected[common], expected[~common].sum())
    keep = wanted > 0
    assert not seen[~keep].any()
    assert chisquare(seen[keep], wanted[keep] * seen.sum() / wanted.sum()).pvalue > 0.001


def test_recomputing_survives_the_wire() -> None:
    """From the record as JSON, with float32 log-probabilities a little off, log p agrees within 1e-4."""
    critic, noise = TableCritic(1), np.random.default_rng(0)
    for seed in range(20):
        request = request_of(seed, candidates=6)
        decided = decide_one(request, critic, seed=seed)
        record = msgspec.json.decode(msgspec.json.encode(decided.record), type=type(decided.record))
        lm = [
            row + 1e-6 * noise.standard_normal(row.shape)
            for row in teacher_forced(ActionGrid.of(request), decided.index, 5)
        ]
        again = propensity(request, decided.decision, record, critic, lm)
        assert abs(np.log(again / decided.propensity)) < 1e-4


def test_a_forbidden_decision_has_probability_zero() -> None:
    """Rules before samples: what an exclusion forbids is 0, not small."""
    request, critic = request_of(), TableCritic(1)
    decided = decide_one(request, critic)
    forbidden = {**decided.decision, "channel": "onsite", "send_time": "evening"}
    lm = teacher_forced(ActionGrid.of(request), (0, 0, 3, 0), 5)
    assert propensity(request, forbidden, decided.record, critic, lm) == 0.0


def test_late_requests_are_the_critics() -> None:
    """Without a decoder the critic acts alone, the assigned arm stays, and no adapter is named."""
    decided = decide_one(request_of(arm="fused"), TableCritic(1), late=True)
    assert decided.record.acting_arm == "critic"
    assert decided.record.assigned_arm == "fused"
    assert decided.record.late
    assert decided.record.adapter == "none"
    assert decided.record.critic_weight == 1.0


def test_a_decision_depends_on_no_other_request_of_its_batch() -> None:
    """Alone or in company, a request with its own generator is decided alike."""
    critic = TableCritic(2)
    requests = [request_of(seed, candidates=3, arm=arm) for seed, arm in enumerate(DECIDING)]
    grids = [ActionGrid.of(request) for request in requests]
    rngs = [np.random.default_rng(seed) for seed in range(4)]
    together = decide(requests, grids, critic, TableDecoder(grids, 5), rngs, KNOBS)
    for seed, (request, one) in enumerate(zip(requests, together, strict=True)):
        alone = decide_one(request, critic, seed=seed)
        assert (alone.decision, alone.propensity) == (one.decision, one.propensity)


def test_another_critic_than_recorded_is_refused() -> None:
    """Recomputing under another snapshot would give a number that means nothing."""
    request = request_of()
    decided = decide_one(request, TableCritic(1))
    other = TableCritic(1, version="critic-000002-table")
    with pytest.raises(ValueError, match="recorded critic critic-000001-table"):
        propensity(request, decided.decision, decided.record, other, None)


def test_a_critic_with_a_hole_is_our_bug() -> None:
    """A value that is not finite stops the request instead of becoming a probability."""
    with pytest.raises(ValueError, match="not finite"):
        decide_one(request_of(arm="critic"), TableCritic(1, spread=float("nan")))
