"""Dashboards: the committed JSON is what the code makes, and asks for nothing that no service exposes."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser as promql
import pytest
from scipy.special import stdtrit

from services.console.arms import Sums
from services.dashboards.business import FINALS, LEAST_GROUPS, T_95, lift
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


def in_groups(groups: int, rng: np.random.Generator) -> Sums:
    """What an arm's customers brought: few strategies or many, in some of the groups."""
    made = Sums()
    for group in range(groups):
        for _ in range(rng.integers(1, 30)):
            made.add(group, 1, float(rng.normal(1.0, 2.0) + group % 3))
    return made


def variance_of(sums: Sums) -> float:
    """Of an arm's mean, as the console has it."""
    found = sums.interval()
    assert found.high is not None
    half = (found.high - found.mean) / float(stdtrit(np.count_nonzero(sums.counts) - 1, 0.975))
    return half**2


def lift_tests(arms: dict[str, Sums], kind: str, by: str) -> dict[str, Any]:
    """Series of these arms, and what a lift over the random one must be: none where an arm has too few groups."""
    series = [
        {"series": f'{metric}{{kind="{kind}",arm="{arm}",group="{group}"}}', "values": str(values[group])}
        for arm, sums in arms.items()
        for metric, values in ((FINALS, sums.counts), ("stratagem_reward_sum", sums.totals))
        for group in np.flatnonzero(sums.counts)
    ]
    named = {arm: f'{{arm="{arm}"}}' for arm in arms} if by == "arm" else {"fused": f'{{kind="{kind}"}}'}
    means = {arm: sums.interval().mean - arms["random"].interval().mean for arm, sums in arms.items()}
    widths = {arm: T_95 * (variance_of(sums) + variance_of(arms["random"])) ** 0.5 for arm, sums in arms.items()}
    wanted = [
        [
            {"labels": named[arm], "value": means[arm] + side * widths[arm]}
            for arm in named
            if not side or np.count_nonzero(arms[arm].counts) >= LEAST_GROUPS
        ]
        for side in (0, -1, 1)
    ]
    asked = lift("stratagem_reward_sum", "random", by)
    tests = [
        {
            "expr": f"round({filled_in(expr)}, 1e-6)",
            "eval_time": "0m",
            "exp_samples": [rounded(each) for each in samples],
        }
        for (expr, _), samples in zip(asked, wanted, strict=True)
    ]
    return {"input_series": series, "promql_expr_test": tests}


def rounded(sample: dict[str, Any]) -> dict[str, Any]:
    """As the query rounds: promtool compares exactly."""
    return {**sample, "value": round(sample["value"] * 1e6) / 1e6}


@pytest.mark.parametrize("by", ["arm", "kind"])
def test_a_lift_has_the_interval_of_two_means_of_customers(tmp_path: Path, promtool: str, by: str) -> None:
    """By Prometheus' own arithmetic the console's variances, of which no customer is two; of too few groups no interval."""
    rng = np.random.default_rng(7)
    arms = {arm: in_groups(groups, rng) for arm, groups in (("fused", 32), ("random", 30), ("lm", LEAST_GROUPS - 1))}
    file = tmp_path / "lift.yml"
    file.write_text(json.dumps({"evaluation_interval": "1m", "tests": [lift_tests(arms, "ad", by)]}))  # JSON is YAML
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
