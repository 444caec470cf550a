"""A real Prometheus and Alertmanager beside real services: queries are answered, and an alert reaches a webhook."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import promql_parser as promql
import pytest

from services.clients import producer, redis_client, topic_name
from services.metrics import DEFAULT_PORTS
from services.monitoring import DEPLOY, configured, monitored
from services.reading import read_all
from services.up import SERVICES
from streaming.contracts.topics import REQUESTS, SHOP_EVENTS
from tests.deploy.manifests import kinds
from tests.deploy.test_alerts import ALERTS
from tests.services.prometheus_samples import Webhook, asked, fetched, program, watching
from tests.services.promql import below, filled_in
from tests.services.receiver import HOST
from tests.services.test_dashboards import queries
from tests.services.test_up import QUICK, small_run
from tests.services.up_samples import Up, event, eventually, free_block, metrics_urls, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
WITHOUT_DATA = {
    "stratagem_adapters_refused_total": "every adapter is sound",
    "stratagem_drifts_total": "nothing drifts",
    "stratagem_gate_number": "the gate's first decision rests on no numbers",
    "stratagem_gateway_events_total": "nobody calls the gateway",
    "stratagem_gateway_request_seconds_bucket": "nobody calls the gateway",
    "stratagem_gateway_requests_total": "nobody calls the gateway",
    "stratagem_identity_conflicts_total": "no two customers claim one id",
    "stratagem_late_strategies_total": "the deadline is ten minutes",
    "stratagem_mispartitioned_total": "the publisher hashes as we do",
    "stratagem_refused_writes_total": "one owner of each row",
    "stratagem_replays_skipped_total": "nothing is read twice",
    "stratagem_rewinds_total": "Redis stays as it is",
    "stratagem_trial_customers": "no trial stands",
    "stratagem_trial_difference": "no trial stands",
    "stratagem_trial_harm": "no trial stands",
    "stratagem_unbooked_outcomes_total": "there is no order",
    "stratagem_unmatched_reversals_total": "there is no refund",
    "stratagem_writer_texts_total": "no text comes from elsewhere",
}
"""Metric → why a run of one customer need not have a series of it."""
LOGS = {"LOG_FORMAT": "json", "LOG_ITEMS": "true"}
COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, stratagem_home: Path) -> Iterator[Up]:
    """`up --monitoring` after a small run."""
    program("prometheus")
    program("prometheus-alertmanager")
    home = tmp_path_factory.mktemp("monitored") / "home"
    begun = Up(home, stratagem_home / "cache", METRICS_PORT=str(free_block()), **QUICK, **LOGS)
    with running(begun, "--monitoring"):
        small_run(begun)
        yield begun


@pytest.fixture(scope="module")
def webhook() -> Iterator[Webhook]:
    """Where alerts arrive."""
    hook = Webhook()
    yield hook
    hook.close()


@pytest.fixture(scope="module")
def prometheus(up: Up, webhook: Webhook, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hurried Prometheus with an Alertmanager, after some scrapes of every service of `up`."""
    places = {name: url.split("/")[2] for name, url in metrics_urls(up.said).items()}
    with watching(tmp_path_factory.mktemp("watching"), places, webhook) as address:
        found = f'count(count_over_time(up{{service=~"{"|".join(SERVICES)}"}}[1m]) >= 5)'
        eventually(lambda: asked(address, found) and asked(address, found)[0]["value"][1] == str(len(SERVICES)), found)
        yield address


def reason(prometheus: str, query: str) -> str:
    """Why a query gives no series, in words; empty when there is no reason."""
    nodes = list(below(promql.parse(query)))
    for node in nodes:
        if isinstance(node, promql.VectorSelector) and not asked(prometheus, f"last_over_time({node.name}[5m])"):
            return f"{node.name}: {WITHOUT_DATA[node.name]}" if node.name in WITHOUT_DATA else ""
    for node in nodes:
        if isinstance(node, promql.VectorSelector) and not asked(prometheus, node.prettify()):
            return f"{node.prettify()}: other values of its labels alone"
    compares = any(isinstance(node, promql.BinaryExpr) and str(node.op) in COMPARISONS for node in nodes)
    return "no series is beyond the bound" if compares else ""


