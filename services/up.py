"""`stratagem up`: the stack and every service as child processes, started in order, watched, stopped in reverse."""

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from services import endpoints
from services.local.process import ChildProcess, ProcessDied
from services.local.stack import Endpoints, LocalStack
from services.metrics import DEFAULT_PORTS, is_free
from services.monitoring import monitored
from services.settings import Common, SettingError, load
from services.settings_gateway import GatewaySettings

SERVICES = ("agents", "worker", "updater")
GATEWAY = "gateway"
GATEWAY_PORT = "STRATAGEM_GATEWAY_PORT"
CONSOLE_PROCESSES = "STRATAGEM_CONSOLE_PROCESSES"
MAX_RESTARTS = 5
"""A service that ends more often than this within `RESTART_WINDOW_S` is not restarted any more."""
RESTART_WINDOW_S = 60.0
STOP_GRACE_S = 15.0
LAST_PORT = 65535


def port_of(name: str, asked: int) -> int:
    """Where a service's metrics go when `asked` is the setting: there is one setting, and each needs a port of its own."""
    return asked + list(DEFAULT_PORTS).index(name) if asked else 0


def others(usual: int) -> range:
    """Ports to try when the usual one is taken; none that the system gives to outgoing connections."""
    return range(usual + 10, usual + 200, 10)


