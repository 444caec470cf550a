"""Rolling origins: each model is judged on what is sent after everything that it learned from had ended. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from model.data.errors import Refused

FEWEST = 0.15
"""Share of the exposures whose windows must have closed before the first origin."""
GROWTH = 1.1
"""What is learned from must have grown so much before models are made anew; until then the newest ones answer."""
VALID = 0.25
"""The newest share of what is learned from: it decides when to stop and by how much to temper."""

Rows = npt.NDArray[np.int64]


class Fold(msgspec.Struct, frozen=True):
    """Rows by number: all that was known at the origin (the older for fitting, the newer for validation), and what is answered."""

    origin: datetime
    fit: Rows
    valid: Rows
    test: Rows

    @property
    def known(self) -> Rows:
        """Fitting and validation rows together."""
        return np.concatenate((self.fit, self.valid))


def folds(exposures: pl.DataFrame, labels: Sequence[str], fewest: float = FEWEST) -> list[Fold]:
    """The folds of exposures in the order of time.

    Raises:
        Refused: too few exposures lie after an origin that knows enough.
    """
    until = (
        exposures.select(pl.max_horizontal(f"{name}_until" for name in labels)).to_series().dt.epoch("ms").to_numpy()
    )
    at = exposures["at"].dt.epoch("ms").to_numpy()
    labelled = exposures.select(pl.any_horizontal(pl.col(name).is_not_null() for name in labels)).to_series().to_numpy()
    answered = (
        exposures.select(pl.any_horizontal(pl.col(name) == 1 for name in labels).fill_null(value=False))
        .to_series()
        .to_numpy()
    )
    told = [exposures[name].cast(pl.Float64).to_numpy() for name in labels]
    made: list[Fold] = []
    needed = fewest * len(at)
    for origin in np.unique(at):
        known = np.flatnonzero((until <= origin) & labelled)
        later = np.flatnonzero((at >= origin) & labelled)
        if len(known) < needed or answered[known].sum() < MIN_ANSWERED or not len(later):
            continue
        if not all(_varies(values[known]) for values in told):
            continue  # nothing can be learned of a label that was always, or never, answered
        if made:
            made[-1] = msgspec.structs.replace(made[-1], test=made[-1].test[at[made[-1].test] < origin])
        cut = round(len(known) * (1 - VALID))
        made.append(Fold(_time(origin), known[:cut], known[cut:], later))
        needed = GROWTH * len(known)
    if not made:
        counts = ", ".join(f"{name} {int(np.nansum(values))}" for name, values in zip(labels, told, strict=True))
        raise Refused(
            f"too few answered exposures for an origin: {int(answered.sum())} answered of {len(at)} ({counts})"
        )
    return [fold for fold in made if len(fold.test)]


MIN_ANSWERED = 20


def _varies(values: npt.NDArray[np.float64]) -> bool:
    return len(np.unique(values[~np.isnan(values)])) > 1


def _time(epoch_ms: int) -> datetime:
    from datetime import UTC

    return datetime.fromtimestamp(int(epoch_ms) / 1000, UTC)
