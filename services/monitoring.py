"""Prometheus beside the services of `stratagem up`, with the configuration and the rules that ship."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.local.process import ChildProcess
from services.metrics import DEFAULT_PORTS, is_free

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = "prometheus/rules/*.yml"
HOST, PORT = "127.0.0.1", 9090
GRACE_S = 10.0


def configured(text: str, places: Mapping[str, str]) -> str:
    """The shipped configuration, for services at other places than the usual ones.

    Args:
        text: of `deploy/prometheus.yml`.
        places: service → `host:port` of its metrics; one that is not named is left where it usually is.
    """
    for service, usual in DEFAULT_PORTS.items():
        text = text.replace(f'"127.0.0.1:{usual}"', f'"{places.get(service, f"127.0.0.1:{usual}")}"')
    return text.replace(f"[{RULES}]", json.dumps([str(DEPLOY / RULES)]))


@contextmanager
def monitored(home: Path, places: Mapping[str, str], progress: Callable[[str], None]) -> Iterator[ChildProcess | None]:
    """A Prometheus that keeps its data below `home`; None, and why, where there is none to start."""
    program = shutil.which("prometheus")
    if program is None:
        progress("no prometheus on PATH (Debian: apt-get install prometheus): going on without monitoring")
        yield None
        return
    port = next((port for port in (PORT, *range(PORT + 100, PORT + 1000, 100)) if is_free(HOST, port)), 0)
    folder = home / "monitoring"
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(configured((DEPLOY / "prometheus.yml").read_text(), places))
    options = {"config.file": config, "storage.tsdb.path": folder / "data", "web.listen-address": f"{HOST}:{port}"}
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    child = ChildProcess("prometheus", command, log=home / "logs" / "prometheus.log", grace_s=GRACE_S)
    progress(f"prometheus started on http://{HOST}:{port} (log: {child.log})")
    try:
        yield child
    finally:
        child.stop()
