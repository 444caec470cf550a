"""Which exposures of a log are which strategies, as data: a kind, its slots, and where and by what words the log says each value. Pure."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec
import polars as pl

from model.data.errors import Refused
from streaming.contracts.kinds import GRAMMARS

Column = Literal[
    "product_id", "ad_id", "offered", "channel", "placement", "daypart", "title", "body", "ad_kind", "ad_channel", "ad_placement"
]  # fmt: skip
"""Of the exposure, or of its ad; `offered`: the one product that the ad offers; `daypart`: the quarter of the day, UTC."""
ASKABLE = ("product_id", "ad_id", "channel", "placement")
"""Columns that an exposure which was never made can be given."""
TAUGHT = ("clicked", "ordered")
"""Outcomes of the critic that a label may stand for: `ordered` is learned of those who clicked."""


class FromLog(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a slot's value stands.

    Args:
        pattern: a regular expression whose first group is the word; without one, the column is the word.
        values: the slot's value → the log's words for it, whatever their case; none for a slot of candidates, whose words are ids.
    """

    column: Column
    pattern: str = ""
    values: dict[str, tuple[str, ...]] = {}


class OfKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind's exposures: those that have a value for each of its slots of candidates.

    Args:
        where: column → the words that an exposure of this kind has there.
        outcomes: outcome of the critic → the run's label that stands for it.
    """

    kind: str
    slots: dict[str, FromLog]
    where: dict[Column, tuple[str, ...]] = {}
    outcomes: dict[str, str] = msgspec.field(default_factory=lambda: {"clicked": "click", "ordered": "purchase"})


class Mapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All kinds.

    Args:
        numbers: a request's number → the shop's own feature that says it; one of the same name is found without.
    """

    kind: tuple[OfKind, ...]
    numbers: dict[str, str] = {}


def read_mapping(path: Path | None) -> Mapping:
    """A file's mapping; the one that ships where there is none.

    Raises:
        Refused: it cannot be read, or names what there is not.
    """
    try:
        text = (path or files("model.prior").joinpath("defaults.toml")).read_text(encoding="utf-8")
        found = msgspec.convert(tomllib.loads(text), Mapping)
    except OSError as error:
        raise Refused(f"the mapping {path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: {error}") from None
    for of_kind in found.kind:
        _check(of_kind)
    return found


def _check(said: OfKind) -> None:
    grammar = GRAMMARS.get(said.kind)
    if grammar is None:
        raise Refused(f"mapping: kind {said.kind!r}, wanted one of {', '.join(GRAMMARS)}")
    if not set(said.outcomes) <= set(TAUGHT) or "clicked" not in said.outcomes:
        raise Refused(f"mapping: {said.kind}.outcomes names {', '.join(said.outcomes)}; wanted clicked and perhaps ordered, each with the run's label")  # fmt: skip
    if not set(said.slots) & set(grammar.candidate_slots):
        raise Refused(f"mapping: {said.kind}.slots has none of {', '.join(grammar.candidate_slots)}: nothing says what was shown")  # fmt: skip
    for slot, of in said.slots.items():
        if slot not in grammar.slots:
            raise Refused(f"mapping: {said.kind} has no slot {slot!r}; it has {', '.join(grammar.slots)}")
        unknown = set(of.values) - set(grammar.closed.get(slot, ()))
        if unknown:
            allowed = ", ".join(grammar.closed.get(slot, ())) or "no values: they are ids of candidates"
            raise Refused(f"mapping: {said.kind}.{slot} has no value {min(unknown)!r}; wanted {allowed}")
        if slot not in grammar.candidate_slots and not of.values:
            raise Refused(f"mapping: {said.kind}.{slot} says no values; wanted words for some of {', '.join(grammar.closed[slot])}")  # fmt: skip
        _check_pattern(said.kind, slot, of.pattern)


def _check_pattern(kind: str, slot: str, pattern: str) -> None:
    if not pattern:
        return
    try:
        pl.Series(["x"]).str.extract(pattern)
    except pl.exceptions.PolarsError as error:
        raise Refused(f"mapping: {kind}.{slot}.pattern {pattern!r}: {str(error).splitlines()[0][:200]}") from None
