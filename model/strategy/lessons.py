"""The losses of one step: what was logged, weighted by what it brought, and the teachers who keep the base teachable."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from model.corpus import Example
from model.evaluation.estimates import Floats
from model.finetune import (
    Lesson,
    Reconstruction,
    compose_batch,
    lessons,
    message_loss,
    reconstruction_of,
    teacher_loss,
)
from model.lm import LanguageModel
from model.manifest import Recipe
from model.teachers import Teacher, draw_teacher
from model.tokenizer import TEACHER_NAMES
from streaming.contracts.rewards import Reward

POPULATION = Recipe()
"""Whose teachers the base that ships has learned: their names keep meaning them."""


class Learner(nn.Module):
    """All that is trained: the base, its pointer, and what reads attributes off candidates and is thrown away."""

    def __init__(self, lm: LanguageModel, seed: int) -> None:
        """Make everything trainable; the heads are drawn from the seed."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.heads = reconstruction_of(lm).to(lm.device)
        self.causal, self.pointer = lm.causal, lm.pointer
        self.requires_grad_(requires_grad=True)


class Population:
    """The teachers whose judgement is mixed in.

    A base that has never met them learns to tell many groups of customers apart first, then few, as in pretraining.
    """

    def __init__(self, *, known: bool) -> None:
        """Draw them; `known`: the base knows their names."""
        count = POPULATION.teachers
        self._sparse: list[Teacher] = [draw_teacher(POPULATION.seed + 1, index) for index in range(count)]
        self._dense = [] if known else [draw_teacher(POPULATION.seed, index, None) for index in range(count)]

    def at(self, share: float) -> list[Teacher]:
        """Who teaches when so much of the run is done."""
        return self._dense if self._dense and share < POPULATION.sparse_from / POPULATION.steps else self._sparse


def knows_teachers(lm: LanguageModel) -> bool:
    """Whether a base's tokenizer names the teachers."""
    return set(TEACHER_NAMES) <= set(lm.spelling.tokenizer.get_vocab())


def logged_loss(lm: LanguageModel, rewards: Sequence[Reward], weights: Floats) -> Tensor:
    """Weighted negative log-likelihood of logged decisions, mean nats per slot."""
    return -(
        _chosen(lm, rewards) * torch.as_tensor(_per_slot(rewards, weights), dtype=lm.dtype, device=lm.device)
    ).mean()


def log_likelihoods(lm: LanguageModel, rewards: Sequence[Reward]) -> Floats:
    """(n,) log p of each logged decision at temperature 1, nats."""
    with torch.no_grad():
        chosen = _chosen(lm, rewards).double().cpu().numpy()
    ends = np.cumsum([len(reward.request.slots) for reward in rewards])[:-1]
    return np.array([float(part.sum()) for part in np.split(chosen, ends)])


def _chosen(lm: LanguageModel, rewards: Sequence[Reward]) -> Tensor:
    """(slots of all rewards in order,) log p of the logged value given those before it, differentiable in the base."""
    requests, decisions = [reward.request for reward in rewards], [reward.decision for reward in rewards]
    table = lm.slot_log_prob_table(lm.read(requests)[0], requests, decisions)
    places = [slot.values.index(d[slot.name]) for r, d in zip(requests, decisions, strict=True) for slot in r.slots]
    return table[torch.arange(len(places), device=table.device), torch.tensor(places, device=table.device)]


def _per_slot(rewards: Sequence[Reward], weights: Floats) -> Floats:
    return np.repeat(weights, [len(reward.request.slots) for reward in rewards])


class Taught:
    """What teachers ask in one step."""

    def __init__(self, population: Population, logged_kinds: frozenset[str], prompts: int, suffixes: int) -> None:
        """Of `logged_kinds` the log says what the base itself does; of the others it keeps doing what everybody likes."""
        self._population, self._kinds, self._prompts, self._suffixes = population, logged_kinds, prompts, suffixes

    def loss(self, lm: LanguageModel, heads: Reconstruction, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:  # fmt: skip
        """KL to the teachers, mean nats per slot, and the loss of attributes read off candidates."""
        examples = compose_batch(self._prompts, rng)
        asked = self._asked(examples, share, rng)
        taught, _, rebuilt = teacher_loss(lm, examples, asked, heads)
        return taught, rebuilt

    def _asked(self, examples: Sequence[Example], share: float, rng: np.random.Generator) -> list[Lesson]:
        drawn = lessons(examples, self._population.at(share), self._suffixes + 1, rng)
        return [
            each for each in drawn if each.teacher is not None or examples[each.row].request.kind not in self._kinds
        ]


def message(lm: LanguageModel, count: int, rng: np.random.Generator) -> Tensor:
    """Cross-entropy of composed messages, so that the base goes on writing them."""
    return message_loss(lm, count, rng)
