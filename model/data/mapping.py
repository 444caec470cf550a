"""Which column of a file is which field: mapping files (TOML), those that ship and those of users.

```toml
name = "acme"
timezone = "Europe/Berlin"        # of times without a zone
currency = "EUR"                  # where no column tells it

[[table]]
table = "behaviours"
files = "clicks*.csv"
columns = { customer_id = "user", at = "when", action = "what", product_id = "sku" }
values.action = { seen = "view", bought = "purchase" }
```
"""

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from model.data.errors import Refused
from model.data.labels import Label, beside, check
from model.data.tables import TABLES

Times = Literal["iso", "epoch_s", "epoch_ms"]
Near = Literal["drop", "group"]


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Columns of a small second file, added to each row by a shared column."""

    files: str
    on: str
    columns: dict[str, str]
    """Column of the second file → the name it gets beside the row's own."""


class TableMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one table is read from files.

    Args:
        files: pattern of file names, e.g. `clicks*.csv*`.
        columns: field → column, or several columns that are joined.
        constants: field → value that every row has.
        values: field → (text in the file → value), for actions and states.
        where: column → values that a row must have to be meant at all; the others are no rows of this table.
        first_per: only the first row of each value of this column is meant: products read from a log of events.
        limits: field → (least, most) of a count, narrower than the table's own.
        near_duplicates: `group` keeps rows of equal content and says which belong together.
    """

    table: str
    files: str
    columns: dict[str, str | tuple[str, ...]]
    constants: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    where: dict[str, tuple[str, ...]] = {}
    join: Join | None = None
    first_per: str | None = None
    limits: dict[str, tuple[int, int]] = {}
    near_duplicates: Near = "drop"
    header: tuple[str, ...] = ()
    """Names of the columns of files without a header line."""


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A source's layout.

    Args:
        ids: `whole` undoes the notation in which R and spreadsheets write round whole numbers (`9e+05`, `12.0`); with
            `exact` such an id is refused, because a rounded id names somebody else.
        decimal: what separates the decimals of money.
    """

    name: str
    table: Annotated[tuple[TableMapping, ...], Meta(min_length=1)]
    timezone: str = "UTC"
    currency: str | None = None
    money: Literal["major", "minor"] = "major"
    decimal: Literal[".", ","] = "."
    times: Times = "iso"
    ids: Literal["exact", "whole"] = "exact"
    separator: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    label: tuple[Label, ...] = ()
    """Label functions of this source; none: those that ship."""


SHIPPED = ("completejourney", "rees46", "yoochoose")


def shipped(name: str) -> Mapping:
    """One of the mappings that ship."""
    text = files("model.data").joinpath("mappings", f"{name}.toml").read_text(encoding="utf-8")
    return parsed(text, f"{name}.toml")


def read_mapping(path: Path) -> Mapping:
    """A user's mapping file.

    Raises:
        Refused: it cannot be read, or names a table, field or time zone that does not exist.
    """
    try:
        mapping = parsed(path.read_text(encoding="utf-8"), path.name)
    except OSError as error:
        raise Refused(f"the mapping file {path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise Refused(f"the mapping file {path} is not UTF-8") from None
    return msgspec.structs.replace(mapping, label=beside(mapping.label, path.parent))


def parsed(text: str, name: str) -> Mapping:
    """A mapping from TOML, its names checked.

    Raises:
        Refused: naming the first thing that is wrong, and what would be right.
    """
    try:
        mapping = msgspec.convert(tomllib.loads(text), Mapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Refused(f"{name}: {error}") from None
    for table in mapping.table:
        _check_table(table, mapping, name)
    for label in mapping.label:
        check(label)
    try:
        ZoneInfo(mapping.timezone)
        "".encode(mapping.encoding)
    except (ZoneInfoNotFoundError, ValueError):
        raise Refused(f"{name}: no time zone {mapping.timezone!r}; wanted one such as Europe/Berlin") from None
    except LookupError:
        raise Refused(f"{name}: no encoding {mapping.encoding!r}; wanted one such as utf-8 or cp1252") from None
    return mapping


def _check_table(table: TableMapping, mapping: Mapping, name: str) -> None:
    if table.table not in TABLES:
        raise Refused(f"{name}: no table {table.table!r}; there are {', '.join(sorted(TABLES))}")
    spec = TABLES[table.table]
    known = [field.name for field in spec.fields]
    for field in (*table.columns, *table.constants, *table.values, *table.limits):
        if field not in known:
            raise Refused(f"{name}: {table.table} has no field {field!r}; its fields are {', '.join(known)}")
    given = {*table.columns, *table.constants, *(["currency"] if mapping.currency else [])}
    for wanted in spec.fields:
        if wanted.required and wanted.name not in given:
            raise Refused(f"{name}: {table.table} needs {wanted.name}: name its column, or a constant")
    for field, to in table.values.items():
        for value in to.values():
            if spec.field(field).choices and value not in spec.field(field).choices:
                raise Refused(f"{name}: {field} cannot be {value!r}; wanted {', '.join(spec.field(field).choices)}")


def columns_of(table: TableMapping) -> Sequence[str]:
    """The columns of the file itself that a table is read from, without those a join brings."""
    named: list[str] = [*table.where, *([table.first_per] if table.first_per else [])]
    for columns in table.columns.values():
        named += [columns] if isinstance(columns, str) else columns
    joined = set(table.join.columns.values()) if table.join else set()
    return [
        *dict.fromkeys(column for column in named if column not in joined),
        *([table.join.on] if table.join else []),
    ]
