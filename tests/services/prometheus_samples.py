"""A real Prometheus and a real Alertmanager of a test's own, and what it asks them."""

import json
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from services.local.process import ChildProcess
from services.monitoring import DEPLOY, RULES, configured
from tests.services.receiver import HOST, Receiver
from tests.services.up_samples import PATIENCE_S, eventually, free_block


def program(name: str) -> str:
    """Its path; in CI it must be there."""
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"no {name} on PATH: .ci/run installs Debian's prometheus and prometheus-alertmanager")
    return found or pytest.skip(f"no {name} on PATH (Debian: apt-get install prometheus prometheus-alertmanager)")


def fetched(url: str) -> Any:
    """The JSON at an address.

    Raises:
        AssertionError: with the answer's text, when it is an error.
    """
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 -- always http
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.read()!r}") from error


def is_ready(url: str) -> bool:
    """Whether something answers there."""
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=PATIENCE_S):  # noqa: S310 -- the same
            return True
    except OSError:
        return False


def asked(prometheus: str, query: str) -> list[dict[str, Any]]:
    """The series that a query gives."""
    answer = fetched(f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


class Webhook(Receiver):
    """Receives what Alertmanager sends."""

    def __init__(self) -> None:
        """Nothing was sent yet."""
        self.alerts: list[dict[str, Any]] = []
        super().__init__()

    def take(self, _: Message, body: bytes) -> None:
        """Keep its alerts."""
        self.alerts.extend(json.loads(body)["alerts"])


def _alertmanager_configuration(webhook: str) -> str:
    return (
        "route: { receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 1h }\n"
        f"receivers: [{{ name: hook, webhook_configs: [{{ url: '{webhook}' }}] }}]\n"
    )


def hurried(folder: Path, places: Mapping[str, str], alertmanager: str) -> Path:
    """The shipped configuration and rules with scrapes, evaluations and waits of one second; else as they are."""
    rules = folder / "rules"
    rules.mkdir(parents=True)
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (rules / path.name).write_text(re.sub(r"(?m)^(\s+for:) \w+$", r"\1 1s", path.read_text()))
    text = configured((DEPLOY / "prometheus.yml").read_text(), places)
    text = re.sub(r"_interval: \w+", "_interval: 1s", text)
    text = text.replace(json.dumps(str(DEPLOY / RULES)), json.dumps(f"{rules}/*.yml"))
    text = text.replace('"127.0.0.1:9093"', json.dumps(alertmanager))
    config = folder / "prometheus.yml"
    config.write_text(text)
    return config


@contextmanager
def watching(folder: Path, places: Mapping[str, str], webhook: Webhook) -> Iterator[str]:
    """Both run and are ready; the address of Prometheus."""
    first = free_block()
    prometheus, alertmanager = (f"{HOST}:{first + number}" for number in range(2))
    config = hurried(folder, places, alertmanager)
    receivers = folder / "alertmanager.yml"
    receivers.write_text(_alertmanager_configuration(webhook.url))
    commands = {
        "prometheus": {
            "config.file": str(config),
            "storage.tsdb.path": str(folder / "prometheus"),
            "web.listen-address": prometheus,
        },
        "prometheus-alertmanager": {
            "config.file": str(receivers),
            "storage.path": str(folder / "alertmanager"),
            "web.listen-address": alertmanager,
            "cluster.listen-address": "",
        },
    }
    children: list[ChildProcess] = []
    try:
        for name, options in commands.items():
            command = [program(name), *(f"--{option}={value}" for option, value in options.items())]
            children.append(ChildProcess(name, command, log=folder / f"{name}.log"))
        for address in (prometheus, alertmanager):
            eventually(lambda at=address: is_ready(f"http://{at}"), address)  # type: ignore[misc]
        yield f"http://{prometheus}"
    finally:
        for child in children:
            child.stop()
