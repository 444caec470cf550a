"""What may be asked about: rows of a prepared folder, those that say the same as one item. Pure but for reading the files."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from model.data import prepared
from model.data.errors import Refused
from model.data.people import KEYS, Key, keys_of

FIELDS: dict[str, tuple[str, ...]] = {
    "products": ("name", "description", "type", "brand", "size"),
    "ads": ("title", "body", "kind", "language"),
    "exposures": (),
}
"""What is shown of a row where nothing is named. A category is left out: it is what most labels are made from."""
YES, NO = "1", "0"
"""Answers about an exposure: as `exposures.parquet` has them."""


class Item(NamedTuple):
    """Rows that say the same: what they say, their keys, their group (look-alikes), the label they have already."""

    said: tuple[tuple[str, str], ...]
    keys: tuple[Key, ...]
    group: str
    known: str | None

    @property
    def text(self) -> str:
        """What is learned from."""
        return " . ".join(value for _, value in self.said)


def plain(text: str) -> str:
    """Text that can steer no terminal: no control, direction or escape characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def items(folder: Path, table: str, name: str, fields: Sequence[str] = ()) -> list[Item]:
    """The items of a table, in its order.

    Args:
        name: the label; rows that have one in `labels/` (or in the exposures) are known.
        fields: what is shown of a row, else `FIELDS`.

    Raises:
        Refused: the folder, the table or a field is not there, or two functions made no such label of exposures.
    """
    frame = prepared.table(folder, table)
    if table == "exposures":
        return _exposures(folder, frame, name)
    missing = [field for field in fields if field not in frame.columns]
    if missing:
        raise Refused(f"{table} has no column {missing[0]!r}; it has {', '.join(sorted(frame.columns))}")
    shown = [field for field in fields or FIELDS[table] if field in frame.columns]
    frame = frame.hstack([_known(folder, frame, table, name).alias("label it has")])
    group = "alike" if "alike" in frame.columns else KEYS[table][0]
    found: dict[tuple[tuple[tuple[str, str], ...], str | None], tuple[list[Key], str]] = {}
    rows = frame.select(*[pl.col(field).cast(pl.String) for field in shown]).iter_rows()
    others = frame.select(pl.coalesce(group, KEYS[table][0]).cast(pl.String).alias("group"), "label it has").iter_rows()
    for values, (alike, known), key in zip(rows, others, keys_of(frame, table), strict=True):
        said = tuple((field, plain(value)) for field, value in zip(shown, values, strict=True) if value)
        found.setdefault((said, known), ([], alike))[0].append(key)
    return [Item(said, tuple(keys), alike, known) for (said, known), (keys, alike) in found.items() if said]


def classes_of(given: Sequence[str], known: Sequence[Item], answered: Sequence[str]) -> tuple[str, ...]:
    """The answers there are: those that are named, else those that rows have or people gave, in order.

    Raises:
        Refused: fewer than two.
    """
    found = (
        tuple(dict.fromkeys(given))
        if given
        else tuple(sorted({*answered, *(item.known for item in known if item.known)}))
    )
    if len(found) < 2:  # noqa: PLR2004
        raise Refused(f"{len(found)} answers are known; name at least two: --answer FIRST --answer SECOND")
    return found


def _known(folder: Path, frame: pl.DataFrame, table: str, name: str) -> pl.Series:
    """The label that each row has already."""
    path = folder / "labels" / f"{table}.parquet"
    labels = prepared.table(folder / "labels", table) if path.is_file() else None
    if labels is None or name not in labels.columns:
        return pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    of = dict(zip(keys_of(labels, table), labels[name].cast(pl.String), strict=True))
    return pl.Series([of.get(key) for key in keys_of(frame, table)], dtype=pl.String)


def _exposures(folder: Path, frame: pl.DataFrame, name: str) -> list[Item]:
    """Each exposure is an item: what was shown, and what the customer had done."""
    from model.response.tables import read
    from model.response.texts import texts

    if name not in frame.columns or f"{name}_until" not in frame.columns:
        made = [column.removesuffix("_until") for column in frame.columns if column.endswith("_until")]
        raise Refused(f"exposures have no label {name!r}; they have {', '.join(made)}")
    tables, frame = read(folder), frame.sort("at", "exposure")
    rows = frame.select(pl.col("at").dt.strftime("%Y-%m-%d %H:%M"), "channel", "customer_id", name).iter_rows()
    return [
        Item(tuple((k, plain(v)) for k, v in (("at", at), ("channel", channel), ("said", said)) if v), (key,), customer, None if known is None else str(known))
        for (at, channel, customer, known), said, key in zip(rows, texts(tables), keys_of(frame, "exposures"), strict=True)
    ]  # fmt: skip