class Supervisor:
    """Runs the embedded stack (unless the settings name another) and the services; restarts what dies.

    Args:
        environ: the environment for the services; `STRATAGEM_*` in it are their settings.
        services: which are started, in this order.
        fresh: begin with empty data; otherwise the last run's are kept.
        progress: told, in a few words, what is being done.
    """

    endpoints: Endpoints
    reached_ms: int
    """When Kafka and Redis answered, epoch milliseconds."""
    restarts: int
    metrics_at: dict[str, str]
    """Service → `host:port` of its metrics."""

    def __init__(
        self, environ: Mapping[str, str], *, fresh: bool, progress: Callable[[str], None],
        services: Sequence[str] = SERVICES,
    ) -> None:  # fmt: skip
        """Read the settings; nothing starts before the context is entered."""
        self._services = tuple(services)
        self.settings = load(Common, environ)
        self.home = self.settings.home.absolute()
        self.restarts = 0
        self.metrics_at = {}
        self._environ = dict(environ)
        self._fresh = fresh
        self._progress = progress
        self._children: dict[str, ChildProcess] = {}
        self._deaths: dict[str, list[float]] = {}
        self._stack: LocalStack | None = None

    def __enter__(self) -> Self:
        """Start Kafka and Redis, create or check the topics, start the services.

        Raises:
            MissingPart: the machine lacks something that the embedded stack needs.
            ProcessDied: one of them ended while starting.
            SettingError: only one of Kafka and Redis is named by the settings, or a topic or port does not fit.
        """
        with ExitStack() as started:
            self._ports_are_free()
            if GATEWAY in self._services:
                self._environ[GATEWAY_PORT] = str(self._gateway_port())
            self.endpoints = self._reach(started)
            self.reached_ms = round(time.time() * 1000)
            self._environ |= {
                "STRATAGEM_HOME": str(self.home),
                "STRATAGEM_KAFKA_BOOTSTRAP": self.endpoints.kafka_bootstrap,
                "STRATAGEM_REDIS_URL": self.endpoints.redis_url,
            }
            self._make_topics()
            started.callback(self._stop_services)
            for name in self._services:
                self.start(name)
            self._started = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the services, then the stack."""
        self._progress("stopping")
        self._started.close()

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment the services were given, endpoints included."""
        return self._environ

    def start(self, name: str, *arguments: str) -> ChildProcess:
        """Start (or start again) one command of `stratagem` under a guard, with its own log."""
        port = self._port_of(name)
        self.metrics_at[name] = f"{self.settings.metrics_host}:{port or DEFAULT_PORTS[name]}"
        environ = self._environ | {"STRATAGEM_METRICS_PORT": str(port)}
        if name == GATEWAY and not self._environ.get(CONSOLE_PROCESSES):
            environ[CONSOLE_PROCESSES] = ",".join(f"{each}={at}" for each, at in self.metrics_at.items())
        command = [sys.executable, "-m", "services.cli", name, *arguments]
        child = ChildProcess(name, command, log=self.log_of(name), env=environ, grace_s=STOP_GRACE_S)
        self._children[name] = child
        where = f"http://{self.metrics_at[name]}/metrics"
        self._progress(f"{name} started (log: {self.log_of(name)}; metrics: {where})")
        return child

    def _ports_are_free(self) -> None:
        """Ports that were asked for are there before anything starts.

        Raises:
            SettingError: one is taken, or there is no such port.
        """
        asked, host = self.settings.metrics_port, self.settings.metrics_host
        for name in self._services if asked else ():
            port = port_of(name, asked)
            if port > LAST_PORT or not is_free(host, port):
                raise SettingError(f"STRATAGEM_METRICS_PORT={asked}: port {port} of {host}, for {name}, is not free")

    @property
    def gateway_url(self) -> str:
        """Where the HTTP gateway listens."""
        settings = load(GatewaySettings, self._environ)
        return f"http://{settings.gateway_host}:{settings.gateway_port}"

    def _gateway_port(self) -> int:
        """The port that was asked for, else the usual one, else the first free one of a few others.

        Raises:
            SettingError: it was asked for and is taken.
        """
        settings = load(GatewaySettings, self._environ)
        host, port = settings.gateway_host, settings.gateway_port
        if port and is_free(host, port):
            return port
        if port and self._environ.get(GATEWAY_PORT):
            raise SettingError(f"{GATEWAY_PORT}={port}: port {port} of {host} is not free")
        other = next(free for free in others(GatewaySettings().gateway_port) if is_free(host, free))
        if port:
            self._progress(f"port {port} of {host} is taken: the HTTP gateway listens on {other}")
        return other

    def _port_of(self, name: str) -> int:
        """The port that was asked for, else 0 (the service's default), else the first free one of a few others."""
        asked, host = self.settings.metrics_port, self.settings.metrics_host
        usual = DEFAULT_PORTS[name]
        if asked or is_free(host, usual):
            return port_of(name, asked)
        other = next((port for port in others(usual) if is_free(host, port)), 0)
        self._progress(f"port {usual} of {host} is taken: the metrics of {name} are not where Prometheus looks")
        return other

    def log_of(self, name: str) -> Path:
        """The service's log file."""
        return self.home / "logs" / f"{name}.log"

    def check(self) -> None:
        """Raise when the stack died; restart a service that ended, unless it ends again and again.

        Raises:
            ProcessDied: with the last lines of its log.
        """
        if self._stack is not None:
            self._stack.check()
        for name in self._services:
            try:
                self._children[name].check()
            except ProcessDied as death:
                self._again(name, death)

    def _again(self, name: str, death: ProcessDied) -> None:
        now_s = time.monotonic()
        recent = [at for at in self._deaths.get(name, []) if now_s - at < RESTART_WINDOW_S]
        self._deaths[name] = [*recent, now_s]
        if len(recent) >= MAX_RESTARTS:
            raise death
        self.restarts += 1
        self._progress(f"{name} ended with status {death.status}; starting it again (see {self.log_of(name)})")
        self.start(name)

    def _reach(self, started: ExitStack) -> Endpoints:
        settings = self.settings
        if settings.kafka_bootstrap and settings.redis_url:
            return Endpoints(settings.kafka_bootstrap, settings.redis_url)
        if settings.kafka_bootstrap or settings.redis_url:
            message = "set both STRATAGEM_KAFKA_BOOTSTRAP and STRATAGEM_REDIS_URL, or neither for the embedded stack"
            raise SettingError(message)
        cache = Path(self._environ.get("STRATAGEM_CACHE", "") or self.home / "cache")
        self._stack = started.enter_context(
            LocalStack(self.home, fresh=self._fresh, progress=self._progress, cache=cache)
        )
        endpoints.remember(self.home, self._stack.endpoints)
        started.callback(endpoints.forget, self.home)
        return self._stack.endpoints

    def _make_topics(self) -> None:
        from services.topics import CREATED, FITS, ensure_topics

        for line in ensure_topics(load(Common, self._environ)):
            if not line.endswith((CREATED, FITS)):
                self._progress(line)
        self._progress("topics are there")

    def _stop_services(self) -> None:
        for name in reversed(self._children):
            self._children[name].stop()


def run(environ: Mapping[str, str], progress: Callable[[str], None], *, monitoring: bool = False) -> None:
    """Run until interrupted; being told to end (a service manager's way) stops everything in the same order.

    Raises:
        ProcessDied: the stack, or a service too often.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda told, _: sys.exit(128 + told))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it as ignored
    with ExitStack() as started:
        services = (*SERVICES, GATEWAY)
        supervisor = started.enter_context(Supervisor(environ, fresh=False, progress=progress, services=services))
        if monitoring:
            started.enter_context(monitored(supervisor.home, supervisor.metrics_at, progress))
        progress(f"HTTP at {supervisor.gateway_url}")
        if load(GatewaySettings, supervisor.environ).console:
            key = "stratagem keys create NAME --scope operate"
            progress(f"console at {supervisor.gateway_url}/console/ (a key for it: `{key}`)")
        progress(f"Kafka at {supervisor.endpoints.kafka_bootstrap}; Ctrl-C stops everything")
        while True:
            supervisor.check()
            time.sleep(0.5)
