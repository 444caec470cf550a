"""Every fact that the streaming edges report becomes a metric of its own kind, with its labels."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import Counter, Gauge, Histogram

from services.agents import _METRICS, MetricFacts

ROOT = Path(__file__).parents[2]
KINDS: dict[str, type[Counter | Gauge | Histogram]] = {"count": Counter, "gauge": Gauge, "observe": Histogram}


class Reported(NamedTuple):
    """One place in the code that reports a fact."""

    where: str
    how: str
    name: str
    labels: tuple[str, ...]


def names(node: ast.expr) -> list[str]:
    """The names an expression may have: a literal, or either of two; none for a variable."""
    if isinstance(node, ast.IfExp):
        return names(node.body) + names(node.orelse)
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def labels_of(call: ast.Call) -> tuple[str, ...]:
    """Label names: keywords of a call, keys of a `Fact`'s dictionary."""
    dictionaries = [argument for argument in call.args if isinstance(argument, ast.Dict)]
    keys = [key.value for each in dictionaries for key in each.keys if isinstance(key, ast.Constant)]
    return (
        *(str(keyword.arg) for keyword in call.keywords if keyword.arg not in (None, "amount", "value")),
        *map(str, keys),
    )


def reported() -> Iterator[Reported]:
    """Every `facts.count|gauge|observe(name, ...)` and every `Fact(name, ...)` of streaming."""
    for path in sorted((ROOT / "streaming").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            text = ast.unparse(call.func)
            owner, _, how = text.rpartition(".")
            if text != "Fact" and not (how in KINDS and owner.endswith("facts")):
                continue
            where = f"{path.relative_to(ROOT)}:{call.lineno}"
            yield from (
                Reported(where, "count" if text == "Fact" else how, name, labels_of(call))
                for name in names(call.args[0])
            )


FACTS = sorted(set(reported()))


def test_the_walk_finds_what_there_is() -> None:
    """Facts reported in each of the four ways are among those found."""
    found = {(fact.how, fact.name) for fact in FACTS}
    assert {
        ("count", "events"),
        ("count", "refused_writes"),
        ("count", "kafka_errors"),
        ("gauge", "event_lag_seconds"),
        ("observe", "batch_seconds"),
    } <= found


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.where}-{fact.name}")
def test_every_fact_has_a_metric(fact: Reported) -> None:
    """A name without an entry would be dropped without a word; a wrong kind or label would end the agents."""
    assert fact.name in _METRICS, f"{fact.where}: {fact.name} is not exported"
    assert isinstance(_METRICS[fact.name], KINDS[fact.how]), fact.where
    labels = dict.fromkeys(fact.labels, "test")
    getattr(MetricFacts(), fact.how)(fact.name, 1.0, **labels)
