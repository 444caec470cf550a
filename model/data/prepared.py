"""Tables of a prepared folder, read back: whole, with the columns that are needed and of the types that preparing gives them."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from model.data.errors import Refused

TIMES = ("at", "starts_at", "ends_at")
NUMBERS = ("exposure", "click", "collect", "purchase")
MADE = "should be what `stratagem data prepare --out` made"


def table(folder: Path, name: str, columns: Sequence[str] = (), optional: Sequence[str] = ()) -> pl.DataFrame:
    """A table by name.

    Args:
        columns: those that it must have; more may be there.
        optional: those whose type is looked at where they are there.

    Raises:
        Refused: the file is missing or cut short, or lacks a column or has it of another type.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise Refused(f"{path} is not there: {folder} {MADE}")
    try:
        found = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file ({str(error).splitlines()[0]})") from None
    if lacking := [column for column in columns if column not in found.columns]:
        raise Refused(f"{path} has no column {', '.join(lacking)}: it {MADE}")
    for column in [*columns, *(each for each in optional if each in found.columns)]:
        wanted, kind = _wanted(column), found.schema[column]
        if not (kind == pl.Null or _is(wanted, kind)):
            raise Refused(f"{path}: the column {column} holds {kind}, wanted {wanted}: it {MADE}")
    return found


def _wanted(column: str) -> str:
    if column in TIMES or column.endswith("_until"):
        return "times"
    return "numbers" if column in NUMBERS or column.endswith(("_minor", "_per_week", "_rate")) else "text"


def _is(wanted: str, kind: pl.DataType) -> bool:
    if wanted == "times":
        return isinstance(kind, pl.Datetime)
    return kind.is_numeric() or kind == pl.Boolean if wanted == "numbers" else kind == pl.String
