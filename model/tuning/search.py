"""A search for the response encoder's settings: trials on the first origin's past, and their report.

A trial is fitted on the older part of what was known at the first judged origin and scored on the newer. Nothing that was sent at or after that
origin is read, so what `finetune` judges with the found settings from there on was seen by neither.
"""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from model.response.encoder import log_odds
from model.response.finetune import rows_of_folder
from model.response.fitting import Fitting, Rows, Settings, check
from model.response.scores import LEVEL, RESAMPLES, Estimate
from model.response.tables import data_sha256
from model.training.loop import Told, device_of
from model.training.runs import Run, folder_sha256, identity_of
from model.training.trackers import Tracker, tracker
from model.tuning.trials import Pruner, Tried, importance, keep, known, space, study

Floats = npt.NDArray[np.float64]
KNOWN = 0.35
"""Share of the exposures that a search may know; what is sent later is left to judge by."""
TUNED = Path("runs/tuned")
"""Where the command that judges the best settings writes to."""


class Wish(msgspec.Struct, frozen=True):
    """What to search.

    Args:
        settings: what is not searched; the first trial has all of them as they are.
        trials: at most. No part of a run's identity: an interrupted one may go on to more.
    """

    settings: Settings
    trials: int = 20
    pruner: Pruner = "median"


class _Pruned(Exception):
    """The trial is not worth its rest."""


