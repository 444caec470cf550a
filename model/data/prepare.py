"""`stratagem data prepare` from end to end: blocks → judged, masked, staged → refined → labelled, split, checked → an output."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import polars as pl

from model.data.blocks import Bad
from model.data.errors import Refused
from model.data.judge import faults_of, judge
from model.data.mapped import Piece, Raw, mapped_files
from model.data.mapping import Mapping, Near, TableMapping
from model.data.personal import TEXTS, masked, masked_quarantine
from model.data.refine import Known, Refined, refine
from model.data.segment import SegmentFile
from model.data.stage import Counts, Done, Stage, fingerprint_of
from model.data.tables import TABLES
from model.data.values import Rules

FORMAT = 1
"""Of the output; a staging folder of another is begun anew."""

Progress = Callable[[str, int, int], None]
"""(what is done, how much of it, of how much)."""


class Source(Protocol):
    """A file that gives pieces."""

    @property
    def path(self) -> Path:
        """Where it is."""

    @property
    def parts(self) -> tuple[tuple[int, TableMapping], ...]:
        """The tables read from it."""

    def pieces(self) -> "Sequence[Piece]":
        """Its rows."""


class Order(msgspec.Struct, frozen=True):
    """What is to be prepared.

    Args:
        mapping: None for lines in our topics' format.
        now_ms: nothing may have happened a day after it; milliseconds.
        near: what becomes of near-duplicates of texts; None: as the mapping says.
        key: of pseudonyms; None: one drawn for this run and thrown away.
    """

    name: str
    paths: tuple[Path, ...]
    mapping: Mapping | None
    now_ms: int
    near: Near | None = None
    key: bytes | None = None


class Collected(msgspec.Struct):
    """All tables, refined: parts on disk, rows without a value by column, counts, and what else the card tells."""

    tables: dict[str, Refined]
    counts: dict[str, Counts]
    files: list[str]
    file_rows: dict[str, int]
    ignored: dict[str, int]


def collect(order: Order, stage: Stage, progress: Progress) -> Collected:
    """Read all files, block by block, and refine every table.

    Raises:
        Refused: a file cannot be used, or no row of any table is good.
    """
    sources = sources_of(order)
    key = order.key or stage.key()
    counts: dict[str, Counts] = defaultdict(Counts)
    file_rows: dict[str, int] = {}
    ignored: dict[str, int] = defaultdict(int)
    total = sum(source.path.stat().st_size for source in sources)
    before = 0
    for number, source in enumerate(sources):
        for block, piece in enumerate(source.pieces()):
            done = stage.done(number, block) or _staged(stage, number, block, piece, source, order, key)
            for table, more in done.tables.items():
                counts[table].add(more)
            for reason, lines in done.ignored.items():
                ignored[reason] += lines
            file_rows[source.path.name] = file_rows.get(source.path.name, 0) + done.rows
            progress("reading", before + min(piece.read_bytes, source.path.stat().st_size), total)
        before += source.path.stat().st_size
    files = [source.path.name for source in sources]
    tables, known = {}, Known()
    for at, spec in enumerate(TABLES.values()):
        if spec.name in counts:
            tables[spec.name] = refine(stage, spec, _near(order, spec.name), counts[spec.name], files, known)
        progress("refining", at + 1, len(TABLES))
    if not any(count.rows_out for count in counts.values()):
        raise Refused(_nothing_good(counts))
    return Collected(tables, dict(counts), files, file_rows, dict(ignored))


def sources_of(order: Order) -> "Sequence[Source]":
    """The files to read.

    Raises:
        Refused: there is none that fits.
    """
    from model.data.mapped import found_files

    if order.mapping is not None:
        return mapped_files(order.mapping, order.paths)  # type: ignore[return-value]  # iterators are sequences enough
    return [SegmentFile(path, order.now_ms) for path in found_files(order.paths)]  # type: ignore[misc]


def fingerprint(order: Order) -> str:
    """What the staged blocks of an order are good for; the clock apart, which only refuses the future."""
    files = [
        (str(source.path), source.path.stat().st_size, source.path.stat().st_mtime_ns) for source in sources_of(order)
    ]
    mapping = msgspec.to_builtins(order.mapping) if order.mapping else None
    return fingerprint_of(FORMAT, order.name, files, mapping, order.near, order.key is None)


def rules_of(order: Order) -> Rules:
    """How the order's source writes values."""
    mapping = order.mapping
    if mapping is None:
        return Rules("UTC", money_in_minor=False, decimal=".", times="epoch_ms", whole_ids=False, now_ms=order.now_ms)
    return Rules(
        mapping.timezone,
        money_in_minor=mapping.money == "minor",
        decimal=mapping.decimal,
        times=mapping.times,
        whole_ids=mapping.ids == "whole",
        now_ms=order.now_ms,
    )


def _near(order: Order, table: str) -> Near:
    asked = [part.near_duplicates for part in order.mapping.table if part.table == table] if order.mapping else []
    return order.near or (asked[0] if asked else "drop")


def _staged(stage: Stage, number: int, block: int, piece: Piece, source: Source, order: Order, key: bytes) -> Done:
    frames: dict[str, pl.DataFrame] = {}
    counts: dict[str, Counts] = defaultdict(Counts)
    parts = dict(source.parts)
    for raw in piece.raws:
        name = f"{raw.part:02d}"
        good, faults, count = _judged(raw, parts[raw.part], rules_of(order), key)
        place = pl.lit(number, dtype=pl.UInt16).alias("file")
        frames[f"good-{raw.table}-{name}"] = good.select(place, pl.all())
        frames[f"quarantine-{raw.table}-{name}"] = faults.select(pl.lit(raw.table).alias("table"), place, pl.all())
        counts[raw.table].add(count)
    done = Done(dict(counts), piece.rows, piece.ignored)
    stage.save(number, block, frames, done)
    return done


def _judged(raw: Raw, part: TableMapping, rules: Rules, key: bytes) -> tuple[pl.DataFrame, pl.DataFrame, Counts]:
    table = TABLES[raw.table]
    judged = judge(raw.frame, table, rules, part.limits)
    good, found = masked(judged.good, table, key)
    faults = masked_quarantine(pl.concat([faults_of(raw.bad), judged.faults]), key)
    dropped = dict(faults.filter("first").group_by("reason").len().sort("reason").iter_rows())
    return good, faults, Counts(raw.frame.height + len(raw.bad), good.height, dropped, judged.mended, found)


def _nothing_good(counts: dict[str, Counts]) -> str:
    reasons: dict[str, int] = defaultdict(int)
    for count in counts.values():
        for reason, rows in count.dropped.items():
            reasons[reason] += rows
    told = ", ".join(f"{reason} {rows:,}" for reason, rows in sorted(reasons.items(), key=lambda pair: -pair[1])[:5])
    return f"no row could be used ({told})" if told else "the files have no row"


__all__ = ["TEXTS", "Bad", "Collected", "Order", "collect", "fingerprint", "rules_of", "sources_of"]
