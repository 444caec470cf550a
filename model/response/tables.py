"""The prepared folder as the response model reads it: what `stratagem data prepare` wrote, whole or up to a moment."""

from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from model.data.errors import Refused

LABELS = ("click", "collect", "purchase")
OPTIONAL = ("ads", "offers", "products", "transactions")


class Tables(msgspec.Struct, frozen=True):
    """Exposures in the order of time with their labels, and what else the folder holds (None: it has no such table)."""

    exposures: pl.DataFrame
    behaviours: pl.DataFrame
    ads: pl.DataFrame | None = None
    offers: pl.DataFrame | None = None
    products: pl.DataFrame | None = None
    transactions: pl.DataFrame | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the exposures have."""
        return tuple(name for name in LABELS if name in self.exposures.columns)

    def until(self, cut: datetime | None) -> "Tables":
        """What was known at a moment: nothing later, and no answer of a window that was still open."""
        if cut is None:
            return self
        shown = self.exposures.filter(pl.col("at") < cut)
        closed = [
            pl.when(pl.col(f"{name}_until") <= cut).then(pl.col(name)).otherwise(None).alias(name)
            for name in self.labels
        ]
        past = pl.col("at") < cut
        paid = None if self.transactions is None else self.transactions.filter(past)
        behaviours = self.behaviours.filter(past)
        return msgspec.structs.replace(
            self, exposures=shown.with_columns(closed), behaviours=behaviours, transactions=paid
        )


def read(folder: Path) -> Tables:
    """The tables of a prepared folder.

    Raises:
        Refused: a file is missing or broken, or no exposure has a label.
    """
    frames = {name: _parquet(folder, name) for name in ("exposures", "behaviours")}
    for name in OPTIONAL:
        if (folder / f"{name}.parquet").is_file():
            frames[name] = _parquet(folder, name)
    exposures = frames.pop("exposures").sort("at", "exposure")
    found = Tables(exposures, **frames)
    if not found.labels:
        raise Refused(f"{folder / 'exposures.parquet'} has none of the labels {', '.join(LABELS)}")
    if not any(exposures[name].drop_nulls().sum() for name in found.labels):
        raise Refused(f"no exposure of {folder} was answered: there is nothing to learn")
    return found


def _parquet(folder: Path, name: str) -> pl.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise Refused(f"{path} is not there: {folder} should be what `stratagem data prepare --out` made")
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file ({str(error).splitlines()[0]})") from None


def data_sha256(folder: Path, told: Callable[[str], None] = lambda _: None) -> str:
    """Hash of the folder's Parquet files, names included: what a run was made from."""
    digest = sha256()
    for path in sorted(folder.glob("*.parquet")):
        told(path.name)
        digest.update(path.name.encode() + b"\0" + sha256(path.read_bytes()).digest())
    return digest.hexdigest()
