"""Delimited text whose lines are records, each with the right number of fields: read by polars, at a tenth of what Python's `csv` module costs.

What is not so regular is left to `blocks.py`, line by line; the result is the same.
"""

import io
from collections.abc import Sequence

import polars as pl

MIN_FIELDS = 2
"""A line of a file with one column may be blank or a record; nothing tells."""


def able(separator: str, names: Sequence[str]) -> bool:
    """Whether polars can split such a file: its separator is one byte, and a blank line is no record."""
    return separator.isascii() and separator not in '"\n\r' and len(names) >= MIN_FIELDS


def plain(text: str, row: int, separator: str, names: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame | None:
    """Records of lines without quotes.

    Args:
        text: whole lines, without the last one's end.
        row: number of the first line.

    Returns:
        `row` and the wanted columns; None where a line has too few or too many fields, or is blank.
    """
    rows = text.count("\n") + 1
    if text.count(separator) != (len(names) - 1) * rows:
        return None
    try:
        # All columns are read: then a line with too many fields is an error, and with the count right no line has too few.
        frame = _read(text, separator, len(names), None, quote=None)
    except pl.exceptions.ComputeError:
        return None
    if frame.height != rows or frame.to_series(-1).null_count():
        return None
    if separator.isspace() and frame.select(pl.all_horizontal(pl.all().str.strip_chars() == "").any()).item():
        return None  # a blank line
    return _named(
        frame.select(pl.nth([names.index(column) for column in wanted])),
        wanted,
        pl.int_range(row, row + rows, eager=True),
    )


def regular_lines(text: str, separator: str, names: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """The lines, and which of them are a record by themselves, wherever a record begins with them.

    Such a line has the right number of fields, each without a quote, or in quotes with those inside doubled.
    """
    lines = pl.Series([text]).str.split("\n").explode()
    apart = f"\\x{{{ord(separator):x}}}"
    field = f'(?:"(?:[^"]|"")*"|[^"{apart}]*)'
    return lines, lines.str.contains(f"^{field}(?:{apart}{field}){{{len(names) - 1}}}$")


def quoted(text: str, rows: pl.Series, separator: str, names: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame:
    """Records of regular lines.

    Args:
        rows: number of each line.
    """
    places = [names.index(column) for column in wanted]
    frame = _read(text, separator, len(names), sorted(places), quote='"')
    assert frame.height == len(rows), "a regular line is a record"
    order = [sorted(places).index(place) for place in places]
    return _named(frame.select(pl.nth(order)), wanted, rows)


def _read(text: str, separator: str, fields: int, places: list[int] | None, *, quote: str | None) -> pl.DataFrame:
    return pl.read_csv(
        io.BytesIO(text.encode("utf-8", "replace")),
        has_header=False,
        separator=separator,
        quote_char=quote,
        schema={f"field {i}": pl.String for i in range(fields)},
        columns=places,
        empty_string_is_null=False,
    )


def _named(frame: pl.DataFrame, wanted: Sequence[str], rows: pl.Series) -> pl.DataFrame:
    frame.columns = list(wanted)
    return frame.insert_column(0, rows.cast(pl.Int64).alias("row"))
