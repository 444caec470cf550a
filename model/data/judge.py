"""A block of raw text → typed rows, and every fault of every other row."""

import msgspec
import polars as pl

from model.data.blocks import MAX_SHOWN, Bad
from model.data.tables import Field, Table
from model.data.values import Fault, Rules, column_of, stripped, upper

FAULTS = {
    "row": pl.Int64,
    "field": pl.String,
    "value": pl.String,
    "reason": pl.String,
    "wanted": pl.String,
    "first": pl.Boolean,
}
"""Columns of the quarantine; `first` marks the fault a row is counted by, one per row."""


class Judged(msgspec.Struct):
    """What became of a block: rows that are good, faults of the others, and what was mended (name → values)."""

    good: pl.DataFrame
    faults: pl.DataFrame
    mended: dict[str, int]


def dtype_of(field: Field) -> pl.DataType:
    """The type that a field has in the output."""
    if field.kind == "time":
        return pl.Datetime("ms", "UTC")
    return pl.Int64() if field.kind in ("money", "count") else pl.String()


def judge(raw: pl.DataFrame, table: Table, rules: Rules, limits: dict[str, tuple[int, int]]) -> Judged:
    """Judge a block.

    Args:
        raw: `row` and the table's fields as text.
        limits: field → narrower bounds of a count.
    """
    text = raw.with_columns([stripped(raw[field.name]) for field in table.fields])
    money = any(field.kind == "money" for field in table.fields)
    currency = upper(text["currency"]) if money else text["row"]
    values, mended = [text["row"]], dict[str, int]()
    faults: list[tuple[str, Fault]] = []
    for field in (_narrowed(field, limits) for field in table.fields):
        if not field.required and text[field.name].null_count() == text.height:
            values.append(text[field.name].cast(dtype_of(field)))
            continue
        column = column_of(field, text[field.name], currency, rules)
        values.append(column.value.cast(dtype_of(field)).alias(field.name))
        faults += [(field.name, fault) for fault in column.faults if fault.rows.any()]
        mended |= {f"{field.name} {what}": count for what, count in column.mended.items()}
    frame = pl.DataFrame(values)
    if not faults:
        return Judged(frame, no_faults(), mended)
    told = pl.concat([_told(text, name, fault, order) for order, (name, fault) in enumerate(faults)])
    told = told.sort("row", "order").drop("order").with_columns(pl.col("row").is_first_distinct().alias("first"))
    bad = pl.Series(
        pl.select(pl.any_horizontal([fault.rows.fill_null(value=False) for _, fault in faults])).to_series()
    )
    return Judged(frame.filter(~bad), told, mended)


def _narrowed(field: Field, limits: dict[str, tuple[int, int]]) -> Field:
    if field.name not in limits:
        return field
    least, most = limits[field.name]
    return msgspec.structs.replace(field, least=least, most=most)


def _told(text: pl.DataFrame, field: str, fault: Fault, order: int) -> pl.DataFrame:
    return (
        text.select("row", field)
        .filter(fault.rows.fill_null(value=False))
        .select(
            "row",
            pl.lit(field).alias("field"),
            pl.col(field).str.slice(0, MAX_SHOWN).fill_null("").alias("value"),
            pl.lit(fault.reason).alias("reason"),
            pl.lit(fault.wanted).alias("wanted"),
            pl.lit(order).alias("order"),
        )
    )


def no_faults() -> pl.DataFrame:
    """An empty quarantine."""
    return pl.DataFrame(schema=FAULTS)


def faults_of(bad: list[Bad]) -> pl.DataFrame:
    """The quarantine's rows of what could not be read at all."""
    columns = {name: [getattr(each, name) for each in bad] for name in FAULTS if name != "first"}
    return pl.DataFrame({**columns, "first": [True] * len(bad)}, schema=FAULTS)
