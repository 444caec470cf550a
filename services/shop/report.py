"""The demo's report: one self-contained page with plots as inline SVG, and `report.json`.

Every text that comes from data is escaped; the page loads nothing.
"""

from __future__ import annotations

import html
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from services.shop.books import Evidence
from services.shop.oracle import Baseline
from services.shop.summary import Summary, comparable, in_words, interval, latencies_ms, mixed_customers
from services.watch import decision_line, strategy_line
from streaming.contracts.kinds import ARM_NAMES

SLICES = 8
"""Points of the curve of reward over time."""
SHOWN_STRATEGIES = 8
COLOURS = {"fused": "#1f77b4", "lm": "#9467bd", "critic": "#2ca02c", "random": "#d62728", "holdout": "#7f7f7f"}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h1,h2{line-height:1.2}svg{max-width:100%;height:auto}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ddd;padding:.2rem .6rem;text-align:left}li{margin:.3rem 0}"
)


def figure() -> tuple[Any, Any]:
    """A drawing without a display: (figure, axes)."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(8, 3.6), layout="constrained")
    return drawing, drawing.subplots()


def svg_of(drawing: Any) -> str:
    """The drawing as an SVG element, without the XML head, date or creator."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def first_served(evidence: Evidence) -> dict[str, Any]:
    """Adapter version → event time of the first strategy it wrote: when it was swapped in."""
    first: dict[str, Any] = {}
    for strategy, _ in evidence.strategies.values():
        version = strategy.policy.adapter
        if version not in ("base", "none"):
            first[version] = min(first.get(version, strategy.issued_at), strategy.issued_at)
    return first


def plot_rewards(evidence: Evidence, baseline: Baseline | None) -> str:
    """Reward by arm over event time with 95 % intervals, beside random and oracle; swaps marked."""
    drawing, axes = figure()
    closed = sorted(comparable(evidence), key=lambda reward: reward.issued_at)
    for arm in ARM_NAMES:
        own = [reward for reward in closed if reward.assigned_arm == arm and arm != "holdout"]
        size = max(len(own) // SLICES, 1)
        parts = [own[i : i + size] for i in range(0, len(own) - size + 1, size)]
        if not own:
            continue
        stats = [interval([reward.reward for reward in part]) for part in parts]
        times = [part[len(part) // 2].issued_at for part in parts]
        axes.plot(times, [s.mean for s in stats], label=arm, color=COLOURS[arm], marker="o", markersize=3)
        if arm in ("fused", "random"):
            low, high = [s.low95 for s in stats], [s.high95 for s in stats]
            axes.fill_between(times, low, high, color=COLOURS[arm], alpha=0.15, linewidth=0)
    if baseline:
        axes.axhline(baseline.oracle, color="black", linestyle="--", linewidth=1, label="oracle")
        axes.axhline(baseline.random, color="black", linestyle=":", linewidth=1, label="random, expected")
    for number, moment in enumerate(sorted(first_served(evidence).values())):
        axes.axvline(moment, color="orange", linewidth=0.8, label="adapter swapped in" if number == 0 else None)
    axes.set_ylabel("reward per strategy")
    axes.set_xlabel("event time of the strategy")
    axes.tick_params(axis="x", rotation=20)
    axes.legend(fontsize=7, ncols=2)
    return svg_of(drawing)


def plot_latency(evidence: Evidence) -> str:
    """How long requests waited for their strategy, wall clock."""
    drawing, axes = figure()
    waits = latencies_ms(evidence)
    if waits:
        axes.hist(waits, bins=60, color="#1f77b4")
    axes.set_xlabel("request to strategy, milliseconds")
    axes.set_ylabel("strategies")
    return svg_of(drawing)


def plot_kinds(evidence: Evidence) -> str:
    """Mean reward by kind, served arm beside random."""
    drawing, axes = figure()
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for reward in comparable(evidence):
        values[reward.kind, reward.assigned_arm].append(reward.reward)
    kinds = sorted({kind for kind, _ in values})
    for shift, arm in ((-0.2, "fused"), (0.2, "random")):
        stats = [interval(values[kind, arm] or [0.0]) for kind in kinds]
        places = [i + shift for i in range(len(kinds))]
        halves = [s.high95 - s.mean for s in stats]
        axes.bar(places, [s.mean for s in stats], 0.38, yerr=halves, label=arm, color=COLOURS[arm])
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("reward per strategy")
    if kinds:
        axes.legend()
    return svg_of(drawing)


def items(lines: Iterable[str]) -> str:
    """Lines as an escaped list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def page(
    summary: Summary, evidence: Evidence, baseline: Baseline | None, faults: list[str], also: Sequence[str] = ()
) -> str:
    """Compose the whole page; `also` is said after the summary."""
    adapters = [decision for decision in evidence.decisions if decision.what == "adapter"]
    critics = [decision for decision in evidence.decisions if decision.what == "critic"]
    refused = sum(decision.decision == "refused" for decision in critics)
    written = [strategy for strategy, _ in evidence.strategies.values() if strategy.message.source == "model"]
    verdict = faults or ["The books balance; nothing was lost."]
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(msgspec.json.encode(value).decode())}</td></tr>"
        for name, value in msgspec.to_builtins(summary).items()
    )
    parts = [
        "<h1>What the demo showed</h1>",
        items([*verdict, *in_words(summary), *also]),
        "<h2>Reward by arm</h2>",
        plot_rewards(evidence, baseline),
        (
            "<p>Bands are 95 % intervals of the mean. Random is what a uniform choice within the rules earns, the oracle "
            "what the best allowed action of each request would earn on average, both computed from the simulated "
            "customers, which the system cannot see. Purchases are real; answers to strategies are simulated. "
            f"{len(mixed_customers(evidence))} ids of customers who were in two arms before a login joined them are "
            "left out of every comparison of arms.</p>"
        ),
        plot_kinds(evidence),
        "<h2>Latency</h2>",
        plot_latency(evidence),
        "<h2>What the gate decided on adapters</h2>",
        items(decision_line(decision) for decision in adapters),
        f"<p>{len(critics)} critic snapshots were judged, {refused} of them refused.</p>",
        "<h2>Some strategies</h2>",
        items(strategy_line(strategy) for strategy in written[-SHOWN_STRATEGIES:]),
        f"<h2>All fields</h2><table>{rows}</table>",
    ]
    head = f'<meta charset="utf-8"><title>Stratagem: the demo</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def write_report(
    folder: Path,
    summary: Summary,
    evidence: Evidence,
    baseline: Baseline | None,
    faults: list[str],
    also: Sequence[str] = (),
) -> None:
    """Write `report.html` and `report.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    (folder / "report.html").write_text(page(summary, evidence, baseline, faults, also), encoding="utf-8")
