"""The report for people: one page that loads nothing; every text of data is escaped. Pure."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from model.evaluation.charts import Point, intervals, safe
from model.evaluation.contrasts import Contrast
from model.evaluation.estimates import Estimate
from model.evaluation.off_policy import OWN, PolicyValue
from model.evaluation.report import Report, Slice
from model.evaluation.table import METRICS, Metric
from model.evaluation.texts import TextQuality

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1,h2,h3{line-height:1.2}table{border-collapse:collapse;margin:.5rem 0;display:block;overflow-x:auto}"
    "td,th{border-bottom:1px solid #ddd;padding:.2rem .6rem;text-align:left;vertical-align:top}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.warn{color:#8a4b00}"
    "small{color:#666}svg{max-width:100%;height:auto;font-size:12px}.label{text-anchor:end}.tick{text-anchor:middle;fill:#666}"
    ".grid{stroke:#eee}.zero{stroke:#999}.interval{stroke:#1f77b4;stroke-width:2}circle{fill:#1f77b4}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
DRAWN = ("ctr", "reward")
"""Figures that are also drawn, per dimension."""
HEADINGS = {
    "kind": "By kind", "arm": "By arm", "channel": "By channel or place", "segment": "By customer segment",
    "age": "By age of the product", "language": "By language", "currency": "By currency", "period": "Over time",
}  # fmt: skip


def page(report: Report) -> str:
    """Compose the whole page."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>What the strategies brought</title><style>{STYLE}</style><h1>What the strategies brought</h1>",
        _summary(report),
        _lift(report.contrasts, report),
        *(_dimension(name, slices, report) for name, slices in report.slices.items() if len(slices) > 1),
        _policies(report.off_policy),
        *map(_texts, report.texts),
        _refusals(report),
        _glossary(report),
    ]
    return "\n".join(parts) + "\n"


def _summary(report: Report) -> str:
    books = report.books
    when = f"{report.first:%Y-%m-%d %H:%M} to {report.last:%Y-%m-%d %H:%M} UTC" if report.first and report.last else ""
    said = [
        (
            f"{books.contacted:,} closed strategies to {report.customers:,} customers, {books.ghosts:,} moments of customers who "
            f"are never contacted, {books.open:,} strategies still open. {when}"
        ),
        *_headlines(report.contrasts),
    ]
    warned = "".join(f'<p class="warn">{safe(each)}</p>' for each in report.warnings)
    whole = (
        _table(_heads(report), [_line("all", report.overall)]) if report.overall else "<p>Nothing is closed yet.</p>"
    )
    return _list(said) + warned + whole


def _headlines(found: Sequence[Contrast]) -> list[str]:
    """The comparisons of whole arms in sentences."""
    said = []
    for each in found:
        if each.dimension == "overall":
            verdict = "more" if each.difference > 0 else "less"
            by = f"{abs(each.difference):.3f} ({each.low:+.3f} to {each.high:+.3f}) {verdict} per strategy"
            sure = "beyond chance" if each.found else f"not beyond chance; {each.detectable:.3f} would have been found"
            said.append(f"{each.arm} against {each.against}: {by}, {sure}.")
    return said


def _lift(found: Sequence[Contrast], report: Report) -> str:
    if not found:
        return "<h2>Lift</h2><p>Too few customers in the arms to compare them.</p>"
    parts = ["<h2>Lift</h2>"]
    for family, group in groupby(found, key=lambda each: each.family):
        rows = list(group)
        points = [Point(_who(each), each.difference, each.low, each.high) for each in rows]
        heads = (
            "",
            "against",
            "customers",
            "mean",
            "base",
            "difference, 95 %",
            "relative",
            "p, corrected",
            "detectable",
        )
        title = "Arms" if family == "arms" else HEADINGS[family]
        parts += [
            f"<h3>{title}</h3>",
            intervals(f"Lift, {title}", points, zero=True),
            _table(heads, map(_contrast, rows)),
        ]
    parts.append(
        "<p><small>Units of reward per strategy. Intervals are of customers, not of strategies, and each stands for itself; p is "
        f"corrected by Holm within a table. Detectable: what {report.power:.0%} of such tests would find. Channels and products are "
        "chosen by the arms, so arms are not compared within them.</small></p>"
    )
    return "".join(parts)


def _who(each: Contrast) -> str:
    return f"{each.arm} / {each.against}" if each.dimension == "overall" else f"{each.value} / {each.against}"


def _contrast(each: Contrast) -> tuple[object, ...]:
    relative = (
        "" if each.relative is None else f"{each.relative:+.0%} ({each.relative_low:+.0%} to {each.relative_high:+.0%})"
    )
    return (
        each.value or each.arm,
        f"{each.against} ({each.measure})",
        f"{each.customers:,} / {each.base_customers:,}",
        f"{each.mean:.3f}",
        f"{each.base:.3f}",
        f"{each.difference:+.3f} ({each.low:+.3f} to {each.high:+.3f})",
        relative,
        f"{each.p_adjusted:.3g}{' *' if each.found else ''}",
        f"{each.detectable:.3f}",
    )


