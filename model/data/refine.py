"""Over all blocks of a table: duplicates by id and by content, references to what is not there. Memory: a few numbers a row."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl

from model.data.blocks import MAX_SHOWN
from model.data.judge import FAULTS
from model.data.mapping import Near
from model.data.near import repeated_deeds, same_texts, several
from model.data.stage import Counts, Stage, write_part
from model.data.tables import Table


class Known(msgspec.Struct):
    """What the tables before have: their keys, and ids that stand for others (near-duplicates that were dropped)."""

    keys: dict[str, pl.Series] = {}
    stands_for: dict[str, pl.DataFrame] = {}
    """Table → `old`, `new`."""


class Refined(msgspec.Struct):
    """A table's refined parts; column → rows without a value."""

    parts: list[Path] = []
    nulls: dict[str, int] = {}


def refine(stage: Stage, table: Table, near: Near, counts: Counts, files: list[str], known: Known) -> Refined:
    """Mark and drop what a table has twice or refers to in vain.

    Args:
        counts: of the table, corrected here.
        files: names of the source files by number.
        known: of the tables before; this table's keys are added.
    """
    parts = stage.parts(f"good-{table.name}")
    for old in stage.parts(f"fine-{table.name}"):
        old.unlink()
    if not parts:
        return Refined()
    keys = pl.concat([pl.scan_parquet(part).select("file", "row", *_hashes(table)).collect() for part in parts])
    keys = keys.with_columns(reason=pl.when(_later(keys["key"])).then(pl.lit("duplicate")))
    if table.name == "behaviours":
        keys = _without_repeats(keys)
    group = _grouped(parts, table, keys) if table.name in ("products", "ads") else None
    if group is not None and near == "drop":
        same = (group != pl.arange(0, keys.height, eager=True)) & keys["reason"].is_null()
        keys = keys.with_columns(reason=pl.when(same).then(pl.lit("near_duplicate")).otherwise(pl.col("reason")))
        known.stands_for[table.name] = _renamed(parts, table, group, keys["reason"] == "near_duplicate")
    made = [*_sifted(parts, table, keys, group, known, stage)]
    refused = pl.concat([sifted.refused for sifted in made], how="vertical")
    for reason, rows in refused.filter("first").group_by("reason").len().sort("reason").iter_rows():
        counts.drop(reason, rows)
    if refused.height:
        _explained(refused, keys, files).write_parquet(stage.path / f"quarantine-9-{table.name}-0-0.parquet")
    if len(table.key) == 1 or table.name == "ads":
        known.keys[table.name] = pl.concat([sifted.ids for sifted in made])
    nulls = pl.concat([sifted.nulls for sifted in made]).sum().row(0, named=True)
    return Refined([sifted.path for sifted in made], nulls)


def _hashes(table: Table) -> list[pl.Expr]:
    key = pl.struct(table.key).hash(seed=1)
    if table.own_id:
        own = pl.col(table.own_id)
        key = pl.when(own.is_not_null()).then(own.hash(seed=2)).otherwise(key)
    hashes = [key.alias("key")]
    if table.name == "behaviours":
        hashes += [pl.struct(table.content).hash(seed=3).alias("content"), pl.col("at")]
    return hashes


def _later(hashes: pl.Series) -> pl.Series:
    """Which rows have a value that a row before them has."""
    places = several(hashes).arg_true()
    later = places.filter(~hashes.gather(places).is_first_distinct())
    return pl.repeat(value=False, n=len(hashes), eager=True).scatter(later, values=True)


def _without_repeats(keys: pl.DataFrame) -> pl.DataFrame:
    fresh = keys.filter(pl.col("reason").is_null())
    again = (
        fresh.select("key").with_columns(repeated_deeds(fresh.select("content", "at")).alias("again")).filter("again")
    )
    near = pl.col("reason").is_null() & pl.col("key").is_in(again["key"].implode())
    return keys.select(
        "file", "row", "key", reason=pl.when(near).then(pl.lit("near_duplicate")).otherwise(pl.col("reason"))
    )


def _texts(parts: list[Path], table: Table) -> list[str]:
    columns = [pl.col(name).fill_null("") for name in table.content]
    scan = pl.concat([pl.scan_parquet(part) for part in parts])
    return scan.select(pl.concat_str(columns, separator=" ").alias("text")).collect()["text"].to_list()


def _grouped(parts: list[Path], table: Table, keys: pl.DataFrame) -> pl.Series:
    """Per row the index of the first row with nearly the same text; products of two languages or prices are not told apart."""
    texts = _texts(parts, table)
    fresh = keys["reason"].is_null().to_numpy()
    members = [i for i, new in enumerate(fresh) if new]
    first = list(range(len(texts)))
    for member, same in zip(members, same_texts([texts[i] for i in members]), strict=True):
        first[member] = members[same]
    return pl.Series("group", first, pl.Int64)


