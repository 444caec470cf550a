"""What a search remembers: each ended trial is a file of the run, and the study is made anew from them.

optuna's own storages hold times and process ids, and a trial that was killed stays half there. Here a killed trial is asked for again: its
draws come from the seed and its number, and the history that the sampler sees is the same.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from model.peft_methods.making import SIZES
from model.training.runs import Run

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner

Pruner = Literal["median", "halving", "none"]
Value = float | int
STARTUP = 5
"""Trials before the sampler learns from them and before any is pruned; the first has the settings that the search began with."""
WARMUP = 2
"""Evaluations that every trial gets."""


class Tried(msgspec.Struct, frozen=True):
    """One ended trial.

    Args:
        scores: loss at each evaluation, on the validation rows.
        value: the lowest of them; None: it was pruned.
        attributes: what the pruner noted.
    """

    number: int
    settings: dict[str, Value]
    scores: list[float]
    value: float | None
    attributes: dict[str, Any]


def space(method: str) -> "dict[str, BaseDistribution]":
    """What is searched; a rank where the method has one."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, BaseDistribution] = {
        "rate": FloatDistribution(1e-4, 3e-2, log=True),
        "batch": CategoricalDistribution((16, 32, 64, 128, 256)),
        "dropout": FloatDistribution(0.0, 0.6),
        "weight_decay": FloatDistribution(1e-3, 1.0, log=True),
    }
    return found | ({"rank": IntDistribution(1, 64, log=True)} if method in SIZES else {})


def study(tried: Sequence[Tried], method: str, pruner: Pruner, seed: int) -> "Study":
    """The study after these trials; what it asks next depends on them and the seed alone."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    drawn = int(np.random.SeedSequence((seed, len(tried))).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=drawn, n_startup_trials=STARTUP)
    made = optuna.create_study(direction="minimize", sampler=sampler, pruner=_pruner(pruner))
    distributions = space(method)
    for each in tried:
        state = optuna.trial.TrialState.PRUNED if each.value is None else optuna.trial.TrialState.COMPLETE
        made.add_trial(optuna.trial.create_trial(
            state=state, value=each.value, params=dict(each.settings), distributions=distributions,
            intermediate_values=dict(enumerate(each.scores)), system_attrs=dict(each.attributes),
        ))  # fmt: skip
    return made


def _pruner(name: Pruner) -> "BasePruner":
    from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner

    if name == "median":
        return MedianPruner(n_startup_trials=STARTUP, n_warmup_steps=WARMUP)
    return SuccessiveHalvingPruner(min_resource=WARMUP, reduction_factor=2) if name == "halving" else NopPruner()


def importance(tried: Sequence[Tried], method: str) -> dict[str, float]:
    """Share of each setting in what tells good trials from the others; empty where too few ended.

    PED-ANOVA (Watanabe et al., IJCAI 2023).
    """
    from optuna.importance import get_param_importances

    if sum(each.value is not None for each in tried) < STARTUP:
        return {}
    return dict(get_param_importances(study(tried, method, "none", 0)))


def known(run: Run) -> list[Tried]:
    """The ended trials of a run, in order."""
    found: list[Tried] = []
    while (data := run.read(_file(len(found)))) is not None:
        found.append(msgspec.json.decode(data, type=Tried))
    return found


def keep(run: Run, tried: Tried) -> None:
    """Write an ended trial."""
    run.write(_file(tried.number), msgspec.json.format(msgspec.json.encode(tried), indent=2))


def _file(number: int) -> str:
    return f"trials/{number:04d}.json"
