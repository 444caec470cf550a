"""What each process takes of CPU and memory while all of them work: what `deploy/kubernetes` asks for is rounded up from it.

Usage: python -m benchmarks.pods [--seconds N] [--decisions N] [--events N] [--json]

A whole `stratagem up` in a folder of its own. Its gateway is sent so many events a second in batches of 50 and is asked for so many decisions a
second, each by a customer of their own; what is decided is shown, every third clicked, and closed within seconds, so that the updater learns and
trains. CPU by the kernel's clock for all of the load over the seconds it was meant to last (a machine with other work takes longer), memory as the
most that was resident since the start. It exits with 1 where a call was not answered, or no reward closed.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.doors import RATE_PER_S, cpu_s
from benchmarks.live import CACHE
from benchmarks.peers.traffic import catalog
from benchmarks.telling import say
from services.clients import producer, redis_client, topic_name
from services.endpoints import connected
from services.gateway_keys import add, issue
from services.reading import read_all
from services.settings import Common
from services.up import GATEWAY, GATEWAY_PORT, SERVICES, Supervisor
from streaming.contracts.codec import encode
from streaming.contracts.topics import CATALOG, REWARDS

BATCH, CALLERS = 50, 32
WARM_S, PATIENCE_S = 10.0, 180.0
QUICK = {
    "STRATAGEM_ALLOWED_LATENESS_S": "0", "STRATAGEM_RESPONSE_WINDOW_H": "0.002", "STRATAGEM_HORIZON_H": "0.004",
    "STRATAGEM_DAILY_CAP": "100",
}  # fmt: skip
"""Windows of seconds: as many rewards close as strategies are shown."""
_CATALOG = catalog()


class Taken(msgspec.Struct, frozen=True):
    """One process: CPU seconds per second of the load, and the most memory since its start."""

    name: str
    cores: float
    peak_mb: float


class Found(msgspec.Struct, frozen=True):
    """What was sent and what it took."""

    seconds: float
    events: int
    decisions: int
    answers: dict[str, int]
    rewards: int
    load: float
    processes: list[Taken]


class Shop:
    """Everything that a shop says to one gateway."""

    def __init__(self, url: str, key: str) -> None:
        """Nothing was said."""
        self._client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S)
        self.answers: dict[str, int] = {}
        self.events = self.asked = 0

    def views(self) -> None:
        """A batch of customers who look at products."""
        self.events += BATCH
        lines = [_viewed(f"visitor-{self.events + number}", number) for number in range(BATCH)]
        assert self._client.post("/v1/events", json=lines).json()["accepted"] == BATCH

    def decide(self, number: int) -> None:
        """A decision, and what became of it."""
        body = {"user_id": f"customer-{number}", "kind": "recommendation", "deadline_ms": 5000}
        said = self._client.post("/v1/decide", json=body).json()
        self.answers[said["status"]] = self.answers.get(said["status"], 0) + 1
        if said["status"] == "decided":
            strategy = said["strategy"]["strategy_id"]
            for outcome in ("shown", "clicked")[: 1 + (number % 3 == 0)]:
                answer = self._client.post(f"/v1/strategies/{strategy}/outcome", json={"outcome": outcome})
                assert answer.status_code == httpx.codes.ACCEPTED, answer.text

    def open_loop(self, seconds: float, decisions: float, events: float) -> None:
        """At these rates for so long, whatever is answered when."""
        due = sorted(
            [(number / decisions, self.decide) for number in range(round(decisions * seconds))]
            + [(number * BATCH / events, None) for number in range(round(events * seconds / BATCH))],
            key=lambda each: each[0],
        )
        begun = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as pool:
            told = []
            for at_s, act in due:
                time.sleep(max(0.0, begun + at_s - time.monotonic()))
                self.asked += act is not None
                told.append(pool.submit(self.views) if act is None else pool.submit(act, self.asked))
            for each in told:
                each.result()


def _viewed(user: str, number: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "messageId": f"{user}-{now}", "type": "track", "event": "Product Viewed", "userId": user, "timestamp": now,
        "properties": {"product_id": _CATALOG[number].product_id},
    }  # fmt: skip


def pids(up: Supervisor) -> Mapping[str, int]:
    """Name → process, of the services and of what they depend on; guards are not counted."""
    found = {}
    for pid, line in _below(os.getpid()):
        for name in (*SERVICES, GATEWAY):
            if line[1:] == ["-m", "services.cli", name]:
                found[name] = pid
        if "kafka.Kafka" in line:
            found["kafka"] = pid
        if line and "redis-server" in line[0]:  # it calls itself by its name and its address
            found["redis"] = pid
    assert len(found) == len(SERVICES) + 3, (found, up.metrics_at)
    return found


def _below(parent: int) -> Iterator[tuple[int, list[str]]]:
    """Every process that descends from one, with its command line."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        yield int(child), Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")[:-1]
        yield from _below(int(child))


