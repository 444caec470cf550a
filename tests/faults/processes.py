"""Agents processes forked from one that has imported everything: a restart after a kill costs no import.

They are real processes with the product's own `main`, and what a test wants to break in them is code that runs before.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["services.agents", "services.settings", __name__])


class Agents:
    """One agents process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, trap: str, environ: dict[str, str], log: Path) -> None:
        """Start it."""
        self._process: ForkServerProcess = _FORKS.Process(target=_run, args=(trap, environ, str(log)), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: it has not ended.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("agents", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


def _run(trap: str, environ: dict[str, str], log: str) -> None:
    """Inside the fork: the log takes both outputs, then the trap, then the product's main."""
    threading.Thread(target=_follow, daemon=True).start()
    at = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(at, stream.fileno())
    for name in [name for name in os.environ if name.startswith("STRATAGEM_")]:
        del os.environ[name]
    os.environ.update(environ)
    from services.agents import main
    from services.settings import AgentsSettings, load

    exec(trap, {"__name__": "trap"})  # noqa: S102 -- a test's own code
    sys.exit(main(load(AgentsSettings, os.environ)))


def _follow() -> None:
    """End with the tests, however they end."""
    tests = multiprocessing.parent_process()
    assert tests is not None
    tests.join()
    os.kill(os.getpid(), signal.SIGKILL)
