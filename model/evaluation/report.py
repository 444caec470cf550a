"""Everything the evaluation says, as data: `report.json`. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from model.evaluation.collecting import Collector, Refusal
from model.evaluation.contrasts import POWER, Contrast, contrasts
from model.evaluation.estimates import LEVEL, Estimate
from model.evaluation.off_policy import PolicyValue
from model.evaluation.rows import Row
from model.evaluation.table import DIMENSIONS, METRICS, Mask, Table, measure
from model.evaluation.texts import TextQuality

MOST_VALUES = 40
"""Values of a dimension that get a line: a declared kind may bring channels without bound."""
PERIODS: tuple[tuple[int, str, str], ...] = (
    (2, "%Y-%m-%d %H:00", "hour"),
    (31, "%Y-%m-%d", "day"),
    (400, "%G-W%V", "week"),
)
"""Up to so many days, the form and the name of a period; beyond, months."""
FORMAT = 1


class Slice(Struct, frozen=True):
    """Figures of the strategies that have one value of a dimension.

    Args:
        currency: of its money.
        metrics: name → estimate; None where there is nothing it could be of.
    """

    value: str
    strategies: int
    customers: int
    currency: str
    metrics: dict[str, Estimate | None]


class Books(Struct, frozen=True):
    """What was read, and what became of it.

    Args:
        rewards: lines of rewards, of all stages; repeated: lines that said nothing new about a strategy.
        closed: strategies with a final, ghosts among them; open: with a response alone.
        mixed: closed, of customers who were in two arms: in the figures, in no comparison.
        other_currencies: closed, with amounts in a second currency, which are in no figure.
        refused: lines that could not be read; other: lines that are neither rewards nor strategies.
    """

    rewards: int
    strategies: int
    repeated: int
    closed: int
    contacted: int
    ghosts: int
    open: int
    mixed: int
    other_currencies: int
    refused: int
    other: int


class Report(Struct, frozen=True):
    """`report.json`."""

    format: int
    level: float
    power: float
    books: Books
    refusals: tuple[Refusal, ...]
    first: datetime | None
    last: datetime | None
    customers: int
    currency: str
    currencies: dict[str, int]
    period: str
    overall: Slice | None
    slices: dict[str, list[Slice]]
    contrasts: list[Contrast]
    off_policy: list[PolicyValue]
    texts: list[TextQuality]
    warnings: list[str]
    direct: dict[str, Any] | None = None
    """How far a response run was asked of the reward, where one was named; `model/prior/direct.py`."""


def summarised(
    collected: Collector,
    currency: str | None,
    valued: Sequence[PolicyValue],
    warnings: Sequence[str],
    told: Callable[[str], None] = lambda _: None,
) -> Report:
    """The report of what was collected.

    Args:
        currency: money is of rows in it; that of most rows when None.
        valued: off-policy values, made by the caller.
        told: called with each part that is begun.
    """
    rows = collected.books.closed
    names, period = periods(rows)
    table = Table(rows, names)
    currencies = dict(Counter(row.currency for row in rows if not row.ghost).most_common())
    chosen = currency or next(iter(currencies), "")
    told("figures")
    slices = {dimension: _slices(table, dimension, chosen) for dimension in DIMENSIONS if len(table)}
    told("comparisons")
    return Report(
        format=FORMAT,
        level=LEVEL,
        power=POWER,
        books=_books(collected, rows),
        refusals=tuple(collected.refusals),
        first=rows[0].issued_at if rows else None,
        last=rows[-1].issued_at if rows else None,
        customers=len({row.customer for row in rows}),
        currency=chosen,
        currencies=currencies,
        period=period,
        overall=_slice(table, "", table.contacted, chosen) if len(table) else None,
        slices={dimension: found for dimension, found in slices.items() if found},
        contrasts=contrasts(table) if len(table) else [],
        off_policy=list(valued),
        texts=list(collected.texts),
        warnings=[*_warnings(collected, rows, currencies, chosen), *warnings],
    )


def periods(rows: Sequence[Row]) -> tuple[list[str], str]:
    """Each row's period in words, UTC, and what a period is: short enough to show change, long enough to be few."""
    if not rows:
        return [], "day"
    days = (rows[-1].issued_at - rows[0].issued_at).total_seconds() / 86_400
    form, name = next(((form, name) for most, form, name in PERIODS if days <= most), ("%Y-%m", "month"))
    return [row.issued_at.strftime(form) for row in rows], name


def _slices(table: Table, dimension: str, currency: str) -> list[Slice]:
    values = Counter(table.text[dimension][table.contacted]).most_common(MOST_VALUES)
    return [
        _slice(
            table,
            value,
            table.contacted & (table.text[dimension] == value),
            value if dimension == "currency" else currency,
        )
        for value in sorted(value for value, _ in values)
    ]


def _slice(table: Table, value: str, among: Mask, currency: str) -> Slice:
    customers = len(set(table.customers[among].tolist()))
    return Slice(value, int(among.sum()), customers, currency, measure(table, among, currency))


def _books(collected: Collector, rows: Sequence[Row]) -> Books:
    counts, ghosts = collected.counts, sum(row.ghost for row in rows)
    return Books(
        rewards=counts["rewards"],
        strategies=counts["strategies"],
        repeated=counts["repeated"] + collected.books.repeated,
        closed=len(rows),
        contacted=len(rows) - ghosts,
        ghosts=ghosts,
        open=collected.books.open,
        mixed=sum(row.mixed for row in rows),
        other_currencies=sum(row.others for row in rows),
        refused=counts["refused"],
        other=counts["other"],
    )


def _warnings(collected: Collector, rows: Sequence[Row], currencies: dict[str, int], chosen: str) -> list[str]:
    found = []
    others = {name: count for name, count in currencies.items() if name != chosen}
    if others:
        said = ", ".join(f"{name} {count}" for name, count in others.items())
        found.append(f"money is in {chosen}; strategies in other currencies are in no amount of it: {said}")
    if collected.counts["refused"]:
        found.append(f"{collected.counts['refused']} lines could not be read")
    arms = {row.arm for row in rows}
    found += [
        f"no strategy of the arm {arm}: no lift over it" for arm in ("random", "holdout") if rows and arm not in arms
    ]
    if not collected.counts["strategies"]:
        found.append("no strategies among what was read: nothing is said of texts")
    return found


def titles() -> dict[str, tuple[str, str]]:
    """Metric → title and meaning."""
    return {metric.name: (metric.title, metric.about) for metric in METRICS}
