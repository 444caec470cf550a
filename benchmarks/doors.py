"""A gateway as a process of its own, with a key, for the benchmarks of its doors."""

import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from services.clients import redis_client
from services.gateway_keys import add, issue
from services.health import READY
from services.local.process import ChildProcess
from services.settings_gateway import GatewaySettings

PATIENCE_S = 120.0
RATE_PER_S = 1e7
"""The key's: no benchmark shall wait for it."""


class Door(NamedTuple):
    """A server that listens on loopback."""

    process: ChildProcess
    port: int
    headers: dict[str, str]

    def status(self, path: str) -> int:
        """Of one GET; 0 while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=self.headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def wait(self, path: str, status: int = 200) -> None:
        """Until it answers so.

        Raises:
            ProcessDied: it ended by itself.
            TimeoutError: it did not in time.
        """
        give_up = time.monotonic() + PATIENCE_S
        while self.status(path) != status:
            self.process.check()
            if time.monotonic() > give_up:
                raise TimeoutError(f"{path} of {self.process.name} was not answered with {status}")
            time.sleep(0.1)


@contextmanager
def gateway_door(settings: GatewaySettings, folder: Path, *, core: int | None = None) -> Iterator[Door]:
    """`stratagem gateway` under these settings, ready, with a key of every scope.

    Args:
        folder: of its log.
        core: it is pinned to.
    """
    port, metrics_port = free_port(), free_port()
    issued = issue("bench", ("publish", "read", "operate"), datetime.now(UTC), rate_per_s=RATE_PER_S)
    with redis_client(settings) as client:
        add(client, settings.topic_prefix, issued.key)
    environ = os.environ | {
        "STRATAGEM_HOME": str(settings.home),
        "STRATAGEM_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": settings.redis_url,
        "STRATAGEM_GATEWAY_PORT": str(port),
        "STRATAGEM_METRICS_PORT": str(metrics_port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "services.cli", "gateway"]
    with pinned(core, lambda: ChildProcess("gateway", command, log=folder / "gateway.log", env=environ)) as process:
        Door(process, metrics_port, {}).wait(READY)
        yield Door(process, port, {"Authorization": f"Bearer {issued.text}", "Content-Type": "application/json"})


def pinned(core: int | None, start: Callable[[], ChildProcess]) -> ChildProcess:
    """Start a process on this core; what a thread starts inherits the cores it may use."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        return start()
    finally:
        os.sched_setaffinity(0, before)


def measured_core() -> int | None:
    """A core that nothing else of ours uses; None where this process may use them all."""
    free = sorted(set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0))
    return free[0] if free else None


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
