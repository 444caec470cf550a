"""What a second worker costs: events per CPU second of two agents processes of one group, beside one alone.

Usage: python -m benchmarks.streams_scaling [--json] [--events N] [--runs N]

All workers share one core and Kafka and Redis have the other, so that CPU seconds and not waiting are compared. Workers
are members of their group before any of them begins, with all events there; runs of one and of two are interleaved,
medians shown.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from kafka.errors import KafkaError

from benchmarks.peers.job import Job, Measured
from benchmarks.peers.stage import PARTITIONS, PREFIX, ROOT, Stage, command
from benchmarks.telling import say
from services.clients import admin
from streaming.contracts.topics import SHOP_EVENTS
from streaming.control import read_books

GOAL = 0.85
LIMIT_S = 300.0
POLL_S = 0.1


class Line(msgspec.Struct):
    """The median of runs with so many workers."""

    workers: int
    events_per_cpu_s: float


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams_scaling")
    parser.add_argument("--json", action="store_true", help="one JSON line per number of workers")
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {every[-1]})
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(asked.runs):
        for workers, found in rates.items():
            found.append(_rate(asked, workers, every[0] if len(every) > 1 else None))
            say(f"run {number + 1} of {asked.runs}, {workers} workers: {found[-1]:,.0f} events per CPU second")
    lines = [Line(workers, round(statistics.median(found), 1)) for workers, found in rates.items()]
    for line in lines:
        text = f"{line.workers} workers: {line.events_per_cpu_s:,.0f} events per CPU second"
        print(msgspec.json.encode(line).decode() if asked.json else text)
    say(f"two over one: {lines[1].events_per_cpu_s / lines[0].events_per_cpu_s:.2f} (goal: at least {GOAL})")
    return 0


def _rate(asked: argparse.Namespace, workers: int, core: int | None) -> float:
    """Events per CPU second of all workers together, from their first batch to the last event."""
    with (
        tempfile.TemporaryDirectory(prefix="stratagem-scaling-") as folder,
        Stage(Path(folder), asked.events, asked.seed, 1, core) as stage,
    ):
        job = msgspec.structs.replace(
            stage.job("stratagem", workers), until_told=True, records=asked.events + 1, warm=1
        )
        children = [_start(job) for _ in range(workers)]
        try:
            _wait(lambda: _members(stage, job) == workers, "the group's members", children)
            for child in children:
                child.send_signal(signal.SIGUSR1)
            _wait(lambda: _applied(stage) == asked.events, "the last event", children)
            found = [_stopped(child) for child in children]
        finally:
            for child in children:
                child.kill()
    return sum(each.events for each in found) / sum(each.cpu_s for each in found)


def _start(job: Job) -> subprocess.Popen[str]:
    return subprocess.Popen(command(job), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _stopped(child: subprocess.Popen[str]) -> Measured:
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=LIMIT_S)
    return msgspec.json.decode(said.splitlines()[-1], type=Measured)


def _members(stage: Stage, job: Job) -> int:
    """Members of the group, 0 amid a rebalance."""
    client = admin(stage.settings)
    group = f"{job.group}-agents"
    try:
        found = client.describe_groups([group])[group]
    except KafkaError:  # a broker that has just started has no coordinator yet
        return 0
    finally:
        client.close()
    return len(found["members"]) if found["group_state"] == "Stable" else 0


def _applied(stage: Stage) -> int:
    offsets = read_books(stage.redis, PREFIX).offsets.get(SHOP_EVENTS.name, {})
    return sum(offsets.get(partition, 0) for partition in range(PARTITIONS))


def _wait(met: Callable[[], bool], what: str, children: list[subprocess.Popen[str]]) -> None:
    give_up_s = time.monotonic() + LIMIT_S
    while not met():
        if time.monotonic() > give_up_s or any(child.poll() is not None for child in children):
            raise SystemExit(f"{what} did not come")
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
