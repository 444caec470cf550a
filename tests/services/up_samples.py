"""A real `stratagem up` in a process of its own, and the other commands beside it, as a user runs them."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from services.endpoints import connected
from services.metrics import DEFAULT_PORTS, is_free
from services.reading import read_all
from services.settings import Common
from streaming.contracts.topics import TopicSpec

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "services.cli"]
PATIENCE_S = 120.0
"""Bound of every wait; nothing is asserted of it."""
T = TypeVar("T")


def free_block() -> int:
    """The first of as many free ports in a row as there are services; outside those of outgoing connections."""
    while True:
        first = random.randrange(20_000, 30_000, 10)
        if all(is_free("127.0.0.1", first + number) for number in range(len(DEFAULT_PORTS))):
            return first


def eventually(look: Callable[[], T], what: str) -> T:
    """What `look` finds once it finds something."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < give_up_s, f"{what}: still {found!r}"
        time.sleep(0.2)
    return found


def event(name: str, user: str, **properties: object) -> str:
    """An event that happens now, as a line."""
    now = datetime.now(UTC).isoformat()
    shape = {"messageId": f"{name}-{user}-{now}", "type": "track", "event": name, "userId": user, "timestamp": now}
    return json.dumps({**shape, "properties": properties})


class Up:
    """`stratagem up` with a home of its own; may be ended and begun again."""

    def __init__(self, home: Path, cache: Path, **settings: str) -> None:
        """Only remember; `settings` are given without their prefix."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STRATAGEM_")}
        own = {"HOME": str(home), "CACHE": str(cache), **settings}
        self.environ = {**clean, "OMP_NUM_THREADS": "1", **{f"STRATAGEM_{name}": each for name, each in own.items()}}
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._home = home

    def begin(self, *options: str) -> None:
        """Start, and return when it says that it runs."""
        self.said = []
        self._process = subprocess.Popen(
            [*COMMAND, "up", *options], cwd=ROOT, env=self.environ, stderr=subprocess.PIPE, text=True
        )
        listening = threading.Thread(target=self._listen, args=(self._process,), daemon=True)
        listening.start()
        self.wait_for("Ctrl-C")

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        self.said.extend(process.stderr)  # line by line, until it ends

    def wait_for(self, text: str) -> str:
        """The first line that holds this text."""

        def look() -> str:
            assert self._process is not None
            found = next((line for line in list(self.said) if text in line), "")
            assert found or self._process.poll() is None, "".join(self.said)
            return found

        return eventually(look, text)

    def end(self) -> int:
        """Ctrl-C; its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(PATIENCE_S)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def command(self, *arguments: str, text: str = "") -> str:
        """Standard output of another command beside it, which must succeed."""
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=ROOT, env=self.environ, input=text, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
        return done.stdout

    def processes(self) -> dict[int, list[str]]:
        """Process id → command line of everything that was started for this home, guards included."""
        return dict(_holding(f"STRATAGEM_HOME={self._home}"))

    def pid_of(self, service: str) -> int:
        """The service itself, not its guard."""
        (pid,) = (pid for pid, line in self.processes().items() if line[1:] == ["-m", "services.cli", service])
        return pid

    @property
    def settings(self) -> Common:
        """As the commands beside it have them."""
        return connected(Common, self.environ)


def _holding(variable: str) -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").iterdir():
        if not path.name.isdecimal():
            continue
        try:
            if variable.encode() in (path / "environ").read_bytes().split(b"\0"):
                yield int(path.name), (path / "cmdline").read_bytes().decode().split("\0")[:-1]
        except OSError:  # it ended meanwhile, or is not ours
            continue


@contextmanager
def running(up: Up, *options: str) -> Iterator[Up]:
    """Begun, and ended whatever happens."""
    up.begin(*options)
    try:
        yield up
    finally:
        if up.processes():
            up.end()


def values(up: Up, topic: TopicSpec, **fields: object) -> list[dict[str, Any]]:
    """The JSON values of a topic that have these fields."""
    found = [msgspec.json.decode(record.value) for record in read_all(up.settings, topic) if record.value]
    return [each for each in found if all(each.get(key) == value for key, value in fields.items())]


def metrics_urls(said: Iterable[str]) -> dict[str, str]:
    """Service → where `up` said that its metrics are."""
    found = (re.search(r"(\w+) started .*metrics: (http://\S+/metrics)\)", line) for line in said)
    return {match[1]: match[2] for match in found if match}


def scraped(url: str) -> Mapping[str, list[tuple[Mapping[str, str], float]]]:
    """Family → samples (labels, value), those that only tell when a series began apart; read by Prometheus' own parser."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:  # noqa: S310 -- always http
        text = response.read().decode()
    return {
        family.name: [(each.labels, each.value) for each in family.samples if not each.name.endswith("_created")]
        for family in text_string_to_metric_families(text)
    }
