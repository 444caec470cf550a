"""Asks each process how it is: health, readiness, metrics. Only while somebody looks, and once for all who do."""

import asyncio
import http.client
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from services.console.figures import Figure, Reading, Samples, figures
from services.health import HEALTHY, READY
from services.settings_common import SettingError

LOOK_EVERY_S = 2.0
_TIMEOUT_S = 2.0
_OVER_LOOKS = 30
"""Rates and latencies are over about a minute, so that a number does not jump."""
_STALE_S = 120.0
"""Readings that are older say nothing of now."""
_MAX_BYTES = 8 * 1024 * 1024
WANTED = (
    "stratagem_events_total", "stratagem_requests_total", "stratagem_strategies_total", "stratagem_suppressions_total",
    "stratagem_rewards_total", "stratagem_dead_letters_total", "stratagem_gateway_requests_total",
    "stratagem_request_to_strategy_seconds", "stratagem_lag_seconds", "stratagem_late_strategies_total",
    "stratagem_queued_records", "stratagem_trial_", "stratagem_served_share",
)  # fmt: skip
"""What the metrics' names begin with that are read at all."""

State = Literal["ready", "not ready", "ill", "unreachable"]


class Process(NamedTuple):
    """One process as it says of itself."""

    name: str
    address: str
    state: State
    why: str


class Now(NamedTuple):
    """Everything that the first page shows."""

    processes: list[Process]
    figures: list[Figure]
    reading: Reading


def addresses(setting: str) -> dict[str, str]:
    """`name=host:port,...` by name.

    Raises:
        SettingError: it is not of this form.
    """
    found: dict[str, str] = {}
    for part in filter(None, (each.strip() for each in setting.split(","))):
        name, _, address = part.partition("=")
        host, _, port = address.rpartition(":")
        if not name or not host or not port.isdecimal():
            raise SettingError(f"STRATAGEM_CONSOLE_PROCESSES={setting!r}: {part!r}: wanted name=host:port")
        found[name] = address
    return found


class Watching:
    """The processes, looked at again when the last look is over two seconds old."""

    def __init__(self, processes: Mapping[str, str]) -> None:
        """Nothing is asked yet."""
        self._addresses = dict(processes)
        self._threads = ThreadPoolExecutor(max(1, len(processes)), "looking")
        self._looks: deque[Reading] = deque(maxlen=_OVER_LOOKS)
        self._looking = asyncio.Lock()
        self._now = Now([], [], Reading(0.0, {}))

    async def now(self) -> Now:
        """How things are."""
        async with self._looking:
            if time.monotonic() - self._now.reading.at_s > LOOK_EVERY_S * 0.9 or not self._now.processes:
                await self._look()
            return self._now

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        asked = [
            loop.run_in_executor(self._threads, _asked, name, address) for name, address in self._addresses.items()
        ]
        answers = await asyncio.gather(*asked)
        at_s = time.monotonic()
        while self._looks and at_s - self._looks[0].at_s > _STALE_S:
            self._looks.popleft()
        reading = Reading(at_s, {process.name: samples for process, samples in answers if samples})
        self._looks.append(reading)
        self._now = Now([process for process, _ in answers], figures(self._looks[0], reading), reading)

    def close(self) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _asked(name: str, address: str) -> tuple[Process, Samples]:
    """How one process is, and its metrics; a process that does not answer is one that is not there."""
    try:
        for path, state in ((HEALTHY, "ill"), (READY, "not ready")):
            status, text = _got(address, path)
            if status != http.HTTPStatus.OK:
                return Process(name, address, state, text.strip()), _samples(_got(address, "/metrics")[1])  # type: ignore[arg-type]  # one of the two states
        return Process(name, address, "ready", ""), _samples(_got(address, "/metrics")[1])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Process(name, address, "unreachable", str(error) or type(error).__name__), {}


def _got(address: str, path: str) -> tuple[int, str]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MAX_BYTES).decode("utf-8", "replace")
    finally:
        connection.close()


def _samples(text: str) -> Samples:
    """The wanted samples by name; the others are not even parsed."""
    lines = (line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(WANTED))
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found
