"""A response run: encoder, logistic regression and boosting at every rolling origin, each resumable; then their report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from model.data.errors import Refused
from model.data.leakage import future_features
from model.response.encoder import log_odds, temperature
from model.response.features import features
from model.response.fitting import Fitting, Floats, Rows, Settings, check
from model.response.folds import Fold, folds
from model.response.frozen import Arrays, frozen
from model.response.peers import NAMES, fitted
from model.response.report import OfLabel, of_label, plots
from model.response.tables import data_sha256, read
from model.response.texts import texts
from model.training.loop import Told, device_of
from model.training.runs import Run, folder_sha256, identity_of
from model.training.trackers import Tracker, tracker

__all__ = ["Rows", "Settings", "main", "predictions", "rows_of_folder"]


def rows_of_folder(folder: Path, settings: Settings) -> Rows:
    """Features and texts of a prepared folder.

    Raises:
        Refused: the folder is none, or a feature knows the future.
    """
    tables = read(folder)
    made = features(tables)
    found = folds(tables.exposures, tables.labels, settings.fewest)
    cuts = sorted({found[0].origin, found[-1].origin})
    late = future_features(lambda cut: made if cut is None else features(tables.until(cut)), cuts, "exposure", "at")
    if late:
        raise Refused(f"the feature {late[0].about} knows the future: {late[0].message}")
    numbers = made.drop("exposure", "at")
    answers = tables.exposures.select(tables.labels).cast(dict.fromkeys(tables.labels, float)).to_numpy()
    return Rows(tables, tuple(numbers.columns), numbers.to_numpy(), texts(tables), answers.astype(np.float64), found)


def predictions(
    rows: Rows, settings: Settings, run: Run, told: Callable[[str], Told], tracker: Tracker
) -> dict[str, Floats]:
    """Model → (n, labels) probabilities of the rows that some origin answers; NaN elsewhere."""
    found = {name: np.full_like(rows.answers, np.nan) for name in ("prior_rate", *NAMES, "encoder", "blend")}
    for number, fold in enumerate(rows.folds):
        odds = _kept(run, number)
        if odds is None:
            odds = {"encoder": _encoder(rows, fold, number, settings, run, told, tracker)}
            odds |= {name: _peer(name, rows, fold, settings.seed, run) for name in NAMES}
            odds["blend"] = np.mean([odds[name] for name in ("encoder", *NAMES)], axis=0)
            _keep(run, number, odds)
        for name, values in odds.items():
            found[name][fold.test] = 1 / (1 + np.exp(-values))
        for place, label in enumerate(rows.tables.labels):
            found["prior_rate"][fold.test, place] = rows.numbers[fold.test, rows.names.index(f"{label}_so_far")]
    return found


def main(
    data: Path,
    out: Path,
    settings: Settings,
    told: Callable[[str], Told],
    *,
    resume: bool,
    overwrite: bool,
    track: str = "none",
) -> dict[str, Any]:
    """Make the run `out` from a prepared folder; returns its report.

    Raises:
        Refused: the folder, the output or a setting cannot be used.
    """
    check(settings)
    brought = {"base": folder_sha256(Path(settings.base))}
    config = {"task": "response", **msgspec.to_builtins(settings), "brought_sha256": brought}
    identity = identity_of(config, data_sha256(data), settings.seed)
    with Run(out, identity, resume=resume, overwrite=overwrite) as run:
        rows = rows_of_folder(data, settings)
        tracked = tracker(track, run.path / "tracker", out.name, config)
        found = predictions(rows, settings, run, told, tracked)
        tracked.end()
        report = _report(rows, found, run, settings)
        run.publish()
    return report


def _report(rows: Rows, found: dict[str, Floats], run: Run, settings: Settings) -> dict[str, Any]:
    customers = rows.tables.exposures["customer_id"].to_numpy()
    labels: dict[str, OfLabel | str] = {}
    for place, label in enumerate(rows.tables.labels):
        mine = {name: values[:, place] for name, values in found.items()}
        try:
            labels[label] = of_label(mine, rows.answers[:, place], customers, settings.seed)
        except Refused as error:
            labels[label] = str(error)
            continue
        for name, drawn in plots(mine, rows.answers[:, place]).items():
            run.write(f"{label}-{name}", drawn)
    judged = [(label, told) for label, told in reversed(labels.items()) if not isinstance(told, str)]
    if not judged:
        raise Refused("; ".join(f"{label}: {said}" for label, said in labels.items()))
    label, main = judged[0]
    report = {
        "task": "response", "label": label, "models": main.models, "beside_prior": main.beside_prior, "verdict": main.verdict,
        "exposures": len(rows.answers), "judged": main.rows, "answered": main.answered,
        "origins": [{"at": fold.origin, "learned_from": len(fold.known), "judged": len(fold.test)} for fold in rows.folds],
        "adapted": msgspec.json.decode(run.read("encoder.json") or b"{}").get("adapted"), "labels": labels,
    }  # fmt: skip
    run.write("report.json", msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def _kept(run: Run, number: int) -> dict[str, Floats] | None:
    from safetensors.numpy import load

    data = run.read(f"folds/{number:02d}.safetensors")
    return None if data is None else load(data)


def _keep(run: Run, number: int, odds: dict[str, Floats]) -> None:
    from safetensors.numpy import save

    run.write(f"folds/{number:02d}.safetensors", save({k: np.ascontiguousarray(odds[k]) for k in sorted(odds)}))


def _peer(name: str, rows: Rows, fold: Fold, seed: int, run: Run) -> Floats:
    from safetensors.numpy import save

    out = np.zeros((len(fold.test), rows.answers.shape[1]))
    kept: Arrays = {}
    for place, label in enumerate(rows.tables.labels):
        predict, model = fitted(name, rows.numbers, rows.answers[:, place], (fold.fit, fold.valid), seed)
        out[:, place] = predict(rows.numbers[fold.test])
        kept |= {f"{label}.{part}": values for part, values in frozen(name, model).items()}
    if fold is rows.folds[-1]:
        run.write(f"{name}.safetensors", save(kept))
    return out


def _encoder(
    rows: Rows, fold: Fold, number: int, settings: Settings, run: Run, told: Callable[[str], Told], tracker: Tracker
) -> Floats:
    """Mean tempered log-odds of the members on the fold's test rows."""
    answered, device = [], device_of(settings.device)
    for member in range(settings.members):
        name, seed = f"fold-{number:02d}-{member}", settings.seed + member
        tried = Fitting(rows, settings, fold.fit, seed)
        ended = tried.train(run, f"{name}-try", told(name), tracker, valid=fold.valid)
        checked = log_odds(tried.model, tried.inputs, fold.valid, device)
        whole = Fitting(rows, settings, fold.known, seed)
        whole.train(
            run, f"{name}-all", told(name), tracker, stop=round(ended.best_step * len(fold.known) / len(fold.fit))
        )
        odds = log_odds(whole.model, whole.inputs, fold.test, device)
        tempers = [temperature(checked[:, place], rows.answers[fold.valid, place]) for place in range(odds.shape[1])]
        answered.append(odds / np.array(tempers))
        if fold is rows.folds[-1] and member == 0:
            whole.save(run, tempers)
        run.drop(f"{name}-try")
        run.drop(f"{name}-all")
    mean: Floats = np.mean(answered, axis=0)
    return mean
