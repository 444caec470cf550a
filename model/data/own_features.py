"""A user's own features beside ours: a table of `customer_id`, `at`, `known_at` and numbers, one row per exposure it speaks of."""

from pathlib import Path

import polars as pl

from model.data.errors import Refused

KEY = ("customer_id", "at", "known_at")


def joined(made: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Exposures with the features of a CSV or Parquet file.

    Args:
        made: exposures: `customer_id`, `at` and more.

    Returns:
        The exposures with `known_at` and the features, and the features' names.

    Raises:
        Refused: the file cannot be read, lacks a column, or has one that exposures have.
    """
    try:
        own = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Refused(f"{path} cannot be read: {str(error)[:200]}") from None
    missing = [name for name in KEY if name not in own.columns]
    if missing:
        raise Refused(f"{path}: no column {', '.join(missing)}; features need {', '.join(KEY)}")
    names = [name for name in own.columns if name not in KEY]
    taken = [name for name in names if name in made.columns]
    if taken or not names:
        raise Refused(f"{path}: {'a name that exposures have: ' + ', '.join(taken) if taken else 'it has no feature'}")
    own = own.with_columns(
        pl.col("customer_id").cast(pl.String), *[_time(own, name, path) for name in ("at", "known_at")]
    )
    own = own.unique(["customer_id", "at"], keep="first", maintain_order=True)
    return made.join(own, on=["customer_id", "at"], how="left", maintain_order="left"), names


def _time(own: pl.DataFrame, name: str, path: Path) -> pl.Expr:
    kind = own[name].dtype
    if isinstance(kind, pl.Datetime):
        zoned = pl.col(name) if kind.time_zone else pl.col(name).dt.replace_time_zone("UTC")
        return zoned.dt.convert_time_zone("UTC").dt.cast_time_unit("ms")
    if kind != pl.String:
        raise Refused(f"{path}: {name} holds {kind}; wanted times such as 2026-01-31T12:00:00Z")
    text = pl.col(name).str.slice(0, 19).str.replace("T", " ", literal=True)
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False).dt.replace_time_zone("UTC")
