"""Workers and updaters forked from one process that has imported torch once; each is the product's own `main`.

A process of its own beside that of the agents (`processes.py`), which are to start without torch.
"""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_SPAWN = multiprocessing.get_context("spawn")
SETTINGS = {
    "worker": ("services.settings_writer", "WriterSettings"),
    "updater": ("services.settings", "UpdaterSettings"),
}
"""Service → where its settings are, as the command has it."""
IMPORTED = ("services.worker", "services.updater", "services.updater_training")


class Nursery:
    """Forks services; ends with all of them."""

    def __init__(self) -> None:
        """Begin to import."""
        self._ours, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def fork(self, service: str, trap: str, environ: dict[str, str], log: Path) -> "Forked":
        """A service with these `STRATAGEM_` variables; `trap` is code that runs before its main."""
        return Forked(self, int(self.ask((service, trap, environ, str(log)))))

    def ask(self, question: object) -> Any:
        """What the nursery answers."""
        self._ours.send(question)
        return self._ours.recv()

    def close(self) -> None:
        """Kill what still runs."""
        self._ours.close()
        self._process.join(30)


class Forked:
    """A forked service, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        """Know its parent."""
        self._nursery, self.pid = nursery, pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._nursery.ask(self.pid)
        return self._code

    def wait(self, timeout: float) -> int:
        """Wait for its end.

        Raises:
            TimeoutExpired: it has not ended.
        """
        give_up_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > give_up_s:
                raise subprocess.TimeoutExpired("service", timeout)
            time.sleep(0.05)
        return code

    def stopped(self) -> bool:
        """Whether it lies still by SIGSTOP."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self.send_signal(signal.SIGKILL)
        self.wait(60)


def _serve(conn: Connection) -> None:
    for name in IMPORTED:
        importlib.import_module(name)
    children: set[int] = set()
    while True:
        try:
            asked = conn.recv()
        except EOFError:
            for child in children:
                os.kill(child, signal.SIGKILL)
            return
        if isinstance(asked, int):
            pid, status = os.waitpid(asked, os.WNOHANG)
            children.discard(pid)
            conn.send(os.waitstatus_to_exitcode(status) if pid else None)
            continue
        child = os.fork()
        if not child:
            conn.close()
            _run(*asked)
        children.add(child)
        conn.send(child)


def _run(service: str, trap: str, environ: dict[str, str], log: str) -> None:
    """Inside the fork: the log takes both outputs, then the trap, then the product's main."""
    from services import settings

    at = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(at, stream.fileno())
    module, name = SETTINGS[service]
    made = settings.load(getattr(importlib.import_module(module), name), environ)
    exec(trap, {"__name__": "trap"})  # noqa: S102 -- a test's own code
    code = importlib.import_module(f"services.{service}").main(made)
    sys.stdout.flush()
    os._exit(code)
