"""A base in the making, and the log that it learns from with its weights; made from settings and log alone.

References:
    Wortsman et al. (2022), Robust fine-tuning of zero-shot models, CVPR, arXiv 2109.01903: between the weights before and after.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch

from model.critic import Critic
from model.evaluation.estimates import Floats
from model.evaluation.reward_model import cross_fitted, fit
from model.formula import RewardFormula
from model.fresh import adopt
from model.lm import LanguageModel
from model.strategy.lessons import Learner, Population, Taught, knows_teachers, logged_loss, message
from model.strategy.log import Split, split
from model.strategy.saving import checked
from model.strategy.teachability import Examination
from model.strategy.weights import Weighing
from model.training.loop import Loop, Plan, Precision, Told, device_of, rows_of
from model.training.runs import Run
from model.training.trackers import Tracker
from streaming.contracts.rewards import Reward

NAME = "strategy"
EVALUATIONS = 10
"""Evaluations of a run, a checkpoint with each."""
MOST_VALID = 192
HELD_EXAMPLES = 16
"""Composed requests on which the teachers' part of the score is measured."""


class Settings(msgspec.Struct, frozen=True):
    """Of a run.

    Args:
        base: that goes on learning, by path or hub name; empty: the one that ships.
        batch: logged strategies per step; prompts, suffixes: composed requests per step and teachers asked on each.
        beta, most_weight, importance: how outcomes weigh, see `model/strategy/weights.py`.
        share: of the way from the base's weights to those that were learned; a base that has not met the teachers goes all of it.
        log_weight, teacher_weight, rebuild_weight, message_weight: of the losses.
        judged: held-out strategies at most, the newest. temperature: at which a base decides alone.
        critics, lora_steps, customers: of the examination, see `model/strategy/teachability.py`; half as many customers, and messages, are judged.
    """

    base: str = ""
    steps: int = 200
    batch: int = 16
    rate: float = 2e-4
    weight_decay: float = 0.01
    accumulate: int = 1
    beta: float = 1.0
    most_weight: float = 20.0
    importance: float = 0.0
    share: float = 0.5
    log_weight: float = 1.0
    teacher_weight: float = 1.0
    rebuild_weight: float = 0.0
    message_weight: float = 0.3
    prompts: int = 8
    suffixes: int = 6
    messages: int = 8
    judged: int = 1_000
    temperature: float = 0.2
    critics: int = 6
    lora_steps: int = 200
    customers: int = 512
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"


class Work:
    """The base in the making, and the log with its weights; made from settings and log alone."""

    def __init__(self, rewards: Sequence[Reward], formula: RewardFormula, settings: Settings) -> None:
        """Part the log, fit what outcomes are held against, load the base.

        Raises:
            Refused: too short a log, or a base that cannot be used.
        """
        s = self.settings = settings
        self.formula, self.device = formula, device_of(s.device)
        self.parts: Split = split(rewards, s.judged)
        train = self.parts.train
        values = cross_fitted(train, formula)
        weighing = Weighing(s.beta, s.most_weight, s.importance).fitted(train, values)
        self.weighing, self.weights = weighing, weighing.weights(train, values)
        critic = fit(train, formula).mean
        valid = self.parts.valid[-MOST_VALID:]
        self.valid = valid, weighing.weights(valid, [_values(critic, each) for each in valid])
        self.judged_values = [_values(critic, each) for each in self.parts.judged]
        self.judged_weights = weighing.weights(self.parts.judged, self.judged_values)
        checked(s.base, s.seed)
        self.lm, known = self.original()
        self.share = s.share if known else 1.0
        self.learner = Learner(self.lm, s.seed)
        kinds = frozenset(reward.kind for reward in train)
        self.taught = Taught(Population(known=known), kinds, s.prompts, s.suffixes)

    def original(self) -> tuple[LanguageModel, bool]:
        """The base before it learns, and whether it knows the teachers' names."""
        lm = LanguageModel.load(self.settings.base, "cpu")
        known = knows_teachers(lm)
        if not known:
            lm = adopt(self.settings.base, self.settings.seed)
        return LanguageModel(lm.causal.to(self.device), lm.spelling.tokenizer, lm.pointer, lm.name), known

    def learn(self, run: Run, telling: Told, tracked: Tracker) -> int:
        """Train to the end; the base then stands `share` of the way to its best weights by the score. Returns the step they are of."""
        s, every = self.settings, max(self.settings.steps // EVALUATIONS, 1)
        plan = Plan(
            steps=s.steps, rate=s.rate, weight_decay=s.weight_decay, accumulate=s.accumulate, evaluate_every=every,
            checkpoint_every=every, seed=s.seed, device=s.device, precision=s.precision,
        )  # fmt: skip
        begun = {name: weights.detach().clone() for name, weights in self.learner.named_parameters()}
        best = Loop(self.learner, self._loss, plan, self._score).run(run, NAME, telling, tracked).best_step
        with torch.no_grad():
            for name, weights in self.learner.named_parameters():
                weights.copy_(torch.lerp(begun[name], weights, self.share))
        return best

    def _loss(self, step: int, batch: int) -> torch.Tensor:
        """What was logged, and what keeps the base teachable and writing; every draw is of the seed and the place."""
        s, place = self.settings, step * self.settings.accumulate + batch
        rng = np.random.default_rng((s.seed, 7, place))
        rows = rows_of(place, len(self.parts.train), s.batch, s.seed)
        with _on(self.device):
            loss = s.log_weight * logged_loss(self.lm, [self.parts.train[row] for row in rows], self.weights[rows])
            if s.teacher_weight > 0.0 or s.rebuild_weight > 0.0:
                taught, rebuilt = self.taught.loss(self.lm, self.learner.heads, step / s.steps, rng)
                loss = loss + s.teacher_weight * taught + s.rebuild_weight * rebuilt
            if s.message_weight > 0.0:
                loss = loss + s.message_weight * message(self.lm, s.messages, rng)
        return loss

    def _score(self) -> float:
        """The same on what is not learned from; lower is better."""
        s, (valid, weights) = self.settings, self.valid
        total = 0.0
        with _on(self.device):
            for at in range(0, len(valid), s.batch):
                part = slice(at, at + s.batch)
                total += float(logged_loss(self.lm, valid[part], weights[part])) * len(valid[part])
            score = s.log_weight * total / max(len(valid), 1)
            if s.teacher_weight > 0.0:
                rng = np.random.default_rng((s.seed, 8))
                for _ in range(max(HELD_EXAMPLES // s.prompts, 1)):
                    taught = self.taught.loss(self.lm, self.learner.heads, 1.0, rng)[0]
                    score += s.teacher_weight * float(taught) / max(HELD_EXAMPLES // s.prompts, 1)
        return score

    @property
    def examination(self) -> Examination:
        """How its teachability is measured."""
        s = self.settings
        return Examination(s.critics, s.lora_steps, s.customers, max(s.customers // 2, 1))


def _values(critic: Critic, reward: Reward) -> Floats:
    """The model's reward of every action of a request."""
    return np.asarray(critic.values(reward.request)[0], np.float64)


def _on(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Where tensors without a device of their own are made: the losses of pretraining name none."""
    return contextlib.nullcontext() if device.type == "cpu" else device
