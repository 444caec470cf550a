"""Alert rules: each of metrics that exist, with a page, a case in which it fires and one in which it does not."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.prometheus_samples import program
from tests.services.promql import missing, sample_names

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
PAGES = ROOT / "docs" / "runbooks"
HEADINGS = ["## What it means", "## How to confirm", "## What to do"]
KNOWN = sample_names()


def alerts() -> Iterator[dict[str, Any]]:
    """Every rule."""
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def cases() -> Iterator[dict[str, Any]]:
    """What promtool is asked: one per moment at which an alert is looked at."""
    for path in sorted((PROMETHEUS / "tests").glob("*.yml")):
        for case in yaml.safe_load(path.read_text())["tests"]:
            yield from case["alert_rule_test"]


def pages() -> list[Path]:
    """One per alert; beside them lies what the site lists them by."""
    return [path for path in sorted(PAGES.glob("*.md")) if path.stem != "index"]


ALERTS = {alert["alert"]: alert for alert in alerts()}


@pytest.fixture
def promtool() -> str:
    """Debian's, in the package `prometheus`; in CI it must be there."""
    return program("promtool")


def test_names_are_unique_and_ours() -> None:
    """Alertmanager tells alerts apart by name."""
    assert len(list(alerts())) == len(ALERTS)
    assert all(name.startswith("Stratagem") for name in ALERTS)


def test_every_alert_says_what_it_is() -> None:
    """A severity, a summary, and a page that exists."""
    for name, alert in ALERTS.items():
        assert alert["labels"]["severity"] in {"critical", "warning"}, name
        assert alert["annotations"]["summary"], name
        assert alert["annotations"]["runbook"] == f"docs/runbooks/{name}.md"


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    """A page says what the alert means, how to confirm it, and what to do."""
    assert {path.stem for path in pages()} == set(ALERTS)
    for path in pages():
        lines = path.read_text().splitlines()
        assert lines[0] == f"# {path.stem}"
        assert [line for line in lines if line.startswith("## ")] == HEADINGS
        named = set(re.findall(r"Stratagem[A-Z]\w+", path.read_text()))
        assert named <= set(ALERTS), path.name


def test_settings_on_the_pages_exist() -> None:
    """A page names no setting that the table of settings does not have."""
    known = set(re.findall(r"STRATAGEM_[A-Z_]+", (ROOT / "docs" / "settings.md").read_text())) | {"STRATAGEM_CACHE"}
    for path in pages():
        assert set(re.findall(r"STRATAGEM_[A-Z_]+", path.read_text())) <= known, path.name


def test_every_alert_asks_for_what_exists() -> None:
    """Metrics and labels, those that the summary names too."""
    said = [f"{name}: {lack}" for name, alert in ALERTS.items() for lack in missing(alert["expr"], KNOWN)]
    assert said == []
    for name, alert in ALERTS.items():
        for label in re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"]):
            assert re.search(rf"by \([^)]*\b{label}\b", alert["expr"]), name


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """Promtool is asked for both."""
    asked = {(case["alertname"], bool(case["exp_alerts"])) for case in cases()}
    assert asked == {(name, fires) for name in ALERTS for fires in (True, False)}


def test_the_cases_hold(promtool: str) -> None:
    """`promtool test rules` on all of them."""
    files = sorted(str(path) for path in (PROMETHEUS / "tests").glob("*.yml"))
    done = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_one(promtool: str) -> None:
    """Prometheus would start with it, and it finds every rule."""
    config = ROOT / "deploy" / "prometheus.yml"
    done = subprocess.run([promtool, "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(map(int, re.findall(r"(\d+) rules found", done.stdout))) == len(ALERTS)
