"""Delimited text in blocks of bounded size, every row with its place in the file.

Lines without a quote are split by the separator alone; of the others, those that are a record by themselves are read by polars, the rest
goes through the `csv` module, strictly. A quote that is never closed costs its own line. A line of white space alone is no record.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import msgspec
import numpy as np
import polars as pl

from model.data import regular
from model.data.errors import Refused

BLOCK_CHARS = 16 << 20
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

    def blocks(self) -> Iterator[tuple[str, bool]]:
        """Whole lines, and whether they are the last. What `keep` gave back comes first in the next block."""
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
            yield text, last
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
        for text, last in lines.blocks():
            block, kept = _block(text, row, separator, names, wanted, last=last)
            lines.keep(kept)
            row += text.count("\n") + bool(text) - len(kept)
            block.read_bytes = lines.place
            yield block
    finally:
        lines.close()


def _block(
    text: str, row: int, separator: str, names: list[str], wanted: Sequence[str], *, last: bool
) -> tuple[Block, list[str]]:
    """The rows of some lines, and the lines of a record that ends in the next block."""
    able = text and regular.able(separator, names)
    if able and (frame := regular.plain(text, row, separator, names, wanted)) is not None:
        return Block(frame, [], frame.height, 0), []
    if '"' in text:
        return _quoted(text, row, separator, names, wanted, last=last)
    return _plain(text, row, separator, names, wanted), []


def _plain(text: str, row: int, separator: str, names: list[str], wanted: Sequence[str]) -> Block:
    split = pl.DataFrame({"line": pl.Series(split_lines(text), dtype=pl.String)}).with_row_index("row", row)
    split = split.filter(~pl.col("line").str.contains(regular.BLANK))
    split = split.with_columns(pl.col("row").cast(pl.Int64), pl.col("line").str.split(separator).alias("parts"))
    fits = pl.col("parts").list.len() == len(names)
    frame = split.filter(fits).select(
        "row", *[pl.col("parts").list.get(names.index(column)).alias(column) for column in wanted]
    )
    bad = [_ragged(at, line, count, names) for at, line, count in
           split.filter(~fits).select("row", "line", pl.col("parts").list.len()).iter_rows()]  # fmt: skip
    return Block(frame, bad, split.height, 0)


def split_lines(text: str) -> list[str]:
    """The lines of a block."""
    return text.split("\n") if text else []


def _ragged(row: int, line: str, count: int, names: list[str]) -> Bad:
    return Bad(row, "$", shown(line), "ragged_row", f"{len(names)} fields, not {count}")


def _quoted(
    text: str, row: int, separator: str, names: list[str], wanted: Sequence[str], *, last: bool
) -> tuple[Block, list[str]]:
    if not regular.able(separator, names):
        found = _by_csv(split_lines(text), np.zeros(text.count("\n") + 1, bool), row, separator, names, last=last)
        return found.block(names, wanted), found.kept
    lines, alone = regular.regular_lines(text, separator, names)
    numbers = pl.int_range(row, row + len(lines), eager=True)
    if alone.all():
        return Block(regular.quoted(text, numbers, separator, names, wanted), [], len(lines), 0), []
    found = _by_csv(split_lines(text), alone.to_numpy(), row, separator, names, last=last)
    rest = pl.Series(alone.to_numpy() & ~found.read)
    block = found.block(names, wanted)
    if rest.any():
        fast = regular.quoted("\n".join(lines.filter(rest)), numbers.filter(rest), separator, names, wanted)
        block.frame = pl.concat([fast, block.frame]).sort("row")
        block.rows += fast.height
    return block, found.kept


class _Found(msgspec.Struct):
    """What the `csv` module read: records with their rows, which lines they took, and lines of a record that goes on."""

    read: np.ndarray
    rows: list[list[str]] = []
    at: list[int] = []
    bad: list[Bad] = []
    kept: list[str] = []

    def block(self, names: list[str], wanted: Sequence[str]) -> Block:
        """The wanted columns."""
        columns = {column: [record[names.index(column)] for record in self.rows] for column in wanted}
        schema = {"row": pl.Int64, **dict.fromkeys(wanted, pl.String)}
        frame = pl.DataFrame({"row": self.at, **columns}, schema=schema)
        return Block(frame, self.bad, len(self.rows) + len(self.bad), 0)


def _by_csv(lines: list[str], alone: np.ndarray, row: int, separator: str, names: list[str], *, last: bool) -> _Found:
    """Read the records that begin with a line which is none `alone`, up to the next one that is."""
    csv.field_size_limit(MAX_CARRY_CHARS)
    found = _Found(np.zeros(len(lines), bool))
    odd = np.flatnonzero(~alone)
    start = 0
    while start < len(lines):
        if alone[start]:
            place = int(np.searchsorted(odd, start))
            if place == len(odd):
                break
            start = int(odd[place])
        begin = start
        try:
            for record, end in _records(lines, begin, separator):
                if lines[start].strip():
                    _keep(found, record, row + start, lines[start], names)
                found.read[start:end] = True
                start = end
                if start < len(lines) and alone[start]:
                    break
        except csv.Error as error:
            tail = len(lines) - start
            found.read[start] = True
            if "unexpected end" in str(error) and not last and tail <= MAX_RECORD_LINES:
                found.read[start:], found.kept = True, lines[start:]
                break
            wanted = "quotes closed and doubled inside"
            found.bad.append(Bad(row + start, "$", shown(lines[start]), "broken_quotes", wanted))
            start += 1
    return found


def _records(lines: list[str], start: int, separator: str) -> Iterator[tuple[list[str], int]]:
    """Records from a line on, each with the line after it; a record of too many lines was never closed."""
    reader = csv.reader((lines[i] + "\n" for i in range(start, len(lines))), delimiter=separator, strict=True)
    begin, before = start, start
    for record in reader:
        if before + MAX_RECORD_LINES < begin + reader.line_num:
            raise csv.Error("unclosed")
        before = begin + reader.line_num
        yield record, before


def _keep(found: _Found, record: list[str], row: int, line: str, names: list[str]) -> None:
    if len(record) == len(names):
        found.rows.append(record)
        found.at.append(row)
    else:
        found.bad.append(_ragged(row, line, len(record), names))
