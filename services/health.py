"""What a process says of itself over HTTP: whether it lives, whether it is ready to work, and why not."""

import socket
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

HEALTHY, READY = "/-/healthy", "/-/ready"
Start = Callable[[str, list[tuple[str, str]]], Any]


class Health:
    """The state of one process; methods may be called from any thread.

    Args:
        conditions: what readiness needs; each is unmet until it is met.
        patience_s: a loop without a sign of life for longer is taken for dead; None for a process without a loop.
    """

    def __init__(self, *conditions: str, patience_s: float | None = None) -> None:
        """Alive, and not ready."""
        self._unmet = dict.fromkeys(conditions, "starting")
        self._patience_s = patience_s
        self._beat_s = time.monotonic()
        self._stands = ""

    def beat(self) -> None:
        """The loop turns, or waits for a known reason."""
        self._beat_s = time.monotonic()

    def met(self, condition: str) -> None:
        """This holds."""
        self._unmet.pop(condition, None)

    def unmet(self, condition: str, why: str) -> bool:
        """This does not hold (any more); whether that, or the reason, is news."""
        is_news = self._unmet.get(condition) != why
        self._unmet[condition] = why
        return is_news

    def stands(self, why: str) -> None:
        """The work stands still, whatever the loop says: the process is to be started again."""
        self._stands = why

    def illness(self) -> str:
        """Why the process should be started again; empty while it lives."""
        silent_s = time.monotonic() - self._beat_s
        if self._patience_s is not None and silent_s > self._patience_s:
            return f"the loop has not turned for {silent_s:.0f} s"
        return self._stands

    def missing(self) -> list[str]:
        """What readiness lacks, in words; empty when ready."""
        return [f"{name}: {why}" for name, why in sorted(dict(self._unmet).items())]


def application(health: Health, registry: CollectorRegistry) -> Callable[[dict[str, Any], Start], Iterable[bytes]]:
    """The WSGI application: health, readiness, and the metrics at any other path."""
    metrics = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in (HEALTHY, READY):
            found: Iterable[bytes] = metrics(environ, start)
            return found
        why = [health.illness()] if path == HEALTHY and health.illness() else []
        if path == READY:
            why = health.missing()
        start("503 Service Unavailable" if why else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return ["".join(f"{line}\n" for line in why or ["ok"]).encode()]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """A slow scraper must not keep others waiting."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """A scrape every few seconds is no news."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def listen(host: str, port: int, health: Health, registry: CollectorRegistry) -> int:
    """Serve from a thread that ends with the process; returns the port.

    Raises:
        OSError: the port is taken, or the host is not ours.
    """
    server_class = type("_Server6", (_Server,), {"address_family": socket.AF_INET6}) if ":" in host else _Server
    server: WSGIServer = make_server(host, port, application(health, registry), server_class, _Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)
