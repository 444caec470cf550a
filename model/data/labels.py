"""Label functions as data: a name, a rule and a source each; how much each covers, and where two of one name disagree."""

import itertools
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl

from model.data import people
from model.data.errors import Refused
from model.data.sizes import base_size
from model.data.tables import PATH_SEPARATOR, TABLES, Action


class Response(msgspec.Struct, frozen=True, tag_field="kind", tag="response", forbid_unknown_fields=True):
    """What followed an exposure: one of the actions by the same customer on the same ad (or product, where there is no ad).

    Args:
        within_h: hours after the exposure.
        until_ad_ends: to the end of the ad's last day instead, where the ad has one.
    """

    actions: tuple[Action, ...]
    within_h: float
    until_ad_ends: bool = False


class ColumnRule(msgspec.Struct, frozen=True, tag_field="kind", tag="column", forbid_unknown_fields=True):
    """The value of a column; `part` of a path, 0 the most general, the last one where the path is shorter."""

    column: str
    part: int | None = None


class Keywords(msgspec.Struct, frozen=True, tag_field="kind", tag="keywords", forbid_unknown_fields=True):
    """The first label of which a word stands in one of the columns, as a whole word, whatever its case."""

    columns: tuple[str, ...]
    words: dict[str, tuple[str, ...]]


class SizeRule(msgspec.Struct, frozen=True, tag_field="kind", tag="size", forbid_unknown_fields=True):
    """The class of a pack size, in grams, millilitres or pieces; `edges` divide the classes."""

    column: str
    edges: tuple[float, ...]


class TimeSlot(msgspec.Struct, frozen=True, tag_field="kind", tag="time_slot", forbid_unknown_fields=True):
    """The slot of the day in which a time lies: label → the hour (UTC) it starts."""

    column: str
    starts_h: dict[str, int]


class People(msgspec.Struct, frozen=True, tag_field="kind", tag="people", forbid_unknown_fields=True):
    """What people said with `stratagem label`: what was settled, else what most of them say; `file` as seen from the label file."""

    file: str


class OrderState(msgspec.Struct, frozen=True, tag_field="kind", tag="order_state", forbid_unknown_fields=True):
    """What became of an order: cancelled, returned, partly_returned, paid or ordered."""


Rule = Response | ColumnRule | Keywords | SizeRule | TimeSlot | People | OrderState


