"""Queries looked up in the code's metrics: what they name, and which of it does not exist."""

import re
from collections.abc import Iterator
from typing import Any

import promql_parser as promql
from prometheus_client import Counter, Gauge, Histogram, Info
from prometheus_client.registry import Collector

from services.metrics import REGISTRY

OF_A_SCRAPE = frozenset({"job", "instance", "service"})
"""Labels that the scrape configuration gives to every series."""
INFO_LABELS = {"stratagem_adapter": frozenset({"champion", "critic"})}
"""What `info({...})` is called with; a real run is asked for both in `test_up.py`."""
OF_PROMETHEUS = {"up": OF_A_SCRAPE}


def sample_names() -> dict[str, frozenset[str]]:
    """Every series that our services can expose, and its labels."""
    found = dict(OF_PROMETHEUS)
    for collector in REGISTRY._collector_to_names:
        found |= dict(_samples(collector))
    return found


def _samples(collector: Collector) -> Iterator[tuple[str, frozenset[str]]]:
    name = str(getattr(collector, "_name", ""))
    labels = OF_A_SCRAPE | frozenset(getattr(collector, "_labelnames", ()))
    if isinstance(collector, Counter):
        yield f"{name}_total", labels
    elif isinstance(collector, Gauge):
        yield name, labels
    elif isinstance(collector, Histogram):
        yield f"{name}_bucket", labels | {"le"}
        yield from ((f"{name}_{part}", labels) for part in ("sum", "count"))
    elif isinstance(collector, Info):
        yield f"{name}_info", labels | INFO_LABELS[name]
    else:  # a collector that makes its families as it is asked
        for family in collector.collect():
            yield from ((sample.name, labels | sample.labels.keys()) for sample in family.samples)


def filled_in(expr: str) -> str:
    """A dashboard's query with its variables replaced, as Grafana sends it."""
    return re.sub(r"\$\{?\w+\}?", ".*", re.sub(r"\$\{?__\w*interval\w*\}?", "15s", expr))


def missing(expr: str, known: dict[str, frozenset[str]]) -> list[str]:
    """In words, each metric and label of a query that does not exist.

    Raises:
        ValueError: it is no PromQL.
    """
    return sorted(set(_missing(promql.parse(expr), known)))


def _missing(node: Any, known: dict[str, frozenset[str]]) -> Iterator[str]:
    if isinstance(node, promql.VectorSelector):
        if node.name not in known:
            yield f"no metric {node.name}"
            return
        used = {matcher.name for matcher in node.matchers.matchers}
        yield from (f"no label {label} on {node.name}" for label in used - known[node.name])
        return
    for label in _named(node):
        yield from (
            f"no label {label} on {each.name}"
            for each in _selectors(node)
            if label not in known.get(each.name or "", frozenset()) | _made(node)
        )
    for child in _children(node):
        yield from _missing(child, known)


def _named(node: Any) -> set[str]:
    """Labels that an aggregation or a match names."""
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        return set(node.modifier.labels)
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql.BinaryExpr) and modifier is not None and modifier.matching is not None:
        return set(modifier.matching.labels)
    return set()


def _made(node: Any) -> set[str]:
    """Labels that functions below make themselves."""
    found = {
        each.args[1].val
        for each in below(node)
        if isinstance(each, promql.Call) and each.func.name in {"label_replace", "label_join"}
    }
    return {str(name) for name in found}


def below(node: Any) -> Iterator[Any]:
    """An expression and all that it is made of."""
    yield node
    for child in _children(node):
        yield from below(child)


def _selectors(node: Any) -> Iterator[Any]:
    """Every selector below, those within `scalar(...)` apart: they have no labels any more."""
    if isinstance(node, promql.VectorSelector):
        yield node
    elif not (isinstance(node, promql.Call) and node.func.name == "scalar"):
        for child in _children(node):
            yield from _selectors(child)


def _children(node: Any) -> list[Any]:
    names = ("lhs", "rhs", "expr", "vector_selector")
    found = [getattr(node, name) for name in names if getattr(node, name, None) is not None]
    return found + list(getattr(node, "args", None) or [])