def main(
    data: Path,
    out: Path,
    wish: Wish,
    told: Callable[[str], Told],
    more: Callable[[], bool],
    *,
    resume: bool,
    overwrite: bool,
    track: str = "none",
) -> dict[str, Any]:
    """Make the run `out`; returns its report.

    Args:
        more: whether time is left for another trial; the first is always made.

    Raises:
        Refused: the folder, the output, the base or a setting cannot be used.
    """
    check(wish.settings)
    brought = {"base": folder_sha256(Path(wish.settings.base))}
    config = {"task": "tune", "pruner": wish.pruner, **msgspec.to_builtins(wish.settings), "brought_sha256": brought}
    identity = identity_of(config, data_sha256(data), wish.settings.seed)
    with Run(out, identity, resume=resume, overwrite=overwrite) as run:
        rows = rows_of_folder(data, wish.settings)
        tried = known(run)
        for each in tried:
            run.drop(_name(each.number))  # it may have been killed between the two
        while len(tried) < wish.trials and (not tried or more()):
            tried.append(_trial(rows, wish, tried, run, told, track))
            told("trials")(len(tried), wish.trials, {"trials/best": _best(tried).value or 0.0}, None)
        report = _report(rows, wish, tried, run, data)
        run.write("report.json", msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
        run.publish()
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _trial(rows: Rows, wish: Wish, tried: list[Tried], run: Run, told: Callable[[str], Told], track: str) -> Tried:
    """Ask for settings, train with them, keep what came of it."""
    number, fold = len(tried), rows.folds[0]
    asking = study(tried, wish.settings.peft, wish.pruner, wish.settings.seed)
    if not number:
        asking.enqueue_trial(_first(wish.settings))
    trial = asking.ask(space(wish.settings.peft))
    settings = msgspec.structs.replace(wish.settings, **trial.params)
    fitting = Fitting(rows, settings, fold.fit, settings.seed)
    watch, tracked = _Watch(trial, _name(number), run, told), _tracker(track, run, number, trial.params)
    value = None
    try:
        value = fitting.train(run, _name(number), watch, tracked, valid=fold.valid).best
        odds = log_odds(fitting.model, fitting.inputs, fold.valid, device_of(settings.device))
        _keep_losses(run, number, odds, rows.answers[fold.valid])
    except _Pruned:
        pass  # the trial ends without a value: that is what it is recorded as
    finally:
        tracked.end()
    noted = {key: kept for key, kept in asking.trials[number].system_attrs.items() if key != "fixed_params"}
    ended = Tried(number, dict(trial.params), watch.scores, value, noted)
    keep(run, ended)
    run.drop(_name(number))
    return ended


class _Watch:
    """Passes progress on, and evaluations to the pruner: those before an interruption as well."""

    def __init__(self, trial: Any, name: str, run: Run, told: Callable[[str], Told]) -> None:
        self.trial, self.name, self.run, self.told = trial, name, run, told(name)
        self.scores: list[float] = []

    def __call__(self, step: int, steps: int, metrics: dict[str, float], cost: Any) -> None:
        self.told(step, steps, metrics, cost)
        key = f"{self.name}/score"
        if key not in metrics:
            return
        for score in [*(() if self.scores else self.run.logged(key)), metrics[key]]:
            self.trial.report(score, len(self.scores))
            self.scores.append(score)
        if self.trial.should_prune():
            raise _Pruned


def _tracker(track: str, run: Run, number: int, params: dict[str, Any]) -> Tracker:
    """A run of its own per trial; TensorBoard tells them apart by folder."""
    below = run.path / "tracker"
    return tracker(track, below / _name(number) if track == "tensorboard" else below, _name(number), params)


def _first(settings: Settings) -> dict[str, Any]:
    asked = {name: getattr(settings, name) for name in space(settings.peft)}
    return asked | ({"rank": check(settings).size} if "rank" in asked else {})


def _best(tried: list[Tried]) -> Tried:
    return min((each for each in tried if each.value is not None), key=lambda each: (each.value, each.number))


def _keep_losses(run: Run, number: int, odds: Floats, answers: Floats) -> None:
    """Per validation row its mean loss over the labels that are known."""
    from safetensors.numpy import save

    losses = np.nanmean(np.where(np.isnan(answers), np.nan, np.logaddexp(0.0, odds) - answers * odds), axis=1)
    run.write(f"trials/{number:04d}.safetensors", save({"loss": losses}))


def _losses(run: Run, number: int) -> Floats:
    from safetensors.numpy import load

    found: Floats = load(run.read(f"trials/{number:04d}.safetensors") or b"")["loss"]
    return found


def gain(first: Floats, best: Floats, customers: npt.NDArray[Any], seed: int) -> Estimate:
    """By how much the mean loss is lower, with its 95 % interval: whole customers are drawn anew (bootstrap)."""
    _, who = np.unique(customers, return_inverse=True)
    count = int(who.max()) + 1
    lower, rows = np.bincount(who, first - best, count), np.bincount(who, minlength=count).astype(np.float64)
    drawn = np.random.default_rng((seed, 3)).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    low, high = np.percentile((drawn @ lower) / (drawn @ rows), LEVEL)
    return Estimate(float(lower.sum() / rows.sum()), float(low), float(high))


def _report(rows: Rows, wish: Wish, tried: list[Tried], run: Run, data: Path) -> dict[str, Any]:
    best, fold = _best(tried), rows.folds[0]
    customers = rows.tables.exposures["customer_id"].to_numpy()[fold.valid]
    by = gain(_losses(run, 0), _losses(run, best.number), customers, wish.settings.seed)
    found = best.number > 0 and by.low > 0
    shown = f"{by.value:.4f} nats ({by.low:.4f} to {by.high:.4f}) below the settings that it began with"
    says = f"trial {best.number} is the best by validation loss, {best.value:.4f}: {shown}" if best.number else "nothing was better than the settings that it began with"  # fmt: skip
    return {
        "task": "tune", "tunes": "response", "validated": {
            "until": fold.origin, "fitted": len(fold.fit), "rows": len(fold.valid),
            "answered": int(np.nansum(rows.answers[fold.valid])),
        },
        "trials": tried, "pruned": sum(each.value is None for each in tried), "best": best, "gain": by,
        "importance": importance(tried, wish.settings.peft),
        "verdict": {"go_on": found, "says": f"{says}. It was chosen on these rows: the command judges it on what was sent later."},
        "command": command(wish.settings, best, data),
    }  # fmt: skip


def command(settings: Settings, best: Tried, data: Path) -> str:
    """The line that makes a run with the best settings, judged on what the search did not know."""
    given = {"data": data, "out": TUNED, "known": settings.fewest, "epochs": settings.epochs, "patience": settings.patience, "seed": settings.seed}  # fmt: skip
    given |= {"base": settings.base, "peft": settings.peft} if settings.base else {}
    given |= {name.replace("_", "-"): value for name, value in best.settings.items()}
    for name in ("accumulate", "precision", "device"):
        if getattr(settings, name) != getattr(Settings(), name):
            given[name] = getattr(settings, name)
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    return shlex.join(["stratagem", "finetune", "--task", "response", *options])