def test_up_starts_a_prometheus_that_finds_every_service(up: Up) -> None:
    """The one that `up --monitoring` started scrapes each service where it is, and has read every rule."""
    said = up.wait_for("prometheus started on ")
    address = said.split("prometheus started on ")[1].split()[0]

    def healthy() -> set[str]:
        targets = fetched(f"{address}/api/v1/targets")["data"]["activeTargets"]
        return {each["labels"]["service"] for each in targets if each["health"] == "up"}

    eventually(lambda: set(SERVICES) <= healthy(), "every service scraped")
    groups = fetched(f"{address}/api/v1/rules")["data"]["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} == set(ALERTS)


def test_every_query_is_answered(prometheus: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of dashboards and alerts, without an error; those that give no series are listed with the reason."""
    asks = {f"{file}, {title} ({place})": filled_in(expr) for place, (file, title, expr, _) in enumerate(queries())}
    asks |= {name: alert["expr"] for name, alert in ALERTS.items()}

    def unexplained() -> list[str]:
        empty.clear()
        empty.update({name: reason(prometheus, q) for name, q in asks.items() if not asked(prometheus, q)})
        return [f"{name}: {asks[name]}" for name, why in empty.items() if not why]

    assert set(WITHOUT_DATA) <= {name for query in asks.values() for name in re.findall(r"\w+", query)}
    empty: dict[str, str] = {}
    eventually(lambda: not unexplained() or None, "data, or a reason for none, of every query")
    listed = "".join(f"\n  {name}: {why}" for name, why in sorted(empty.items()))
    with capsys.disabled():
        sys.stderr.write(f"\nqueries without data in a run of one customer:{listed}\n")
    assert len(empty) < len(asks) / 2


def test_a_stalled_agents_process_reaches_the_webhook(prometheus: str, up: Up, webhook: Webhook) -> None:
    """Stopped as a hung process is: the scrape fails, the rule fires, Alertmanager tells; and tells when it is over."""
    pid = up.pid_of("agents")

    def told(status: str) -> bool:
        return any(
            (each["labels"]["alertname"], each["labels"].get("service"), each["status"])
            == ("StratagemServiceDown", "agents", status)
            for each in webhook.alerts
        )

    eventually(lambda: asked(prometheus, 'up{service="agents"} == 1'), "a scrape in time")
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: told("firing"), "the alert")
    finally:
        os.kill(pid, signal.SIGCONT)
    (fired,) = [
        each for each in webhook.alerts if each["labels"].get("service") == "agents" and each["status"] == "firing"
    ][:1]
    assert fired["annotations"]["runbook"] == "docs/runbooks/StratagemServiceDown.md"
    eventually(lambda: told("resolved"), "that it is over")


def above(prometheus: str, scaler: str) -> bool:
    """Whether a scaler's query is beyond its threshold, as KEDA would find it."""
    (trigger,) = kinds("components/scaling", "ScaledObject")[scaler]["spec"]["triggers"]
    found = asked(prometheus, trigger["metadata"]["query"])
    return bool(found) and float(found[0]["value"][1]) > float(trigger["metadata"]["threshold"])


def test_each_scaler_crosses_its_threshold(prometheus: str, up: Up) -> None:
    """While Redis hangs, an event and a request wait: both queries go beyond, and come back once it answers."""
    request = next(record for record in read_all(up.settings, REQUESTS) if record.value)
    with redis_client(up.settings) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        sending = producer(up.settings)
        now = event("Product Viewed", "customer-1", product_id="tea-1").encode()
        sending.send(topic_name(up.settings, SHOP_EVENTS), now, key=b"customer-1")
        sending.send(topic_name(up.settings, REQUESTS), request.value, key=request.key)  # its answer is stored already
        sending.close()
        for name in ("agents", "worker"):
            eventually(partial(above, prometheus, name), f"the scaler of {name} to ask for more")
    finally:
        os.kill(pid, signal.SIGCONT)
    for name in ("agents", "worker"):
        eventually(lambda name=name: not above(prometheus, name), f"the scaler of {name} to be content")  # type: ignore[misc]


def logged(up: Up, service: str, message: str = "") -> list[dict[str, str]]:
    """Whole lines of a service's log; what the interpreter itself writes to standard error is none of ours."""
    whole = (Path(up.environ["STRATAGEM_HOME"]) / "logs" / f"{service}.log").read_bytes().rpartition(b"\n")[0]
    lines = [msgspec.json.decode(line) for line in whole.splitlines() if line.startswith(b"{")]
    return [line for line in lines if message in ("", line["message"])]


def test_logs_tell_one_story_without_saying_of_whom(up: Up) -> None:
    """An event is followed to its reward by ids, over three services; the customers' names stand nowhere."""

    def story() -> list[tuple[str, ...]]:
        published = logged(up, "agents", "published")
        asked_for, paid = ({line.get(name) for line in published} for name in ("request_id", "reward_id"))
        return [
            (answered["event_id"], answered["request_id"], answered["strategy_id"], learned["reward_id"])
            for answered in logged(up, "worker", "answered")
            for learned in logged(up, "updater", "learned")
            if learned["strategy_id"] == answered["strategy_id"]
            and learned["request_id"] == answered["request_id"]
            and answered["request_id"] in asked_for
            and learned["reward_id"] in paid
        ]

    eventually(story, "a strategy from its event to its reward")
    for name in SERVICES:
        lines = logged(up, name)
        assert {line["service"] for line in lines} == {name}
        said = [value for line in lines for field, value in line.items() if field != "event_id"]
        assert not [value for value in said if "customer-1" in value]


def test_without_prometheus_up_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what is missing, and starts nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    with monitored(tmp_path, {}, said.append) as child:
        assert child is None
    assert said == ["no prometheus on PATH (Debian: apt-get install prometheus): going on without monitoring"]


def test_the_configuration_follows_the_services() -> None:
    """A service that is elsewhere is scraped there; the others stay, and rules are found from anywhere."""
    text = configured((DEPLOY / "prometheus.yml").read_text(), {"worker": f"{HOST}:20001"})
    assert f'"{HOST}:20001"' in text
    assert f'"{HOST}:{DEFAULT_PORTS["worker"]}"' not in text
    assert f'"{HOST}:{DEFAULT_PORTS["agents"]}"' in text
    assert f'["{DEPLOY}/prometheus/rules/*.yml"]' in text
