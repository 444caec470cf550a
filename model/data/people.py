"""What people said of rows: answers in an append-only file, whom they agree with, and what is decided. Pure but for reading the file.

A record names the rows it is about by the keys of their table, so that it still means them when the data are prepared anew. Nothing is ever
changed in the file: a later answer of the same person about the same rows counts instead of the earlier one, an answer taken back is a record too.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import polars as pl

from model.data.errors import Refused

KEYS: dict[str, tuple[str, ...]] = {
    "products": ("product_id",),
    "ads": ("ad_id", "language"),
    "exposures": ("customer_id", "at", "ad_id", "product_id"),
}
"""Table → the columns that name its rows in a record; times as ISO 8601 in UTC, an empty text where there is no value."""

Key = tuple[str, ...]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A line of the file.

    Args:
        keys: the rows that the person saw as one: all that say the same.
        value: the label; none: the person does not know, or takes an answer back.
        at_ms: when it was given, milliseconds since 1970, UTC.
        proposed, probability: what was proposed, and how likely it was held to be.
        chosen: how the rows were chosen to be asked about.
        taken_back: the person's earlier answer counts no more.
        settles: it was given with the others' answers in sight and counts instead of all of them.
    """

    table: str
    name: str
    keys: tuple[Key, ...]
    value: str | None
    person: str
    at_ms: int
    proposed: str | None = None
    probability: float | None = None
    chosen: str = ""
    taken_back: bool = False
    settles: bool = False


class Said(msgspec.Struct, frozen=True):
    """What counts of a file's answers, for one label of one table.

    Args:
        by: person → row → label, the newest of each; rows of which a person knows nothing have no entry.
        asked: person → rows that the person was asked about and has not taken back, known or not.
        settled: row → what was settled over a disagreement.
    """

    by: dict[str, dict[Key, str]]
    asked: dict[str, set[Key]]
    settled: dict[Key, str]

    def decided(self) -> dict[Key, str]:
        """Row → what was settled, else what most people say; rows on which as many say the one as the other are left out."""
        votes: dict[Key, Counter[str]] = {}
        for labels in self.by.values():
            for key, value in labels.items():
                votes.setdefault(key, Counter())[value] += 1
        found = {}
        for key, counts in votes.items():
            (value, most), *others = counts.most_common(2)
            if not others or others[0][1] < most:
                found[key] = value
        return found | self.settled


def read(path: Path) -> list[Answer]:
    """The answers of a file, in their order. A last line that was cut off when its writer died is no answer.

    Raises:
        Refused: it cannot be read, or a line is no answer.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise Refused(f"the people's labels {path} cannot be read ({error.strerror})") from None
    return [_answer(line, path, number) for number, line in enumerate(lines[:-1], start=1) if line]


def _answer(line: bytes, path: Path, number: int) -> Answer:
    try:
        answer = msgspec.json.decode(line, type=Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}, line {number}: {error}") from None
    if answer.table not in KEYS:
        raise Refused(f"{path}, line {number}: table {answer.table!r}, wanted {', '.join(KEYS)}")
    wanted = len(KEYS[answer.table])
    if not answer.keys or any(len(key) != wanted for key in answer.keys):
        raise Refused(f"{path}, line {number}: keys of {answer.table} have {wanted} parts")
    return answer


def said(answers: Iterable[Answer], table: str, name: str) -> Said:
    """What counts of the answers about a label of a table."""
    by: dict[str, dict[Key, str]] = {}
    asked: dict[str, set[Key]] = {}
    settled: dict[Key, str] = {}
    for answer in answers:
        if (answer.table, answer.name) != (table, name):
            continue
        labels = by.setdefault(answer.person, {})
        seen = asked.setdefault(answer.person, set())
        target = settled if answer.settles else labels
        for key in answer.keys:
            target.pop(key, None)
            if not answer.settles:
                (seen.discard if answer.taken_back else seen.add)(key)
            if answer.value is not None and not answer.taken_back:
                target[key] = answer.value
    return Said(by, asked, settled)


def names(answers: Iterable[Answer]) -> dict[tuple[str, str], tuple[str, ...]]:
    """(table, label) → the people who spoke of it."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for answer in answers:
        found.setdefault((answer.table, answer.name), {})[answer.person] = None
    return {of: tuple(people) for of, people in found.items()}


def pairs(what: Said) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Two people and what each says of the rows that both have labelled, for every two who have such rows."""
    found = []
    for left, right in itertools.combinations(sorted(what.by), 2):
        mine, theirs = what.by[left], what.by[right]
        both = [(value, theirs[key]) for key, value in mine.items() if key in theirs]
        if both:
            found.append((left, right, both))
    return found


def keys_of(frame: pl.DataFrame, table: str) -> list[Key]:
    """The key of each row of a table."""
    return [tuple(row) for row in frame.select(_texts(frame, KEYS[table])).iter_rows()]


def _texts(frame: pl.DataFrame, columns: Sequence[str]) -> list[pl.Expr]:
    found = []
    for column in columns:
        value = pl.col(column)
        if isinstance(frame.schema[column], pl.Datetime):
            value = value.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        found.append(value.cast(pl.String).fill_null("").alias(column))
    return found


def votes(frame: pl.DataFrame, table: str, what: Said) -> pl.Series:
    """What is decided of each row of a table, null where nothing is."""
    decided = what.decided()
    return pl.Series("people", [decided.get(key) for key in keys_of(frame, table)], pl.String)
