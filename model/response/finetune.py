"""A response run: encoder, logistic regression and boosting at every rolling origin, each resumable; then their report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from model.data.errors import Refused
from model.data.leakage import future_features
from model.response.encoder import Inputs, ResponseEncoder, fresh, loaded, log_odds, masked_loss, temperature
from model.response.features import features
from model.response.folds import FEWEST, Fold, folds
from model.response.frozen import Arrays, frozen
from model.response.peers import NAMES, fitted
from model.response.report import OfLabel, of_label, plots
from model.response.tables import Tables, data_sha256, read
from model.response.texts import texts
from model.training.loop import Loop, Plan, Precision, Told, Trained, device_of, rows_of
from model.training.runs import Run, identity_of
from model.training.trackers import Tracker, tracker

Floats = npt.NDArray[np.float64]


class Settings(msgspec.Struct, frozen=True):
    """Of a response run.

    Args:
        base: a bidirectional checkpoint by path or hub name; empty: a small BERT from scratch.
        epochs: at most; early stopping ends them.
        class_weight: how many times an answered exposure counts; 1 keeps the probabilities honest.
        unsaid: share of the words that is hidden at random in training: few rows learn texts by heart.
        members: encoders per origin with seeds of their own, averaged.
    """

    base: str = ""
    epochs: int = 10
    batch: int = 64
    rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.2
    unsaid: float = 0.8
    class_weight: float = 1.0
    width: int = 32
    layers: int = 1
    members: int = 1
    patience: int = 4
    accumulate: int = 1
    fewest: float = FEWEST
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"


class Rows(msgspec.Struct, frozen=True):
    """Everything the models read. numbers (n, F), answers (n, labels) with NaN for open windows."""

    tables: Tables
    names: tuple[str, ...]
    numbers: Floats
    said: list[str]
    answers: Floats
    folds: list[Fold]


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
    config = {"task": "response", **msgspec.to_builtins(settings)}
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
        "labels": labels,
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
        tried = Trial(rows, settings, fold.fit, seed)
        ended = tried.train(run, f"{name}-try", told(name), tracker, valid=fold.valid)
        checked = log_odds(tried.model, tried.inputs, fold.valid, device)
        whole = Trial(rows, settings, fold.known, seed)
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


class Trial:
    """One encoder and the rows it is fitted on. All of it is drawn from the seed."""

    def __init__(self, rows: Rows, settings: Settings, fit: npt.NDArray[np.int64], seed: int) -> None:
        """Make or load the model."""
        self.rows, self.settings, self.fit, self.seed = rows, settings, fit, seed
        known = [rows.said[i] for i in fit]
        backbone, tokenizer = (
            loaded(settings.base) if settings.base
            else fresh(known, seed, width=settings.width, layers=settings.layers, dropout=settings.dropout)
        )  # fmt: skip
        torch.manual_seed(seed + 1)
        self.model = ResponseEncoder(
            backbone, rows.numbers.shape[1], rows.answers.shape[1], settings.dropout, settings.unsaid
        )
        self.inputs = Inputs(tokenizer, rows.said, rows.numbers, fit)

    def train(
        self,
        run: Run,
        name: str,
        told: Told,
        tracker: Tracker,
        *,
        valid: npt.NDArray[np.int64] | None = None,
        stop: int = 0,
    ) -> Trained:
        """Train; stopped by the loss on `valid` where that is given, else after `stop` steps."""
        s, device, fit = self.settings, device_of(self.settings.device), self.fit
        answers = torch.from_numpy(self.rows.answers.astype(np.float32))
        weights = torch.full((answers.shape[1],), s.class_weight, device=device)
        per_epoch = max(len(fit) // (s.batch * s.accumulate), 1)
        plan = Plan(
            steps=s.epochs * per_epoch, stop=stop, rate=s.rate, weight_decay=s.weight_decay, accumulate=s.accumulate,
            patience=s.patience if valid is not None else 0, evaluate_every=max(per_epoch // 2, 1), checkpoint_every=per_epoch,
            seed=self.seed, device=s.device, precision=s.precision,
        )  # fmt: skip

        def loss(step: int, batch: int) -> torch.Tensor:
            mine = fit[rows_of(step * s.accumulate + batch, len(fit), s.batch, self.seed)]
            odds = self.model(*self.inputs.of(mine, device))
            return masked_loss(odds, answers[torch.from_numpy(mine)].to(device), weights)

        def score() -> float:
            assert valid is not None
            odds = torch.from_numpy(log_odds(self.model, self.inputs, valid, device))
            return float(masked_loss(odds, torch.from_numpy(self.rows.answers[valid]), torch.ones(odds.shape[1])))

        return Loop(self.model, loss, plan, None if valid is None else score).run(run, name, told, tracker)

    def save(self, run: Run, temperatures: list[float]) -> None:
        """Weights, tokenizer, what numbers are standardised by, and what log-odds are divided by."""
        from safetensors.torch import save

        weights = {name: value.detach().cpu().contiguous() for name, value in self.model.state_dict().items()}
        weights |= {
            "numbers.mean": torch.from_numpy(self.inputs.mean),
            "numbers.spread": torch.from_numpy(self.inputs.spread),
        }
        run.write("encoder.safetensors", save(weights))
        run.write("tokenizer.json", self.inputs.tokenizer.backend_tokenizer.to_str().encode())
        told = {
            "features": self.rows.names,
            "labels": self.rows.tables.labels,
            "temperatures": temperatures,
            "pad_token": self.inputs.tokenizer.pad_token,
            **self.model.backbone.config.to_diff_dict(),
        }
        run.write("encoder.json", msgspec.json.encode(told, enc_hook=str, order="deterministic"))
