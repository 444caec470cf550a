"""What the logged rewards say of every action: the critic's models, fitted so that no row is valued by a fit that has seen its customer. Pure."""

from collections.abc import Sequence

import numpy as np
from msgspec import structs

from model.critic import Critic
from model.evaluation.estimates import Floats
from model.formula import RewardFormula
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from streaming.contracts.ids import reward_id, stable_unit
from streaming.contracts.rewards import Reward

FOLDS = 3
SALT = "evaluation"
ALL = 10**9
"""No row is forgotten, no channel is out, nothing is refitted in between: this is one fit on all rows."""


def cross_fitted(rewards: Sequence[Reward], formula: RewardFormula) -> list[Floats]:
    """Q of every action of each reward's request, (values per slot ...) in units of reward.

    Args:
        rewards: the last word on contacted strategies.
        formula: how outcomes become reward.
    """
    fits = cross_fits(rewards, formula)
    return [np.asarray(own.values(r.request)[0], np.float64) for own, r in zip(fits, rewards, strict=True)]


def cross_fits(rewards: Sequence[Reward], formula: RewardFormula) -> list[Critic]:
    """Per reward the fit that has not seen its customer: a few critics, many times."""
    folds = [int(FOLDS * stable_unit(SALT, reward.user_id)) for reward in rewards]
    fits = [fit([r for r, own in zip(rewards, folds, strict=True) if own != fold], formula) for fold in range(FOLDS)]
    return [fits[fold] for fold in folds]


def fit(rewards: Sequence[Reward], formula: RewardFormula) -> Critic:
    """One fit on all of these rewards, for requests that are none of theirs."""
    knobs = LearnerKnobs(window=max(len(rewards), 1), refit_every=ALL, half_life=ALL, heads=1, outage_after=ALL)
    learner = CriticLearner(knobs, formula)
    for reward in rewards:
        learner.since_refit = 0
        last = structs.replace(reward, stage="final", reward_id=reward_id(reward.strategy_id, "final"))
        learner.learn(last)
    learner.refit()
    return learner.snapshot().mean
