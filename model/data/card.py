"""The data card: what went in, what came out, what was dropped and why, and what a model may trust. `card.json` and `card.html`.

Everything that comes from data is escaped in the page, which loads nothing and runs nothing.
"""

import html
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
import polars as pl

from model.data.labels import Conflict, Coverage
from model.data.leakage import Finding

DRIFTED = 0.2
"""Population stability index from which two splits differ: the usual bound of credit scoring [1].

[1] N. Siddiqi, "Credit Risk Scorecards", 2006.
"""
BINS = 10
TOP_VALUES = 20


class TableCard(msgspec.Struct):
    """A table's rows: `rows_in` = `rows_out` + the sum of `dropped`.

    Args:
        mended: FIELD and what was mended → values; masked: FIELD and kind of personal data → values.
        missing: field → share of rows out without a value, fields without any value left out.
        splits: split → rows.
    """

    rows_in: int
    rows_out: int
    dropped: dict[str, int]
    mended: dict[str, int]
    masked: dict[str, int]
    missing: dict[str, float]
    splits: dict[str, int]


class Balance(msgspec.Struct, frozen=True):
    """A label's values in a split; an empty value are rows whose label is not known (yet)."""

    table: str
    label: str
    split: str
    values: dict[str, int]


class Drift(msgspec.Struct, frozen=True):
    """How far a column differs between train and another split: population stability index, 0 for equal."""

    table: str
    column: str
    split: str
    psi: float
    drifted: bool


class Card(msgspec.Struct):
    """All that is told of a preparation. `trainable` is false when a check failed: then no exposures are written."""

    source: str
    data_sha256: str
    trainable: bool
    files: dict[str, int]
    ignored: dict[str, int]
    tables: dict[str, TableCard]
    labels: list[Coverage]
    conflicts: list[Conflict]
    balance: list[Balance]
    drift: list[Drift]
    leakage: list[Finding]
    splits: dict[str, str]
    quarantined: int


def missing_of(nulls: dict[str, int], rows: int) -> dict[str, float]:
    """Share of so many rows without a value, of columns that have one somewhere."""
    return {name: round(count / rows, 6) for name, count in nulls.items() if count < rows}


def balance_of(table: str, frame: pl.DataFrame, labels: Sequence[str]) -> list[Balance]:
    """The most frequent values of each label in each split, most frequent first."""
    found = []
    for label in labels:
        counts = frame.group_by("split", label).len().sort("split", "len", label, descending=[False, True, False])
        for (split,), rows in counts.group_by("split", maintain_order=True):
            top = rows.head(TOP_VALUES)
            values = {
                "" if value is None else str(value): count for value, count in top.select(label, "len").iter_rows()
            }
            rest = int(rows["len"].sum()) - int(top["len"].sum())
            found.append(Balance(table, label, str(split), values | ({"(others)": rest} if rest else {})))
    return found


def drifts_of(table: str, frame: pl.DataFrame, columns: Iterable[str]) -> list[Drift]:
    """Drift of columns from `train` to every other split that has rows."""
    found = []
    base = frame.filter(pl.col("split") == "train")
    bins = {column: Bins(base[column]) for column in columns if base[column].count()}
    for split in ("valid", "test", "new_customers"):
        other = frame.filter(pl.col("split") == split)
        for column, own in bins.items():
            if other[column].count():
                psi = own.index(other[column])
                found.append(Drift(table, column, split, round(psi, 4), psi >= DRIFTED))
    return found


class Bins:
    """A column's bins: tenths of its numbers, its most frequent values else; rows without a value are a bin of their own."""

    def __init__(self, base: pl.Series) -> None:
        """Cut by this series."""
        self._edges = np.empty(0)
        self._top: set[str] = set()
        self._numeric = base.dtype.is_numeric()
        if self._numeric:
            tenths = base.cast(pl.Float64).quantile([i / BINS for i in range(1, BINS)])
            self._edges = np.array(sorted({float(edge) for edge in tenths if edge is not None}))
        else:
            counts = base.cast(pl.String).drop_nulls().value_counts(sort=True)
            self._top = set(counts.head(TOP_VALUES)[base.name])
        self._base = self._counts(base)

    def _counts(self, values: pl.Series) -> Counter[int | str]:
        """Bin → rows."""
        found: Counter[int | str] = Counter()
        if self._numeric:
            exceeded = np.searchsorted(self._edges, values.drop_nulls().cast(pl.Float64).to_numpy())
            found.update({edges: int(rows) for edges, rows in enumerate(np.bincount(exceeded)) if rows})
            found[""] += values.null_count()
        else:
            for value, rows in values.cast(pl.String).value_counts().iter_rows():
                found[value if value in self._top else "" if value is None else "(others)"] += rows
        return +found

    def index(self, other: pl.Series) -> float:
        """Population stability index of another series: the sum over bins of (q - p) ln(q / p); half a row is added to each bin."""
        p, q = self._base, self._counts(other)
        bins = sorted(p.keys() | q.keys(), key=str)
        p_share = (np.array([p[bin_] for bin_ in bins]) + 0.5) / (p.total() + 0.5 * len(bins))
        q_share = (np.array([q[bin_] for bin_ in bins]) + 0.5) / (q.total() + 0.5 * len(bins))
        return float(((q_share - p_share) * np.log(q_share / p_share)).sum())


STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1,h2{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0}"
    "td,th{border-bottom:1px solid #ddd;padding:.2rem .6rem;text-align:left;vertical-align:top}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#b00020;font-weight:600}"
    ".bar{background:#1f77b4;height:.7rem;display:inline-block}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(card: Card) -> str:
    """The card for people."""
    verdict = "may be trained on" if card.trainable else '<span class="bad">must not be trained on: see Leakage</span>'
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>Data card: {_safe(card.source)}</title><style>{STYLE}</style>",
        f"<h1>Data card: {_safe(card.source)}</h1><p>These data {verdict}. SHA-256 {_safe(card.data_sha256)}.</p>",
        _section("Rows", ("table", "in", "out", "dropped", "splits"), _rows(card)),
        _section("Why rows were dropped", ("table", "reason", "rows", ""), _drops(card)),
        _section("Mended and masked", ("table", "what", "values"), _mended(card)),
        _section("Leakage", ("check", "about", "what was found", ""), [
            (f.check, f.about, f.message, "fails" if f.failed else "warning") for f in card.leakage]),
        _section("Labels", ("table", "label", "rule", "says who", "covered", "of rows"), [
            (c.table, c.name, c.rule, c.source, c.covered, c.rows) for c in card.labels]),
        _section("Conflicts of labels", ("label", "first", "second", "both speak", "differ"), [
            (f"{c.table}.{c.name}", c.first, c.second, c.both, c.differ) for c in card.conflicts]),
        _section("Balance of labels", ("label", "split", "values"), [
            (f"{b.table}.{b.label}", b.split, ", ".join(f"{v or 'unknown'}: {n:,}" for v, n in b.values.items()))
            for b in card.balance]),
        _section("Missing values", ("table", "field", "share"), [
            (name, field, f"{share:.1%}") for name, t in card.tables.items() for field, share in t.missing.items() if share]),
        _section("Drift from train", ("table", "column", "split", "PSI", ""), [
            (d.table, d.column, d.split, f"{d.psi:.3f}", "drifted" if d.drifted else "") for d in card.drift]),
        _section("Splits", ("split", "what"), list(card.splits.items())),
        _section("Files", ("file", "rows"), list(card.files.items())),
        _section("Passed over", ("lines that are of no table", "lines"), list(card.ignored.items())),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _rows(card: Card) -> list[tuple[object, ...]]:
    return [
        (
            name,
            t.rows_in,
            t.rows_out,
            sum(t.dropped.values()),
            ", ".join(f"{split} {n:,}" for split, n in t.splits.items()),
        )
        for name, t in card.tables.items()
    ]


def _drops(card: Card) -> list[tuple[object, ...]]:
    return [
        (name, reason, rows, _Bar(rows / t.rows_in))
        for name, t in card.tables.items() for reason, rows in sorted(t.dropped.items(), key=lambda pair: -pair[1])
    ]  # fmt: skip


def _mended(card: Card) -> list[tuple[object, ...]]:
    return [
        (name, what, values) for name, t in card.tables.items()
        for what, values in [*t.mended.items(), *((f"personal data masked in {k}", v) for k, v in t.masked.items())]
    ]  # fmt: skip


class _Bar(msgspec.Struct, frozen=True):
    """A share as a bar; the only markup that a cell may be."""

    share: float


def _section(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return f"<h2>{title}</h2><p>None.</p>"
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    return f"<h2>{title}</h2><table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, _Bar):
        return f'<td><span class=bar style="width:{max(1, round(200 * value.share))}px"></span> {value.share:.2%}</td>'
    if isinstance(value, int):
        return f"<td class=n>{value:,}</td>"
    return f"<td>{_safe(value)}</td>"


def _safe(value: object) -> str:
    """Text of data as markup shows it: escaped, control and direction characters replaced."""
    return html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)))
