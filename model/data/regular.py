"""Delimited text whose lines are records, each with the right number of fields: read by polars, at a tenth of what Python's `csv` module costs.

What is not so regular is left to `blocks.py`, line by line; the result is the same.
"""

import io
from collections.abc import Sequence

import numpy as np
import polars as pl

BLANK = r"^[\s\x1c-\x1f]*$"
"""What Python's `str.strip` leaves nothing of."""
QUOTE, NEWLINE = ord('"'), ord("\n")
PIECE_BYTES = 1 << 20
MIN_FIELDS = 2
"""A line of a file with one column may be blank or a record; nothing tells."""


def able(separator: str, names: Sequence[str]) -> bool:
    """Whether polars can split such a file: its separator is one byte, and a blank line is no record."""
    return separator.isascii() and separator not in '"\n\r' and len(names) >= MIN_FIELDS


def plain(text: str, row: int, separator: str, names: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame | None:
    """Records of lines whose fields are without quotes, or wholly within two.

    Args:
        text: whole lines, without the last one's end.
        row: number of the first line.

    Returns:
        `row` and the wanted columns; None where a line has too few or too many fields, is blank, or has quotes elsewhere.
    """
    if text.endswith("\n"):  # the last line is blank
        return None
    data = text.encode("utf-8", "replace")
    quoted = '"' in text
    begin = 0
    while begin < len(data):  # in pieces: what is small stays in the processor's cache, and its memory is used again
        end = data.find(b"\n", begin + PIECE_BYTES) + 1 or len(data)
        lines = np.frombuffer(data, np.uint8, end - begin, begin)
        if lines[-1] != NEWLINE:
            lines = np.append(lines, np.uint8(NEWLINE))
        if not _whole_fields(lines, ord(separator), len(names), quoted=quoted):
            return None
        begin = end
    rows = pl.int_range(row, row + text.count("\n") + 1, eager=True)
    frame = _picked(data, rows, separator, names, wanted, quote='"' if quoted else None)
    blank = pl.all_horizontal(pl.col(wanted).str.contains(BLANK))
    return None if separator.isspace() and frame.select(blank.any()).item() else frame


def _whole_fields(lines: np.ndarray, separator: int, fields: int, *, quoted: bool) -> bool:
    """Whether each line has so many fields, and every quote opens or closes a field, with no line's end between the two.

    Args:
        lines: their bytes, uint8, each line with its end.
    """
    ends = lines == NEWLINE
    edges = np.flatnonzero(ends | (lines == separator))
    if quoted:
        quotes = np.flatnonzero(lines == QUOTE)
        opening, closing = quotes[::2], quotes[1::2]
        beside = np.append(lines[opening - 1], lines[closing + 1])  # before the first byte comes the last: a line's end
        if len(quotes) % 2 or not ((beside == separator) | (beside == NEWLINE)).all():
            return False
        if len(edges) != len(closing):  # else each edge follows a field in quotes, and none stands in one
            edges = edges[np.cumsum(lines == QUOTE, dtype=np.uint8)[edges] % 2 == 0]
    count = np.count_nonzero(ends)
    return len(edges) == fields * count and bool((lines[edges[fields - 1 :: fields]] == NEWLINE).all())


def regular_lines(text: str, separator: str, names: Sequence[str]) -> tuple[pl.Series, pl.Series]:
    """The lines, and which of them are a record by themselves, wherever a record begins with them.

    Such a line has the right number of fields, each without a quote, or in quotes with those inside doubled.
    """
    lines = pl.Series([text]).str.split("\n").explode()
    apart = f"\\x{{{ord(separator):x}}}"
    field = f'(?:"(?:[^"]|"")*"|[^"{apart}]*)'
    alone = lines.str.contains(f"^{field}(?:{apart}{field}){{{len(names) - 1}}}$")
    return lines, alone & ~lines.str.contains(BLANK) if separator.isspace() else alone


def quoted(text: str, rows: pl.Series, separator: str, names: Sequence[str], wanted: Sequence[str]) -> pl.DataFrame:
    """Records of regular lines.

    Args:
        rows: number of each line.
    """
    return _picked(text.encode("utf-8", "replace"), rows, separator, names, wanted, quote='"')


def _picked(
    data: bytes, rows: pl.Series, separator: str, names: Sequence[str], wanted: Sequence[str], *, quote: str | None
) -> pl.DataFrame:
    places = [names.index(column) for column in wanted]
    frame = pl.read_csv(
        io.BytesIO(data),
        has_header=False,
        separator=separator,
        quote_char=quote,
        schema={f"field {i}": pl.String for i in range(len(names))},
        columns=sorted(places),
        empty_string_is_null=False,
    )
    assert frame.height == len(rows), "a regular line is a record"
    frame = frame.select(pl.nth([sorted(places).index(place) for place in places]))
    frame.columns = list(wanted)
    return frame.insert_column(0, rows.cast(pl.Int64).alias("row"))