def peak_mb(pid: int) -> float:
    """The most that was resident, decimal megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1.024e-3 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def measured(folder: Path, seconds: float, decisions: float, events: float) -> Found:
    """One run."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STRATAGEM_")}
    own = {"STRATAGEM_HOME": str(folder), "STRATAGEM_CACHE": str(CACHE), "OMP_NUM_THREADS": "1"}
    with Supervisor(clean | own | QUICK, fresh=True, progress=say, services=(*SERVICES, GATEWAY)) as up:
        settings = connected(Common, up.environ)
        shop = opened(settings, f"http://127.0.0.1:{up.environ[GATEWAY_PORT]}")
        _until_decided(shop)
        shop.open_loop(WARM_S, decisions, events)
        shop.answers.clear()
        processes, load, already, began = pids(up), os.getloadavg()[0], shop.events, time.monotonic()
        before = {name: cpu_s(pid) for name, pid in processes.items()}
        shop.open_loop(seconds, decisions, events)
        took = time.monotonic() - began
        taken = [
            Taken(name, (cpu_s(pid) - before[name]) / seconds, peak_mb(pid)) for name, pid in sorted(processes.items())
        ]
        taken.append(once("topics", up.environ))
        rewards = sum(1 for record in read_all(settings, REWARDS) if record.value)
        return Found(took, shop.events - already, sum(shop.answers.values()), shop.answers, rewards, load, taken)


def once(command: str, environ: Mapping[str, str]) -> Taken:
    """A command that ends by itself: its CPU over its own life, its memory as it was last seen."""
    began, peak = time.monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "services.cli", command], env=dict(environ))
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        with contextlib.suppress(StopIteration):  # one that has ended has no memory any more
            peak = max(peak, peak_mb(process.pid))
        time.sleep(0.01)
    used = cpu_s(process.pid)
    assert process.wait() == 0, f"{command} failed"
    return Taken(command, used / (time.monotonic() - began), peak)


def opened(settings: Common, url: str) -> Shop:
    """A shop whose products are published, with a key."""
    sending = producer(settings)
    for product in _CATALOG:
        sending.send(topic_name(settings, CATALOG), key=product.product_id.encode(), value=encode(product))
    sending.close()
    issued = issue("bench", ("publish", "read"), datetime.now(UTC), rate_per_s=RATE_PER_S)
    with redis_client(settings) as client:
        add(client, settings.topic_prefix, issued.key)
    return Shop(url, issued.text)


def _until_decided(shop: Shop) -> None:
    say("waiting for the first decision")
    give_up = time.monotonic() + PATIENCE_S
    while not shop.answers.get("decided"):
        assert time.monotonic() < give_up, "nothing was decided"
        try:
            shop.asked += 1
            shop.decide(shop.asked)
        except (httpx.TransportError, KeyError):  # it does not listen yet, or Kafka is not followed yet
            time.sleep(0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pods", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--decisions", type=float, default=20.0, help="a second")
    parser.add_argument("--events", type=float, default=500.0, help="a second")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stratagem-pods-") as folder:
        found = measured(Path(folder), asked.seconds, asked.decisions, asked.events)
    if asked.json:
        print(msgspec.json.encode(found).decode())
    else:
        print(
            f"{found.events} events and {found.decisions} decisions ({found.answers}) in {found.seconds:.0f} s,"
            f" {found.rewards} rewards closed; load {found.load:.1f}"
        )
        for each in found.processes:
            print(f"{each.name:8} {each.cores:.2f} cores, {each.peak_mb:.0f} MB at most")
    return int(not found.rewards)


if __name__ == "__main__":
    sys.exit(main())
