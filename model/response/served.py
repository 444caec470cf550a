"""A run's models as of its newest origin, to be asked about exposures that were never made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.errors import Refused
from model.response.frozen import Arrays, log_odds
from model.response.peers import NAMES
from model.response.report import PRIOR

Floats = npt.NDArray[np.float64]
MODELS = ("encoder", *NAMES, "blend", PRIOR)


@dataclass(frozen=True)
class Served:
    """A run as it answers.

    Args:
        features, labels: in the order of columns.
        best: label → the model that its report judged best; of a label that could not be judged, the main label's.
        learned_until: the newest origin: nothing that was sent from then on was learned from.
        peers: name → its arrays, `LABEL.PART`.
    """

    run: Path
    features: tuple[str, ...]
    labels: tuple[str, ...]
    best: dict[str, str]
    learned_until: datetime
    peers: dict[str, Arrays]

    @classmethod
    def load(cls, run: Path) -> "Served":
        """What `stratagem finetune --task response` made.

        Raises:
            Refused: it is no such run, or one made before runs kept their models.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            report = msgspec.json.decode((run / "report.json").read_bytes())
            told = msgspec.json.decode((run / "encoder.json").read_bytes())
            peers = {name: load_file(run / f"{name}.safetensors") for name in NAMES}
            best = {label: _best(report, label) for label in told["labels"]}
            until = datetime.fromisoformat(report["origins"][-1]["at"])
            told["temperatures"]  # an older run has none
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            wanted = "wanted a folder that `stratagem finetune --task response --out` made with this version"
            raise Refused(f"{run} holds no response run ({type(error).__name__}: {error}); {wanted}") from None
        return cls(run, tuple(told["features"]), tuple(told["labels"]), best, until, peers)

    def probabilities(self, made: pl.DataFrame, said: Sequence[str], model: str = "") -> Floats:
        """(n, labels) of exposures.

        Args:
            made: their features by name; said: their texts.
            model: one of `MODELS` for all labels; each label's best where empty.

        Raises:
            Refused: a model that is none, or features other than those it has learned from.
        """
        if model and model not in MODELS:
            raise Refused(f"model {model!r}: wanted one of {', '.join(MODELS)}")
        missing = [name for name in self.features if name not in made.columns]
        if missing:
            raise Refused(f"{self.run} has learned from features that the data lack: {', '.join(missing[:5])}")
        numbers = made.select(self.features).to_numpy()
        wanted = {label: model or self.best[label] for label in self.labels}
        encoded = self._encoded(numbers, said) if {"encoder", "blend"} & set(wanted.values()) else None
        columns = [self._odds(wanted[label], label, place, numbers, encoded) for place, label in enumerate(self.labels)]
        found: Floats = 1.0 / (1.0 + np.exp(-np.stack(columns, 1)))
        return found

    def _odds(self, model: str, label: str, place: int, numbers: Floats, encoded: Floats | None) -> Floats:
        if model == PRIOR:
            rate = np.clip(numbers[:, self.features.index(f"{label}_so_far")], 1e-6, 1 - 1e-6)
            return np.log(rate / (1 - rate))
        if model in NAMES:
            start = f"{label}."
            mine = {key.removeprefix(start): value for key, value in self.peers[model].items() if key.startswith(start)}
            return log_odds(mine, numbers)
        assert encoded is not None
        if model == "encoder":
            return encoded[:, place]
        parts = [encoded[:, place], *(self._odds(name, label, place, numbers, None) for name in NAMES)]
        mean: Floats = np.mean(parts, axis=0)
        return mean

    def _encoded(self, numbers: Floats, said: Sequence[str]) -> Floats:
        """(n, labels) tempered log-odds of the encoder, the first member's."""
        import torch

        from model.response.encoder import Inputs
        from model.response.encoder import log_odds as encoder_log_odds
        from model.response.kept import read

        model, tokenizer, scale, temperatures, length = read(self.run)
        inputs = Inputs(tokenizer, said, numbers, None, scale, length)
        odds = encoder_log_odds(model, inputs, np.arange(len(numbers)), torch.device("cpu"))
        return odds / temperatures


def _best(report: dict[str, Any], label: str) -> str:
    judged = report["labels"][label]
    found: str = (report if isinstance(judged, str) else judged)["verdict"]["best"]
    return found
