"""A command at a real pseudo-terminal: what it shows is read, keys are pressed, and it may be killed."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_WAIT_S = 120
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`stratagem` with some words, at a terminal of its own."""

    def __init__(self, *words: object) -> None:
        """Start it."""
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *map(str, words)],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "160", "LINES": "50"},
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self.shown = ""

    def until(self, wanted: str) -> str:
        """Read until a text stands there; what came before it is not looked at again. Without colours and the like."""
        deadline = time.monotonic() + LONGEST_WAIT_S
        while wanted not in self.shown:
            more = self._read()
            if more is None or time.monotonic() > deadline:
                raise AssertionError(f"{wanted!r} was never shown, but {self.shown[-2_000:]!r}")
            self.shown += more
        before, _, self.shown = self.shown.partition(wanted)
        return before + wanted

    def press(self, keys: str) -> None:
        """Press keys, each once the command waits for one: what is pressed before is thrown away, as answers to nothing that was seen."""
        for key in keys:
            deadline = time.monotonic() + LONGEST_WAIT_S
            while termios.tcgetattr(self.master)[3] & termios.ICANON:
                assert time.monotonic() < deadline, "it never waited for a key"
                time.sleep(0.005)
            os.write(self.master, key.encode())
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self.master)

    def ended(self) -> tuple[int, str]:
        """Wait for its end: its code, and all it showed since the last `until`."""
        while (more := self._read()) is not None:
            self.shown += more
        code = self.process.wait(LONGEST_WAIT_S)
        os.close(self.master)
        return code, self.shown

    def _read(self) -> str | None:
        """What was shown meanwhile; none when the other end is closed."""
        ready, _, _ = select.select([self.master], [], [], 1.0)
        if not ready:
            return ""
        try:
            found = os.read(self.master, 65_536)
        except OSError:  # Linux: the last process has closed the terminal
            return None
        return CONTROL.sub("", found.decode(errors="replace")).replace("\r", "") if found else None
