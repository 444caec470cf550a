"""Dashboards: the committed JSON is what the code makes, and asks for nothing that no service exposes."""

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from services.dashboards.business import lift
from services.dashboards.rendering import BOARDS, FOLDER, rendered
from tests.services.prometheus_samples import program
from tests.services.promql import filled_in, missing, sample_names

KNOWN = sample_names()


@pytest.fixture
def promtool() -> str:
    """Debian's, in the package `prometheus`."""
    return program("promtool")


def panels(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every panel, those within rows too."""
    for item in items:
        yield item
        yield from panels(item.get("panels") or [])


def queries() -> Iterator[tuple[str, str, str, str]]:
    """(file, panel, expression, legend) of every committed query."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in panels(json.loads(path.read_text())["panels"]):
            for target in panel.get("targets", []):
                yield path.name, panel["title"], target["expr"], target["legendFormat"]


def test_the_committed_json_is_current() -> None:
    """`python -m services.dashboards` would change nothing, and leave nothing behind."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == rendered()


def test_panels_have_ids_of_their_own_and_say_what_they_show() -> None:
    """Grafana links to a panel by its id."""
    for path in FOLDER.glob("*.json"):
        found = list(panels(json.loads(path.read_text())["panels"]))
        assert len({panel["id"] for panel in found}) == len(found)
        assert all(panel.get("description") for panel in found if panel["type"] != "row")


def test_every_query_asks_for_what_exists() -> None:
    """Each metric and each label is one that the code's registry has; the legends' labels too."""
    found = list(queries())
    assert len(found) > len(BOARDS)
    said = [f"{file}, {title}: {lack}" for file, title, expr, _ in found for lack in missing(filled_in(expr), KNOWN)]
    for file, title, expr, legend in found:
        at_hand = frozenset[str]().union(*(labels for name, labels in KNOWN.items() if name in expr))
        unknown = set(re.findall(r"{{(\w+)}}", legend)) - at_hand
        said += [f"{file}, {title}: no label {label} for the legend" for label in unknown]
    assert said == []


def test_a_lift_has_the_interval_of_two_means(tmp_path: Path, promtool: str) -> None:
    """By Prometheus' own arithmetic: means 2 and 1 of 4 strategies each, variances of the means 1/4 and 2."""
    sums = {"fused": (4, 8, 20), "random": (4, 4, 36)}
    names = ('stratagem_rewards_total{stage="final",', "stratagem_reward_sum{", "stratagem_reward_squares{")
    series = [
        {"series": f'{name}kind="ad",arm="{arm}"}}', "values": str(value)}
        for arm, values in sums.items()
        for name, value in zip(names, values, strict=True)
    ]
    widths = {"fused": 1.96 * math.sqrt(0.25 + 2.0), "random": 1.96 * math.sqrt(2.0 + 2.0)}
    middles = {"fused": 1.0, "random": 0.0}
    wanted = [
        [{"labels": f'{{arm="{arm}"}}', "value": middle + side * widths[arm]} for arm, middle in middles.items()]
        for side in (0, -1, 1)
    ]
    asked = lift("stratagem_reward_sum", "stratagem_reward_squares", "random")
    tests = [
        {"expr": filled_in(expr), "eval_time": "0m", "exp_samples": samples}
        for (expr, _), samples in zip(asked, wanted, strict=True)
    ]
    case = {"evaluation_interval": "1m", "tests": [{"input_series": series, "promql_expr_test": tests}]}
    file = tmp_path / "lift.yml"
    file.write_text(json.dumps(case))  # JSON is YAML
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_variables_ask_for_what_exists() -> None:
    """The choices at the top are values of a label that a metric has."""
    for board in BOARDS:
        for variable in board.variables:
            assert variable.name in KNOWN[variable.metric]


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("sum(rate(stratagem_evnts_total[5m]))", ["no metric stratagem_evnts_total"]),
        ('stratagem_events_total{topik="x"}', ["no label topik on stratagem_events_total"]),
        ("sum by (reason) (stratagem_events_total)", ["no label reason on stratagem_events_total"]),
        ("stratagem_live * on (topic) stratagem_lag_seconds", ["no label topic on stratagem_live"]),
        ("stratagem_batch_seconds", ["no metric stratagem_batch_seconds"]),
        ("histogram_quantile(0.5, sum by (le) (rate(stratagem_batch_seconds_bucket[1m])))", []),
        ('scalar(stratagem_live{service="a"}) + sum by (topic) (stratagem_lag_seconds)', []),
    ],
)
def test_what_does_not_exist_is_named(expr: str, said: list[str]) -> None:
    """The look-up finds misspelt metrics and labels, wherever they stand."""
    assert missing(expr, KNOWN) == said


def test_what_is_no_promql_is_refused() -> None:
    """A query that cannot be parsed is not taken for one without names."""
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql.parse("sum by (")
