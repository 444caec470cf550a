"""Parquet files in blocks of bounded size, their values as the text that a delimited file would have."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from model.data.blocks import Block, require, shown
from model.data.errors import Refused

BLOCK_ROWS = 200_000


def parquet(path: Path, wanted: Sequence[str]) -> Iterator[Block]:
    """A Parquet file's rows, as text: floats rounded to four decimals, times in ISO 8601.

    Raises:
        Refused: it is no Parquet, cut short, or lacks a column.
    """
    try:
        scan = pl.scan_parquet(path, glob=False)
        schema = scan.collect_schema()
        total = int(scan.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise Refused(f"{path} is no Parquet file, or is cut short: {shown(str(error))}") from None
    require(wanted, schema.names(), path)
    texts = [_as_text(column, schema[column], path) for column in dict.fromkeys(wanted)]
    size = path.stat().st_size
    for first in range(0, max(total, 1), BLOCK_ROWS):
        try:
            frame = scan.slice(first, BLOCK_ROWS).select(texts).collect()
        except pl.exceptions.PolarsError as error:
            raise Refused(f"{path} is damaged: {shown(str(error))}") from None
        frame = frame.with_row_index("row", first + 1).with_columns(pl.col("row").cast(pl.Int64))
        yield Block(frame, [], frame.height, size * min(first + BLOCK_ROWS, total) // max(total, 1))


def _as_text(column: str, kind: pl.DataType, path: Path) -> pl.Expr:
    if kind.is_nested() or isinstance(kind, pl.Binary | pl.Object):
        raise Refused(f"{path}: column {column!r} holds {kind}; wanted text, numbers or times")
    value = pl.col(column)
    if kind.is_float():
        return value.cast(pl.Float64).round(4).cast(pl.Decimal(38, 4), strict=False).cast(pl.String)
    if isinstance(kind, pl.Datetime):
        zone = "Z" if kind.time_zone else ""
        value = value.dt.convert_time_zone("UTC") if kind.time_zone else value
        return value.dt.to_string("%Y-%m-%d %H:%M:%S%.3f") + zone
    return value.cast(pl.String)
