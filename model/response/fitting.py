"""One encoder fitted on some rows: made from scratch or from a checkpoint, adapted by a method, trained, saved."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from model.peft_methods.kinds import METHODS
from model.peft_methods.learning import Learning
from model.peft_methods.making import Sized, asked, make, merge, trainable_parameters
from model.peft_methods.making import save as save_method
from model.response.encoder import (
    Inputs,
    ResponseEncoder,
    fresh,
    lengthened,
    loaded,
    log_odds,
    masked_loss,
)
from model.response.folds import FEWEST, Fold
from model.response.tables import Tables
from model.training.loop import Loop, Plan, Precision, Told, Trained, device_of, rows_of
from model.training.runs import Run
from model.training.trackers import Tracker

Floats = npt.NDArray[np.float64]
METHOD = "method"
"""Folder of a run that holds what a method trained."""


class Settings(msgspec.Struct, frozen=True):
    """Of a response run.

    Args:
        base: a bidirectional checkpoint by path or hub name; empty: a small BERT from scratch.
        peft: what of the base is trained, see `model/peft_methods/kinds.py`.
        rank: of the method; 0: its own.
        merge: write the method into the base's weights before saving.
        epochs: at most; early stopping ends them.
        class_weight: how many times an answered exposure counts; 1 keeps the probabilities honest.
        unsaid: share of the words that is hidden at random in training: few rows learn texts by heart.
        members: encoders per origin with seeds of their own, averaged.
        fewest: share of the exposures that the first origin knows at least.
    """

    base: str = ""
    peft: str = "full"
    rank: int = 0
    merge: bool = False
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


def check(settings: Settings) -> Sized:
    """The method that is asked for.

    Raises:
        Refused: it cannot be had so.
    """
    s = settings
    return asked(s.peft, s.rank, s.dropout, base=s.base, merge=s.merge)


class Rows(msgspec.Struct, frozen=True):
    """Everything the models read. numbers (n, F), answers (n, labels) with NaN for open windows."""

    tables: Tables
    names: tuple[str, ...]
    numbers: Floats
    said: list[str]
    answers: Floats
    folds: list[Fold]


class Fitting:
    """One encoder and the rows it is fitted on. All of it is drawn from the seed."""

    def __init__(self, rows: Rows, settings: Settings, fit: npt.NDArray[np.int64], seed: int) -> None:
        """Make or load the model.

        Raises:
            Refused: the base cannot be used, or the method cannot take hold in it.
        """
        s, self.rows, self.settings, self.fit, self.seed = settings, rows, settings, fit, seed
        wish = check(s)
        torch.manual_seed(seed)  # what a checkpoint lacks is drawn
        known = [rows.said[i] for i in fit]
        backbone, tokenizer = (
            loaded(s.base) if s.base else fresh(known, seed, width=s.width, layers=s.layers, dropout=s.dropout)
        )
        self.inputs = Inputs(tokenizer, rows.said, rows.numbers, fit)
        before = wish.tokens if wish.method in ("prefix", "prompt") else 0
        lengthened(backbone, self.inputs.words.shape[1] + rows.numbers.shape[1] + before)
        torch.manual_seed(seed + 1)
        self.model = ResponseEncoder(backbone, rows.numbers.shape[1], rows.answers.shape[1], s.dropout, s.unsaid)
        self.sized = msgspec.structs.replace(wish, steps=s.epochs * self.per_epoch)
        self.model.backbone = make(backbone, self.sized)
        self.learning = Learning(self.model.backbone, self.sized)

    @property
    def per_epoch(self) -> int:
        """Steps in which every row is seen once."""
        return max(len(self.fit) // (self.settings.batch * self.settings.accumulate), 1)

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
        plan = Plan(
            steps=self.sized.steps, stop=stop, rate=s.rate, weight_decay=s.weight_decay, accumulate=s.accumulate,
            patience=s.patience if valid is not None else 0, evaluate_every=max(self.per_epoch // 2, 1),
            checkpoint_every=self.per_epoch, seed=self.seed, device=s.device, precision=s.precision,
        )  # fmt: skip

        def loss(step: int, batch: int) -> torch.Tensor:
            mine = fit[rows_of(step * s.accumulate + batch, len(fit), s.batch, self.seed)]
            odds = self.model(*self.inputs.of(mine, device))
            return masked_loss(odds, answers[torch.from_numpy(mine)].to(device), weights) + self.learning.penalty()

        def score() -> float:
            assert valid is not None
            odds = torch.from_numpy(log_odds(self.model, self.inputs, valid, device))
            return float(masked_loss(odds, torch.from_numpy(self.rows.answers[valid]), torch.ones(odds.shape[1])))

        return Loop(self.model, loss, plan, None if valid is None else score, self.learning).run(
            run, name, told, tracker
        )

    def told(self) -> dict[str, Any]:
        """What the method trains, and what becomes of it."""
        found = METHODS[self.sized.method]
        return {
            "base": self.settings.base, "method": found.name, "rank": self.sized.size, "trained": trainable_parameters(self.model),
            "parameters": sum(p.numel() for p in self.model.parameters()), "merged": self.settings.merge,
            "mergeable": found.mergeable, "why": found.why,
        }  # fmt: skip

    def save(self, run: Run, temperatures: list[float]) -> None:
        """Weights (of a method: its own files, unless it is merged), tokenizer, what numbers are standardised by, and log-odds divided by."""
        from safetensors.torch import save

        adapted, whole = self.told(), self.settings.peft == "full" or self.settings.merge
        if self.settings.merge:
            self.model.backbone = merge(self.model.backbone, self.sized)
        if not whole:
            save_method(self.model.backbone, self.sized, run.path / METHOD)
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.state_dict().items()
            if whole or not name.startswith("backbone.")
        }
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
            "words": self.inputs.words.shape[1],
            "adapted": adapted,
            **self.model.backbone.config.to_diff_dict(),
        }
        run.write("encoder.json", msgspec.json.encode(told, enc_hook=str, order="deterministic"))
