"""Files with a mapping → blocks of raw tables: columns picked, rows chosen, side files joined."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import polars as pl

from model.data.blocks import Bad, Block, delimited, shown
from model.data.columnar import parquet
from model.data.errors import Refused
from model.data.mapping import Mapping, TableMapping, columns_of
from model.data.tables import PATH_SEPARATOR, TABLES

SIDE_ROWS = 1_000_000
"""Rows that a joined side file may have: it is held in memory."""


class Raw(msgspec.Struct):
    """Rows of one table as a source gave them: fields as text, and `row`.

    Args:
        part: which of a mapping's tables: two of them may make the same table.
        bad: rows that could not be read, with the table they count to.
    """

    part: int
    table: str
    frame: pl.DataFrame
    bad: list[Bad]


class Piece(msgspec.Struct):
    """A block's worth of all tables read from one file."""

    raws: list[Raw]
    rows: int
    read_bytes: int
    ignored: dict[str, int] = {}


class MappedFile(msgspec.Struct, frozen=True):
    """A file and the mapping's tables that are read from it (index in the mapping, table)."""

    path: Path
    mapping: Mapping
    parts: tuple[tuple[int, TableMapping], ...]
    side_files: tuple[Path, ...]

    def pieces(self) -> Iterator[Piece]:
        """The file's rows, block by block.

        Raises:
            Refused: the file cannot be used.
        """
        wanted = list(dict.fromkeys(column for _, part in self.parts for column in columns_of(part)))
        sides = {index: self._side(part) for index, part in self.parts if part.join}
        seen: dict[int, pl.Series] = {}
        for block in self._blocks(wanted):
            raws = []
            for place, (index, part) in enumerate(self.parts):
                frame = _chosen(block.frame, part, index, seen)
                if part.join is not None:
                    frame = frame.join(sides[index], on=part.join.on, how="left", maintain_order="left")
                raws.append(Raw(index, part.table, _picked(frame, part, self.mapping), [] if place else block.bad))
            yield Piece(raws, block.rows, block.read_bytes)

    def _blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        if ".parquet" in self.path.suffixes or self.path.suffix == ".pq":
            return parquet(self.path, wanted)
        header = next((part.header for _, part in self.parts if part.header), ())
        mapping = self.mapping
        return delimited(
            self.path, separator=mapping.separator, header=header, encoding=mapping.encoding, wanted=wanted
        )

    def _side(self, part: TableMapping) -> pl.DataFrame:
        join = part.join
        assert join is not None
        path = next((path for path in self.side_files if fnmatch(path.name, join.files)), None)
        if path is None:
            raise Refused(f"{part.table} from {self.path.name} needs a file {join.files}, and there is none")
        read = msgspec.structs.replace(self, path=path)._blocks([join.on, *join.columns])  # noqa: SLF001 -- our own kind
        side = pl.concat([block.frame for block in read]).select(
            join.on, *[pl.col(column).alias(name) for column, name in join.columns.items()]
        )
        if side.height > SIDE_ROWS:
            raise Refused(f"{path} has {side.height:,} rows; a joined file may have {SIDE_ROWS:,}")
        return side.unique(join.on, keep="first", maintain_order=True)


def _chosen(frame: pl.DataFrame, part: TableMapping, index: int, seen: dict[int, pl.Series]) -> pl.DataFrame:
    for column, values in part.where.items():
        frame = frame.filter(pl.col(column).is_in(list(values)))
    if part.first_per:
        before = seen.get(index)
        if before is not None:
            frame = frame.filter(~pl.col(part.first_per).is_in(before.implode()))
        frame = frame.filter(pl.col(part.first_per).is_first_distinct())
        new = frame[part.first_per]
        seen[index] = new if before is None else pl.concat([before, new], rechunk=False)
    return frame


def _picked(frame: pl.DataFrame, part: TableMapping, mapping: Mapping) -> pl.DataFrame:
    """The table's own fields as text; a field without a column or constant is null."""
    made = [pl.col("row")]
    for field in TABLES[part.table].fields:
        columns = part.columns.get(field.name)
        if columns is None:
            constant = part.constants.get(field.name, mapping.currency if field.kind == "currency" else None)
            made.append(pl.lit(constant, dtype=pl.String).alias(field.name))
            continue
        joiner = PATH_SEPARATOR if field.kind == "path" else " "
        value = pl.col(columns) if isinstance(columns, str) else _joined(columns, joiner)
        if field.name in part.values:
            value = _renamed(value.str.strip_chars(), part.values[field.name])
        made.append(value.alias(field.name))
    return frame.select(made)


def _renamed(text: pl.Expr, values: dict[str, str]) -> pl.Expr:
    other = {written: meant for written, meant in values.items() if written != meant}
    return text.replace(other) if other else text


def _joined(columns: Sequence[str], joiner: str) -> pl.Expr:
    texts = [pl.col(column).str.strip_chars() for column in columns]
    return pl.concat_str([pl.when(text != "").then(text) for text in texts], separator=joiner, ignore_nulls=True)


def mapped_files(mapping: Mapping, paths: Sequence[Path]) -> list[MappedFile]:
    """The files that a mapping reads, of those given; folders are looked into.

    Raises:
        Refused: a path is not there, or no file matches a pattern of the mapping.
    """
    files = found_files(paths)
    made = []
    for path in files:
        parts = tuple((i, part) for i, part in enumerate(mapping.table) if fnmatch(path.name, part.files))
        if parts:
            headers = {part.header for _, part in parts}
            if len(headers) > 1:
                raise Refused(f"{mapping.name}: two tables give {path.name} different headers")
            made.append(MappedFile(path, mapping, parts, tuple(files)))
    if not made:
        wanted = ", ".join(dict.fromkeys(part.files for part in mapping.table))
        raise Refused(
            f"no file of {shown(', '.join(path.name for path in files))} fits {mapping.name}: wanted {wanted}"
        )
    return made


def found_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and those in the folders given, by name.

    Raises:
        Refused: a path is not there, or a folder is empty.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(inner for inner in path.iterdir() if inner.is_file() and not inner.name.startswith("."))
        elif path.exists():
            files.append(path)
        else:
            raise Refused(f"there is no {path}")
    if not files:
        raise Refused(f"there is no file in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(files))
