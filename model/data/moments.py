"""Times as files write them (ISO 8601 and its usual variants, zones mixed) → milliseconds, UTC."""

import polars as pl

SECONDS = 19
"""Characters of a time up to its seconds: `2017-03-02 19:13:19`."""
UTC = ["Z", " UTC", "UTC", "+00:00", ".000Z", " +0000"]


def iso(raw: pl.Series, zone: str) -> tuple[pl.Series, pl.Series, int]:
    """Read times; a day alone is its midnight.

    Args:
        raw: text or null.
        zone: of times without one.

    Returns:
        The times, null where there is none; which were left out by that zone's clocks in spring; how many had no zone.
    """
    rest = raw.str.slice(SECONDS)
    whole = raw.str.len_bytes() >= SECONDS
    utc = whole & rest.is_in(UTC)
    value = _local(raw.str.slice(0, SECONDS)).dt.replace_time_zone("UTC").set(~utc, None)
    odd = (~utc).arg_true()
    skipped = pl.repeat(value=False, n=len(raw), eager=True)
    if odd.is_empty():
        return value, skipped, 0
    some = _odd(raw.gather(odd), zone)
    value = value.scatter(odd, some["value"])
    return value, skipped.scatter(odd, some["skipped"]), int(some["naive"].sum())


def _local(text: pl.Series) -> pl.Series:
    if text.str.contains("T", literal=True).any():
        text = text.str.replace("T", " ", literal=True)
    return text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="ms", strict=False)


def _odd(raw: pl.Series, zone: str) -> pl.DataFrame:
    """`value`, `skipped`, `naive` of times that are not plainly UTC."""
    length, day, minute = pl.col("raw").str.len_chars(), 10, 16
    text = pl.col("raw").str.slice(0, SECONDS)
    text = pl.when(length == day).then(text + " 00:00:00").when(length == minute).then(text + ":00").otherwise(text)
    rest = pl.col("raw").str.slice(SECONDS)
    frame = pl.DataFrame({"raw": raw}).select("raw", text.alias("text"), rest.alias("rest"))
    frame = frame.with_columns(_local(frame["text"]).alias("local"))
    rest = pl.col("rest")
    offset = rest.str.extract(r"([+-]\d\d:?\d{0,2})$").str.replace(":", "", literal=True).str.pad_end(5, "0")
    frame = frame.with_columns(
        rest.str.contains(r"^(?:[.,]\d{1,9})?\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$").alias("known"),
        (~rest.str.contains(r"(?:Z|UTC|GMT|[+-]\d\d:?\d{0,2})$")).alias("naive"),
        rest.str.extract(r"^[.,](\d{1,3})").str.pad_end(3, "0").cast(pl.Int64).fill_null(0).alias("millis"),
        offset.alias("offset"),
    )
    minutes = pl.col("offset").str.slice(1, 2).cast(pl.Int64) * 60 + pl.col("offset").str.slice(3, 2).cast(pl.Int64)
    shift = pl.when(pl.col("offset").str.starts_with("-")).then(-minutes).otherwise(minutes).fill_null(0)
    here = (
        pl.col("local")
        .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        .dt.convert_time_zone("UTC")
    )
    there = (pl.col("local") - pl.duration(minutes=shift)).dt.replace_time_zone("UTC")
    naive = pl.col("naive") & pl.col("local").is_not_null() & pl.col("known")
    return frame.select(
        pl.when(pl.col("known")).then(pl.when(naive).then(here).otherwise(there) + pl.duration(milliseconds=pl.col("millis")))
        .cast(pl.Datetime("ms", "UTC")).alias("value"),
        (naive & here.is_null()).fill_null(value=False).alias("skipped"),
        naive.fill_null(value=False).alias("naive"),
    )  # fmt: skip