class Label(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A label function. `source` says who says so; it stands in the data card."""

    name: str
    table: Literal["exposures", "products", "ads", "orders"]
    source: str
    rule: Rule


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: tuple[Label, ...]


class Coverage(msgspec.Struct, frozen=True):
    """How many of a table's rows a label function speaks of."""

    name: str
    table: str
    rule: str
    source: str
    rows: int
    covered: int


class Conflict(msgspec.Struct, frozen=True):
    """Two label functions of one name: rows of which both speak, and on which they differ."""

    name: str
    table: str
    first: str
    second: str
    both: int
    differ: int


def read_labels(path: Path | None) -> tuple[Label, ...]:
    """A file's label functions; those that ship where there is none.

    Raises:
        Refused: it cannot be read, or a rule does not fit its table.
    """
    try:
        text = (path or files("model.data").joinpath("labels.toml")).read_text(encoding="utf-8")
        labels = msgspec.convert(tomllib.loads(text), _File).label
    except OSError as error:
        raise Refused(f"the label file {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: {error}") from None
    for label in labels:
        check(label)
    return beside(labels, path.parent) if path else labels


def beside(labels: Sequence[Label], folder: Path) -> tuple[Label, ...]:
    """The same labels; files of people's labels are sought where the file that names them lies."""
    replace = msgspec.structs.replace
    return tuple(
        replace(label, rule=replace(label.rule, file=str(folder / label.rule.file)))
        if isinstance(label.rule, People)
        else label
        for label in labels
    )


def of_people(path: Path) -> tuple[Label, ...]:
    """A label function for each label that people have given in a file.

    Raises:
        Refused: it cannot be read.
    """
    found = people.names(people.read(path))
    return tuple(
        Label(name, table, f"people: {', '.join(who)}", People(str(path)))  # type: ignore[arg-type]  # `read` checks the table
        for (table, name), who in found.items()
    )


def check(label: Label) -> None:
    """A rule fits its table.

    Raises:
        Refused: naming the label and what would fit.
    """
    rule = label.rule
    if isinstance(rule, People):
        if label.table not in people.KEYS:
            raise Refused(f"label {label.name}: people label {', '.join(people.KEYS)}, not {label.table}")
        return
    if isinstance(rule, Response) != (label.table == "exposures") or isinstance(rule, OrderState) != (
        label.table == "orders"
    ):
        raise Refused(f"label {label.name}: a rule of kind {_kind(rule)} does not fit the table {label.table}")
    if label.table not in TABLES:
        return
    known = {field.name for field in TABLES[label.table].fields}
    for column in rule.columns if isinstance(rule, Keywords) else (rule.column,):  # type: ignore[union-attr]  # see above
        if column not in known:
            raise Refused(
                f"label {label.name}: {label.table} has no column {column!r}; it has {', '.join(sorted(known))}"
            )


def _kind(rule: Rule) -> str:
    return str(type(rule).__struct_config__.tag)


def labelled(
    frame: pl.DataFrame, labels: Sequence[Label], key: Sequence[str]
) -> tuple[pl.DataFrame, list[Coverage], list[Conflict]]:
    """A table's labels.

    Args:
        frame: the table.
        labels: those of the table.
        key: columns that name a row, kept.

    Returns:
        The key and a column per label name; coverage of each function; conflicts of each pair that shares a name.
    """
    said = {i: people_said(label) for i, label in enumerate(labels) if isinstance(label.rule, People)}
    votes = frame.select(*key, *[
        people.votes(frame, label.table, said[i]).alias(f"vote {i}") if i in said
        else _vote(label.rule).cast(pl.String).alias(f"vote {i}") for i, label in enumerate(labels)
    ])  # fmt: skip
    coverage = [
        Coverage(label.name, label.table, _kind(label.rule), label.source, votes.height, votes[f"vote {i}"].count())
        for i, label in enumerate(labels)
    ]
    by_name: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        by_name.setdefault(label.name, []).append(i)
    conflicts = [
        _conflict(votes, labels, left, right)
        for places in by_name.values() for left, right in itertools.combinations(places, 2)
    ]  # fmt: skip
    conflicts += [each for i, what in said.items() for each in between_people(labels[i], what)]
    decided = [pl.coalesce([f"vote {i}" for i in places]).alias(name) for name, places in by_name.items()]
    return votes.select(*key, *decided), coverage, conflicts


def people_said(label: Label) -> people.Said:
    """What people said for a label of theirs."""
    assert isinstance(label.rule, People)
    return people.said(people.read(Path(label.rule.file)), label.table, label.name)


def between_people(label: Label, what: people.Said) -> list[Conflict]:
    """Of each two people who labelled the same rows: how many, and on how many they differ."""
    return [
        Conflict(label.name, label.table, left, right, len(both), sum(a != b for a, b in both))
        for left, right, both in people.pairs(what)
    ]


def _conflict(votes: pl.DataFrame, labels: Sequence[Label], left: int, right: int) -> Conflict:
    both = votes.filter(pl.col(f"vote {left}").is_not_null() & pl.col(f"vote {right}").is_not_null())
    differ = int((both[f"vote {left}"] != both[f"vote {right}"]).sum())
    first, second = labels[left], labels[right]
    return Conflict(first.name, first.table, first.source, second.source, both.height, differ)


def _vote(rule: Rule) -> pl.Expr:
    if isinstance(rule, ColumnRule):
        value = pl.col(rule.column)
        if rule.part is None:
            return value
        parts = value.str.split(PATH_SEPARATOR)
        return pl.coalesce(parts.list.get(rule.part, null_on_oob=True), parts.list.last())
    if isinstance(rule, Keywords):
        return _keyword(rule)
    if isinstance(rule, SizeRule):
        _, value, unit = base_size(pl.col(rule.column))
        exceeded = pl.sum_horizontal([value > edge for edge in rule.edges])
        size_class = exceeded.replace_strict(dict(enumerate(_classes(rule.edges))), return_dtype=pl.String)
        return pl.when(unit.is_not_null()).then(pl.concat_str(size_class, pl.lit(" "), unit))
    if isinstance(rule, TimeSlot):
        hour = pl.col(rule.column).dt.hour()
        slots = sorted(rule.starts_h.items(), key=lambda pair: pair[1])
        vote = pl.lit(slots[-1][0])  # before the first slot of the day it is the last one's
        for name, starts_h in slots:
            vote = pl.when(hour >= starts_h).then(pl.lit(name)).otherwise(vote)
        return pl.when(hour.is_not_null()).then(vote)
    return pl.col("state")


def _keyword(rule: Keywords) -> pl.Expr:
    text = pl.concat_str([pl.col(column).fill_null("") for column in rule.columns], separator=" ").str.to_lowercase()
    words = pl.concat_str(pl.lit(" "), text.str.replace_all(r"[^\p{L}\p{N}]+", " "), pl.lit(" "))
    vote = pl.lit(None, dtype=pl.String)
    for name, some in reversed(list(rule.words.items())):
        there = pl.any_horizontal([words.str.contains(f" {word.lower()} ", literal=True) for word in some])
        vote = pl.when(there).then(pl.lit(name)).otherwise(vote)
    return vote


def _classes(edges: Sequence[float]) -> list[str]:
    bounds = [f"{edge:g}" for edge in edges]
    return [
        f"up to {bounds[0]}",
        *[f"{low} to {high}" for low, high in itertools.pairwise(bounds)],
        f"over {bounds[-1]}",
    ]


def order_states(transactions: pl.DataFrame) -> pl.DataFrame:
    """`order_id`, `customer_id`, `at` (of the first line) and `state` of every order."""
    is_order, is_return = pl.col("state") == "order", pl.col("state") == "return"
    sums = transactions.group_by("order_id", maintain_order=True).agg(
        pl.col("customer_id").first(),
        pl.col("at").min(),
        pl.col("amount_minor").filter(is_order).sum().alias("ordered"),
        pl.col("amount_minor").filter(is_return).sum().alias("returned"),
        is_return.any().alias("some_returned"),
        (is_return & pl.col("amount_minor").is_null()).any().alias("all_returned"),
        (pl.col("state") == "cancel").any().alias("cancelled"),
        (pl.col("state") == "payment").any().alias("paid"),
    )
    whole = pl.col("all_returned") | (pl.col("some_returned") & (pl.col("returned") >= pl.col("ordered")))
    state = (
        pl.when("cancelled").then(pl.lit("cancelled")).when(whole).then(pl.lit("returned"))
        .when("some_returned").then(pl.lit("partly_returned")).when("paid").then(pl.lit("paid")).otherwise(pl.lit("ordered"))
    )  # fmt: skip
    return sums.select("order_id", "customer_id", "at", state.alias("state"))
