"""Distillation: exact targets, a model that follows its critic, a base left as it was, an optimiser that is restored."""

import math

import numpy as np
import pytest
import torch

from model import adapter
from model.critic import Critic
from model.decode import action_scores, log_sum_exp
from model.distil import (
    FULL_STEPS,
    LEARNING_RATE,
    LEAST_RATE,
    TARGET_TEMPERATURE,
    Distiller,
    divergence,
    drawn,
    rate_at,
    targets,
)
from model.fresh import random_lm
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from streaming.reward import Formula
from tests.model.closed import RANDOM
from tests.model.sample import request_of

SLOT = adapter.TRAINING_SLOT


def tiny() -> LanguageModel:
    """A small base with the slot in training."""
    lm = random_lm(5, width=32, layers=2)
    adapter.attach(lm, (SLOT,))
    return lm


def items(count: int) -> list[Replayed]:
    """Requests with some allowed decision."""
    found = []
    for seed in range(count):
        request = request_of(seed, candidates=3)
        grid = ActionGrid.of(request)
        index = tuple(int(i) for i in np.argwhere(grid.allowed)[seed % grid.count])
        found.append(Replayed(f"s{seed}", seed, request, grid.decision(index), RANDOM, 0.5, 0.0, 1))
    return found


def teacher() -> Critic:
    """A critic with opinions: its first head as the mean."""
    prior = Critic.prior(3, 1, Formula(), width=2.0)
    weights = {name: rows[::-1].copy() if len(rows) > 1 else rows for name, rows in prior.weights.items()}
    return Critic("t", weights, prior.facts, prior.formula)


def test_targets_are_the_conditionals_of_the_softmax_over_actions() -> None:
    """Their product along a decision is its probability under softmax(Q_mean / 0.01)."""
    (item,) = items(1)
    grid = ActionGrid.of(item.request)
    scores = action_scores(teacher().values(item.request, grid)[:1], grid, TARGET_TEMPERATURE)[0]
    index = grid.index(item.decision)
    wanted = scores[index] - float(log_sum_exp(scores.reshape(1, -1), 1)[0])
    table, _ = targets([item.request], [item.decision], teacher())
    found = sum(math.log(float(table[slot, place])) for slot, place in enumerate(index))
    assert abs(found - wanted) < 1e-9
    assert torch.allclose(table.sum(1), torch.ones(len(index), dtype=torch.float64))


def test_divergence_is_zero_at_the_target_and_ignores_forbidden_values() -> None:
    """KL(p || p) = 0, also where a value has probability zero and log-probability minus infinity."""
    target = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    log_probs = torch.tensor([[math.log(0.5), math.log(0.5), -math.inf]], dtype=torch.float64)
    assert abs(float(divergence(log_probs, target, math.log(2.0)))) < 1e-12


def test_steps_bring_the_model_to_its_critic_and_leave_the_base_alone() -> None:
    """The loss falls by half within some steps; only the slot's tensors move; nothing asks for gradients afterwards."""
    lm, chosen, critic = tiny(), items(8), teacher()
    base = {name: p.detach().clone() for name, p in lm.causal.named_parameters() if "lora_" not in name}
    distiller = Distiller(lm)
    losses = [distiller.step(chosen, critic) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert min(losses) > -1e-6
    assert all(torch.equal(p, base[name]) for name, p in lm.causal.named_parameters() if name in base)
    assert not any(p.requires_grad for p in lm.causal.parameters())


def test_training_goes_on_where_it_stopped() -> None:
    """Slot and optimiser restored: the next step is the same step."""
    chosen, critic = items(6), teacher()
    straight = tiny()
    one = Distiller(straight)
    for _ in range(3):
        one.step(chosen, critic)
    state, tensors = one.state(), {k: p.detach().clone() for k, p in adapter.parameters(straight, SLOT).items()}
    expected = [one.step(chosen, critic) for _ in range(2)]
    other = tiny()
    adapter.place(other, SLOT, tensors)
    two = Distiller(other)
    two.restore(state)
    assert two.steps == 3
    assert [two.step(chosen, critic) for _ in range(2)] == expected


@pytest.mark.parametrize(
    ("count", "batch", "recent"), [(5, 8, 4), (32, 32, 768), (900, 32, 768), (10, 8, 9), (4000, 32, 768)]
)
def test_a_batch_is_drawn_mostly_among_the_newest(count: int, batch: int, recent: int) -> None:
    """Full, none twice, all in the buffer; three quarters of it among the newest, some of it among what is older."""
    places = drawn(count, batch, np.random.default_rng(3), recent)
    assert len(places) == len(set(places)) == min(batch, count)
    assert set(places) <= set(range(count))
    older = sum(place < count - recent for place in places)
    assert older == min(max(count - recent, 0), min(batch, count) // 4) or len(places) == count


def test_what_is_served_is_the_average_of_the_steps() -> None:
    """Between the identity and the last step, and the same again from a snapshot."""
    lm, chosen, critic = tiny(), items(6), teacher()
    first = {k: p.detach().clone() for k, p in adapter.parameters(lm, SLOT).items()}
    distiller = Distiller(lm)
    for _ in range(5):
        distiller.step(chosen, critic)
    last, mean = adapter.parameters(lm, SLOT), distiller.averaged()
    moved = [key for key in last if not torch.equal(last[key], first[key])]
    assert moved
    for key in moved:
        assert 0.0 < float((mean[key] - first[key]).norm()) < float((last[key] - first[key]).norm()) * 1.5
    again = Distiller(lm)
    again.restore(distiller.state())
    assert all(torch.equal(tensor, mean[key]) for key, tensor in again.averaged().items())


def test_the_rate_falls_with_the_root_of_the_steps_and_no_further_than_its_floor() -> None:
    """Whole at first, half at four times the steps, and never so small that drift could not be followed."""
    assert [rate_at(step) for step in (0, FULL_STEPS)] == [LEARNING_RATE] * 2
    assert rate_at(4 * FULL_STEPS) == pytest.approx(LEARNING_RATE / 2)
    assert rate_at(10**6) == LEAST_RATE
    assert all(rate_at(step) >= rate_at(step + 1) for step in range(3000))