def _renamed(parts: list[Path], table: Table, group: pl.Series, dropped: pl.Series) -> pl.DataFrame:
    own = pl.concat([pl.scan_parquet(part).select(table.key[0]).collect() for part in parts])[table.key[0]]
    pairs = pl.DataFrame({"old": own, "new": own.gather(group)}).filter(dropped)
    return pairs.filter(pl.col("old") != pl.col("new")).unique("old", keep="first")


class _Sifted(msgspec.Struct):
    """A refined part: its ids, rows without a value by column, and what was refused of it."""

    path: Path
    ids: pl.Series
    nulls: pl.DataFrame
    refused: pl.DataFrame


def _sifted(
    parts: list[Path], table: Table, keys: pl.DataFrame, group: pl.Series | None, known: Known, stage: Stage
) -> Iterator[_Sifted]:
    own = None
    if group is not None:
        own = pl.concat([pl.scan_parquet(part).select(table.key[0]).collect() for part in parts])[table.key[0]]
    start = 0
    for part in parts:
        frame = pl.read_parquet(part)
        mine = keys.slice(start, frame.height)
        frame = frame.with_columns(mine["reason"].alias("reason"))
        if group is not None and own is not None:
            frame = frame.with_columns(own.gather(group.slice(start, frame.height)).alias("alike"))
        start += frame.height
        frame, gone, unknown = _referred(frame, table, known)
        wrong = frame.filter(pl.col("reason").is_not_null()).select(
            "file", "row", _key_shown(table).alias("value"), "reason", pl.lit(table.key[0]).alias("field")
        )
        path = stage.path / part.name.replace("good-", "fine-", 1)
        fine = frame.filter(frame["reason"].is_null() & ~gone).drop("reason")
        write_part(fine, path)
        refused = pl.concat([wrong, unknown]).with_columns(
            pl.lit(table.name).alias("table"), pl.lit(value=True).alias("first")
        )
        yield _Sifted(path, fine[table.key[0]], fine.null_count(), refused)


def _referred(frame: pl.DataFrame, table: Table, known: Known) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
    """The rows with ids that stand for others replaced; which of them refer to what is not there, and what of them is told."""
    gone = pl.repeat(value=False, n=frame.height, eager=True)
    lost = [
        pl.DataFrame(
            schema={"file": pl.UInt16, "row": pl.Int64, "value": pl.String, "reason": pl.String, "field": pl.String}
        )
    ]
    for field, other in table.references.items():
        stands = known.stands_for.get(other)
        if stands is not None and stands.height:
            frame = frame.with_columns(pl.col(field).replace(stands["old"], stands["new"]))
        if other in known.keys:
            there = frame[field].is_in(known.keys[other].implode())  # null where there is no id
            mine = (~there).fill_null(value=False) & frame["reason"].is_null() & ~gone
            reason = f"unknown_{other.removesuffix('s')}"
            lost.append(
                frame.select("file", "row", field)
                .filter(mine)
                .select(
                    "file",
                    "row",
                    pl.col(field).alias("value"),
                    pl.lit(reason).alias("reason"),
                    pl.lit(field).alias("field"),
                )
            )
            gone |= mine
    return frame, gone, pl.concat(lost)


def _key_shown(table: Table) -> pl.Expr:
    texts = [pl.col(name).cast(pl.String) for name in table.key]
    return pl.concat_str(texts, separator=", ", ignore_nulls=True).str.slice(0, MAX_SHOWN)


WANTED = {
    "duplicate": "a row of its own; the first is ",
    "near_duplicate": "content of its own",
}


def _explained(refused: pl.DataFrame, keys: pl.DataFrame, files: list[str]) -> pl.DataFrame:
    """The quarantine's rows, duplicates with the place of their first."""
    again = keys.filter(pl.col("reason") == "duplicate")
    is_first = pl.col("reason").ne_missing("duplicate") & pl.col("key").is_in(again["key"].implode())
    first = keys.filter(is_first).select("key", pl.col("file").alias("first_file"), pl.col("row").alias("first_row"))
    places = again.join(first, on="key").select("file", "row", "first_file", "first_row")
    names = pl.DataFrame(
        {"first_file": range(len(files)), "name": files}, schema={"first_file": pl.UInt16, "name": pl.String}
    )
    told = refused.join(places, on=["file", "row"], how="left").join(names, on="first_file", how="left")
    at = pl.concat_str("name", pl.lit(" row "), pl.col("first_row"))
    wanted = (
        pl.when(pl.col("reason") == "duplicate").then(pl.lit(WANTED["duplicate"]) + at)
        .when(pl.col("reason") == "near_duplicate").then(pl.lit(WANTED["near_duplicate"]))
        .otherwise(pl.lit("an id that its table has"))
    )  # fmt: skip
    return told.with_columns(wanted.alias("wanted")).select("table", "file", *FAULTS)
