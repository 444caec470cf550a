"""A child process with its own log, which cannot outlive us and whose death is noticed at once."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

GUARD = Path(__file__).with_name("guard.py")
TAIL_LINES = 20  # enough for the head of a Java stack trace
TAIL_BYTES = 16_384  # read from the end of a log that may be large
STOP_MARGIN_S = 5.0  # beyond the grace period, before the guard itself is killed


class MissingPart(Exception):
    """Something that the machine must have is not there; the message is the one line to show."""


class ProcessDied(Exception):
    """A child process ended without being asked to.

    Attributes:
        name: What it was ("kafka", "redis"...).
        status: Its exit status; 128 + n if signal n ended it.
        tail: The last lines of its log.
    """

    def __init__(self, name: str, status: int, log: Path, tail: str) -> None:
        """Build the message from the facts, the log's last lines included."""
        super().__init__(f"{name} died (exit status {status}); the last lines of {log}:\n{tail}")
        self.name = name
        self.status = status
        self.tail = tail


class ChildProcess:
    """One running command, under a guard (see `services.local.guard`).

    May be started from any thread. Usable as a context manager, which stops it.

    Attributes:
        name: Used in messages.
        pid: Process id of the command itself, not of the guard.
        log: Where its standard output and error go, appended.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        keep_open: Sequence[int] = (),
    ) -> None:
        """Start the command.

        Args:
            name: Used in messages.
            argv: Program and arguments.
            log: Its log; folders are created.
            env: Its whole environment; ours if `None`.
            grace_s: Seconds between asking it to end and killing it.
            keep_open: File descriptors that the guard (not the command) holds as long as the command lives: locks.

        Raises:
            ProcessDied: If it cannot be started at all.
        """
        self.name = name
        self.log = log
        self._grace_s = grace_s
        self._stopped = False
        log.parent.mkdir(parents=True, exist_ok=True)
        guard = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), str(grace_s)]
        with log.open("ab") as log_file:
            self._guard = subprocess.Popen(
                [*guard, *(os.fspath(part) for part in argv)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=None if env is None else dict(env),
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone; we stop it in our order
                pass_fds=keep_open,
            )
        try:
            self.pid = self._read_pid()
        except ProcessDied:
            self.stop()
            raise

    def _read_pid(self) -> int:
        assert self._guard.stdout is not None
        with self._guard.stdout as answer:
            word, _, rest = answer.readline().decode(errors="replace").strip().partition(" ")
        if word == "pid":
            return int(rest)
        raise ProcessDied(self.name, self._guard.wait(), self.log, rest or self.tail())

    def check(self) -> None:
        """Raise `ProcessDied`, with the log's last lines, if it ended without being asked to."""
        status = self._guard.poll()
        if status is not None and not self._stopped:
            raise ProcessDied(self.name, status, self.log, self.tail())

    def alive(self) -> bool:
        """Tell whether it runs."""
        return self._guard.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Return its exit status as soon as it ends, or `None` after `timeout_s` seconds."""
        try:
            return self._guard.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of its log."""
        with self.log.open("rb") as log_file:
            size_bytes = log_file.seek(0, os.SEEK_END)
            log_file.seek(max(0, size_bytes - TAIL_BYTES))
            text = log_file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """End it at once, as a power cut would; `check` then says that it died. Harmless when it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._guard.wait()

    def stop(self) -> None:
        """Ask it to end, kill what is left after the grace period, and wait for that. Harmless when it has ended."""
        self._stopped = True
        self._guard.terminate()
        try:
            self._guard.wait(self._grace_s + STOP_MARGIN_S)
        except subprocess.TimeoutExpired:
            self._guard.kill()  # its command dies with it
            self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
