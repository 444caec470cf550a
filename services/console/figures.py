"""What is happening now, from two readings of each process' metrics. Pure.

A rate is the difference of a counter; a counter that went back began anew, and counts from zero.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]
"""Sample name, with `_total`, `_bucket` and so on → labels and value of each."""


class Reading(NamedTuple):
    """All processes' samples at one moment, seconds of a monotonic clock."""

    at_s: float
    of: Mapping[str, Samples]


class Figure(NamedTuple):
    """One number of the page, by its element's id."""

    id: str
    label: str
    text: str


def total(samples: Samples, name: str, **labels: str) -> float | None:
    """The sum of all samples with these labels; None where there is none."""
    found = [value for have, value in samples.get(name, ()) if labels.items() <= have.items()]
    return sum(found) if found else None


def rate(old: Reading, new: Reading, process: str, name: str, **labels: str) -> float | None:
    """Per second between two readings; None where it cannot be told."""
    before = total(old.of.get(process, {}), name, **labels)
    after = total(new.of.get(process, {}), name, **labels)
    passed_s = new.at_s - old.at_s
    if after is None or passed_s <= 0 or process not in old.of:
        return None
    return _grown(before or 0.0, after) / passed_s


def quantile(old: Reading, new: Reading, process: str, name: str, q: float) -> float | None:
    """Of a histogram, among what came between two readings, linear within a bucket as Prometheus has it; None: nothing came."""
    after = _buckets(new.of.get(process, {}), name)
    before = _buckets(old.of.get(process, {}), name)
    counts = [(edge, _grown(before.get(edge, 0.0), count)) for edge, count in sorted(after.items())]
    if not counts or counts[-1][1] <= 0:
        return None
    wanted = q * counts[-1][1]
    for (low, below), (high, count) in pairwise([(0.0, 0.0), *counts]):
        if count >= wanted:
            return low if high == inf else low + (high - low) * (wanted - below) / max(count - below, 1e-9)
    return None


def _buckets(samples: Samples, name: str) -> dict[float, float]:
    found: dict[float, float] = {}
    for labels, value in samples.get(f"{name}_bucket", ()):
        edge = float(labels["le"])
        found[edge] = found.get(edge, 0.0) + value
    return found


def _grown(before: float, after: float) -> float:
    return after - before if after >= before else after


def figures(old: Reading, new: Reading) -> list[Figure]:
    """The page's numbers, in its order."""

    def per_s(process: str, name: str, **labels: str) -> str:
        return _said(rate(old, new, process, name, **labels), "{:,.1f} /s")

    def seconds(process: str, name: str, q: float) -> str:
        return _said(quantile(old, new, process, name, q), "{:,.3f} s")

    def now(process: str, name: str, form: str) -> str:
        return _said(total(new.of.get(process, {}), name), form)

    lag = [value for _, value in new.of.get("agents", {}).get("stratagem_lag_seconds", ())]
    return [
        Figure("events", "Events", per_s("agents", "stratagem_events_total")),
        Figure("requests", "Strategies asked for", per_s("agents", "stratagem_requests_total")),
        Figure("strategies", "Strategies published", per_s("worker", "stratagem_strategies_total")),
        Figure("suppressions", "Moments suppressed", per_s("agents", "stratagem_suppressions_total")),
        Figure("rewards", "Rewards learned from", per_s("updater", "stratagem_rewards_total")),
        Figure("letters", "Dead letters", per_s("agents", "stratagem_dead_letters_total")),
        Figure("http", "HTTP requests", per_s("gateway", "stratagem_gateway_requests_total")),
        Figure(
            "median", "Request to strategy, median", seconds("worker", "stratagem_request_to_strategy_seconds", 0.5)
        ),
        Figure("p99", "Request to strategy, 99 %", seconds("worker", "stratagem_request_to_strategy_seconds", 0.99)),
        Figure("lag", "Oldest event not applied", _said(max(lag, default=None), "{:,.1f} s")),
        Figure("late", "Answered past the deadline", per_s("worker", "stratagem_late_strategies_total")),
        Figure("queued", "Requests waiting", now("worker", "stratagem_queued_records", "{:,.0f}")),
    ]


def _said(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


class Trial(NamedTuple):
    """How far a version on trial has come, as the updater tells it: customers by side, the difference and its bounds."""

    role: str
    customers: Mapping[str, float]
    difference: Mapping[str, float]
    harm: Mapping[str, float]


def trials(samples: Samples) -> list[Trial]:
    """Each role's trial, of those that the updater tells something of."""

    def by(name: str, role: str, label: str) -> dict[str, float]:
        return {have[label]: value for have, value in samples.get(name, ()) if have.get("role") == role}

    roles = sorted({have["role"] for have, _ in samples.get("stratagem_trial_customers", ())})
    return [
        Trial(
            role,
            by("stratagem_trial_customers", role, "side"),
            by("stratagem_trial_difference", role, "bound"),
            by("stratagem_trial_harm", role, "harm"),
        )
        for role in roles
    ]