def _dimension(name: str, slices: Sequence[Slice], report: Report) -> str:
    drawn = []
    for metric in METRICS:
        if metric.name in DRAWN:
            found = [(each.value, each.metrics[metric.name]) for each in slices]
            points = [Point(value, e.value, e.low, e.high) for value, e in found if e is not None]
            drawn.append(f"<h3>{safe(metric.title)}</h3>" + intervals(f"{metric.title}, {HEADINGS[name]}", points))
    title = f"{HEADINGS[name]} ({report.period})" if name == "period" else HEADINGS[name]
    return f"<h2>{title}</h2>" + "".join(drawn) + _table(_heads(report), [_line(each.value, each) for each in slices])


def _heads(report: Report) -> tuple[str, ...]:
    titles = (
        f"{metric.title}, {report.currency}" if metric.money and metric.form != "return" else metric.title
        for metric in METRICS
    )
    return ("", "strategies", "customers", *titles)


def _line(label: str, each: Slice) -> tuple[object, ...]:
    return (label, each.strategies, each.customers, *(_figure(metric, each.metrics[metric.name]) for metric in METRICS))


def _figure(metric: Metric, estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    form = {"share": "{:.2%}", "return": "{:+.0%}", "per_mille": "{:,.2f}", "mean": "{:.3f}"}[metric.form].format
    if estimate.low is None or estimate.high is None:
        return form(estimate.value)
    return f"{form(estimate.value)} ({form(estimate.low)} to {form(estimate.high)})"


def _policies(values: Sequence[PolicyValue]) -> str:
    if not values:
        return ""
    names = [
        each.policy if each.reward_model == OWN else f"{each.policy}, reward by {each.reward_model}" for each in values
    ]
    points = [Point(name, each.dr.value, each.dr.low, each.dr.high) for name, each in zip(names, values, strict=True)]
    heads = ("policy", "rows", "effective", "as logged", "IPS", "SNIPS", "DM", "DR", "DR less logged", "rely on it?")
    rows = [
        (
            name,
            each.rows,
            f"{each.effective:.0f} ({each.effective_share:.1%})",
            *map(_plain, (each.logged, each.ips, each.snips, each.dm, each.dr, each.gain)),
            "; ".join(each.warnings) or "yes",
        )
        for name, each in zip(names, values, strict=True)
    ]
    return (
        "<h2>What other policies would have earned</h2>"
        "<p>Estimated from decisions that others made, by their logged probabilities; units of reward per strategy.</p>"
        + intervals("Off-policy value, doubly robust", points)
        + _table(heads, rows)
    )


def _plain(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _texts(text: TextQuality) -> str:
    share = f"{text.agreeing / text.judged:.1%}" if text.judged else "–"
    rows: list[tuple[object, ...]] = [
        ("texts", text.texts),
        ("by source", _counts(text.by_source)),
        ("agree with their decision", f"{share} of {text.judged:,}"),
        ("checks that fail now", _counts(text.failures)),
        ("model's words replaced by a template, by check", _counts(text.reported)),
        ("title, characters: least, median, 95 %, most", ", ".join(map(str, text.title_chars))),
        ("body, characters", ", ".join(map(str, text.body_chars))),
        ("problems of form", _counts(text.form)),
        ("banned phrases", _counts(text.banned)),
        ("different texts, names apart", text.different),
        ("distinct-1, -2, -3", ", ".join(f"{value:.4f}" for value in text.distinct.values())),
        *(("does not agree", each) for each in text.examples),
    ]
    return f"<h2>Texts in {safe(text.language)}</h2>" + _table(("", ""), rows)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"


def _refusals(report: Report) -> str:
    if not report.refusals:
        return ""
    rows = [(each.file, each.line, each.field, each.value, each.wanted) for each in report.refusals]
    return "<h2>Lines that could not be read</h2>" + _table(("file", "line", "field", "value", "wanted"), rows)


def _glossary(report: Report) -> str:
    said = [f"{metric.title}: {metric.about}." for metric in METRICS]
    said.append(
        f"In brackets: {report.level:.0%} intervals; several strategies of a customer count as one piece of evidence."
    )
    said.append(
        "Net margin: all the customer's orders within the horizon less the contact's cost, also of those never contacted."
    )
    return "<h2>What the words mean</h2>" + _list(said)


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{safe(line)}</li>" for line in lines) + "</ul>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    head = "".join(f"<th>{safe(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    return f'<td class="n">{value:,}</td>' if isinstance(value, int) else f"<td>{safe(value)}</td>"
