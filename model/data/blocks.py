"""Files in blocks of bounded size: delimited text and Parquet, every row with its place in the file.

Lines without a quote are split by the separator alone; others go through the `csv` module, strictly. A quote that is never
closed costs its own line, not the rest of the file.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import msgspec
import polars as pl

from model.data.errors import Refused

BLOCK_CHARS = 16 << 20
BLOCK_ROWS = 200_000
MAX_RECORD_LINES = 1_000
"""A quoted field that goes on for more lines was never closed."""
MAX_CARRY_CHARS = 64 << 20
MAX_SHOWN = 200
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Bad(msgspec.Struct, frozen=True):
    """A row that cannot be read at all; `field` is `$` where it is the row's shape."""

    row: int
    field: str
    value: str
    reason: str
    wanted: str


class Block(msgspec.Struct):
    """Some rows of a file.

    Args:
        frame: the wanted columns as text, and `row`: the line (text) or row (Parquet) in the file, from 1.
        rows: rows of the block, bad ones included.
        read_bytes: how far into the file, as stored, reading has come.
    """

    frame: pl.DataFrame
    bad: list[Bad]
    rows: int
    read_bytes: int


def shown(text: str) -> str:
    """The beginning of a value, for the quarantine."""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}... ({len(text)} characters)"


def require(wanted: Sequence[str], found: Sequence[str], path: Path) -> None:
    """Every wanted column is there.

    Raises:
        Refused: naming what is missing and what is there.
    """
    missing = [column for column in wanted if column not in found]
    if missing:
        there = shown(", ".join(repr(column) for column in found))
        raise Refused(f"{path}: no column {', '.join(map(repr, missing))}; the file has {there}")


class Lines:
    """A text file's lines in blocks, decoded; `place` is how far into the stored file reading has come."""

    def __init__(self, path: Path, encoding: str) -> None:
        """Open the file.

        Raises:
            Refused: it cannot be read, is empty, or is no text in the encoding's family.
        """
        self.path = path
        try:
            self._stored: IO[bytes] = path.open("rb")
        except OSError as error:
            raise Refused(f"{path} cannot be read ({error.strerror})") from None
        opened = cast("IO[bytes]", gzip.GzipFile(fileobj=self._stored)) if path.suffix == ".gz" else self._stored
        try:
            encoding = self._checked(opened, encoding)
        except Refused:
            self._stored.close()
            raise
        self._text = io.TextIOWrapper(opened, encoding=encoding, errors="replace", newline=None)
        self._carry = ""

    def _checked(self, opened: IO[bytes], encoding: str) -> str:
        """The encoding to read with, where the file's beginning does not speak against it."""
        try:
            begin = opened.read(4096)
            opened.seek(0)
        except (OSError, EOFError, zlib.error) as error:
            raise Refused(f"{self.path} cannot be read: {error}") from None
        if not begin.strip():
            raise Refused(f"{self.path} is empty")
        if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
            if begin[:2] in UTF16 or b"\x00" in begin:
                raise Refused(
                    f"{self.path} is not UTF-8 text; name its encoding (e.g. utf-16) in the mapping, or convert it"
                )
            return "utf-8-sig"
        return encoding

    @property
    def place(self) -> int:
        """Bytes of the stored file read so far."""
        return self._stored.tell()

    def close(self) -> None:
        """Close the file."""
        self._text.close()
        self._stored.close()

    def header(self) -> str:
        """The first line."""
        return self._text.readline().rstrip("\n")

    def blocks(self) -> Iterator[tuple[list[str], bool, bool]]:
        """Whole lines, whether one has a quote, and whether they are the last. What `keep` gave back comes first in the next block."""
        while True:
            try:
                read = self._text.read(BLOCK_CHARS)
            except (OSError, EOFError, zlib.error) as error:
                raise Refused(f"{self.path} is damaged or cut short: {error}") from None
            text, self._carry = self._carry + read, ""
            last = not read
            if not last:
                text, _, self._carry = text.rpartition("\n")
                if len(self._carry) > MAX_CARRY_CHARS:
                    raise Refused(f"{self.path} has a line of more than {MAX_CARRY_CHARS >> 20} million characters")
            elif text.endswith("\n"):
                text = text[:-1]
            yield (text.split("\n") if text else []), '"' in text, last
            if last:
                return

    def keep(self, lines: list[str]) -> None:
        """Give back the beginning of a record that ends in the next block."""
        if lines:
            self._carry = "\n".join([*lines, self._carry])


def delimited(
    path: Path, *, separator: str, header: Sequence[str], encoding: str, wanted: Sequence[str]
) -> Iterator[Block]:
    """A delimited file's rows.

    Args:
        header: the columns' names where the file has no header line.
        wanted: the columns to give back.

    Raises:
        Refused: the file cannot be used.
    """
    lines = Lines(path, encoding)
    try:
        names = list(header) or next(csv.reader([lines.header()], delimiter=separator), [])
        if len(set(names)) != len(names):
            raise Refused(f"{path}: its header names a column twice: {shown(', '.join(map(repr, names)))}")
        require(wanted, names, path)
        row = 1 if header else 2
        for read, quotes, last in lines.blocks():
            parse = _quoted if quotes else _plain
            block, kept = parse(read, row, separator, names, wanted, last=last)
            lines.keep(kept)
            row += len(read) - len(kept)
            block.read_bytes = lines.place
            yield block
    finally:
        lines.close()


def _plain(
    lines: list[str], row: int, separator: str, names: list[str], wanted: Sequence[str], *, last: bool
) -> tuple[Block, list[str]]:
    del last  # every line is a record
    split = pl.DataFrame({"line": pl.Series(lines, dtype=pl.String)}).with_row_index("row", row)
    split = split.filter(pl.col("line").str.strip_chars().str.len_bytes() > 0)
    split = split.with_columns(pl.col("row").cast(pl.Int64), pl.col("line").str.split(separator).alias("parts"))
    fits = pl.col("parts").list.len() == len(names)
    frame = split.filter(fits).select(
        "row", *[pl.col("parts").list.get(names.index(column)).alias(column) for column in wanted]
    )
    bad = [_ragged(at, line, count, names) for at, line, count in
           split.filter(~fits).select("row", "line", pl.col("parts").list.len()).iter_rows()]  # fmt: skip
    return Block(frame, bad, split.height, 0), []


def _ragged(row: int, line: str, count: int, names: list[str]) -> Bad:
    return Bad(row, "$", shown(line), "ragged_row", f"{len(names)} fields, not {count}")


def _quoted(
    lines: list[str], row: int, separator: str, names: list[str], wanted: Sequence[str], *, last: bool
) -> tuple[Block, list[str]]:
    csv.field_size_limit(MAX_CARRY_CHARS)
    ended = [line + "\n" for line in lines]
    rows: list[list[str]] = []
    at: list[int] = []
    bad: list[Bad] = []
    start = 0
    while start < len(lines):
        reader = csv.reader(ended[start:] if start else ended, delimiter=separator, strict=True)
        begin = start
        try:
            for record in reader:
                if start + MAX_RECORD_LINES < begin + reader.line_num:
                    raise csv.Error("unclosed")  # noqa: TRY301 -- the same end as the module's own error
                if len(record) == len(names):
                    rows.append(record)
                    at.append(row + start)
                elif record:
                    bad.append(_ragged(row + start, lines[start], len(record), names))
                start = begin + reader.line_num
        except csv.Error as error:
            tail = len(lines) - start
            if "unexpected end" in str(error) and not last and tail <= MAX_RECORD_LINES:
                return _block(rows, at, bad, names, wanted), lines[start:]
            bad.append(Bad(row + start, "$", shown(lines[start]), "broken_quotes", "quotes closed and doubled inside"))
            start += 1
    return _block(rows, at, bad, names, wanted), []


def _block(rows: list[list[str]], at: list[int], bad: list[Bad], names: list[str], wanted: Sequence[str]) -> Block:
    columns = {column: [record[names.index(column)] for record in rows] for column in wanted}
    frame = pl.DataFrame({"row": at, **columns}, schema={"row": pl.Int64, **dict.fromkeys(wanted, pl.String)})
    return Block(frame, bad, len(rows) + len(bad), 0)


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
