"""The doors under load: events per core beside the usual FastAPI door, decisions under an open loop, many open streams.

Usage: python -m benchmarks.gateway [events] [decide] [streams] [--json] [--events N] [--rounds N] [--seconds N] [--clients N] [--seed N]

Without a name all three are measured, one after another, each on a Kafka and a Redis of its own. It exits with 1 where an answered event is
not in its topic, a call is not answered, or a stream misses or repeats a strategy; with 2 where something is missing.
"""

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from benchmarks import gateway_decide, gateway_events, gateway_streams
from benchmarks.live import CACHE
from benchmarks.telling import say
from services.local.process import MissingPart
from services.local.stack import LocalStack

GOAL_RATIO = 3.0
GOAL_P99_MS = 500.0
DECISIONS_PER_S = 20.0
NAMES = ("events", "decide", "streams")
Found = gateway_events.Throughput | gateway_decide.Decided | gateway_streams.Streamed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    asked = _asked(arguments)
    status = 0
    try:
        for name in asked.names or NAMES:
            with tempfile.TemporaryDirectory(prefix=f"stratagem-{name}-") as folder:
                for found in _measured(name, Path(folder), asked):
                    print(msgspec.json.encode(found).decode() if asked.json else _told(found), flush=True)
                    status |= isinstance(found, gateway_streams.Streamed) and bool(found.missed + found.repeated)
    except MissingPart as error:
        say(str(error))
        return 2
    except AssertionError as error:
        say(str(error))
        return 1
    return int(status)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--events", type=int, default=60_000, help="of each server in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=60.0, help="of decisions for each deadline, and of streams")
    parser.add_argument("--deadlines", type=int, nargs="+", default=[300, 5000], help="of decisions, milliseconds")
    parser.add_argument("--clients", type=int, default=500, help="with an open stream")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in NAMES]:
        parser.error(f"{unknown[0]} is none of {', '.join(NAMES)}")
    return asked


def _measured(name: str, folder: Path, asked: argparse.Namespace) -> Iterator[Found]:
    if name == "events":
        if importlib.util.find_spec("fastapi") is None:
            raise MissingPart("the peer of events needs the package fastapi: make bench-env")
        yield _events(folder, asked)
    elif name == "decide":
        yield from gateway_decide.measured(folder, DECISIONS_PER_S, asked.seconds, tuple(asked.deadlines), asked.seed)
    else:
        yield gateway_streams.measured(folder, asked.clients, DECISIONS_PER_S, asked.seconds, asked.seed)


def _events(folder: Path, asked: argparse.Namespace) -> gateway_events.Throughput:
    """With everything but the server on the other cores."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, set(sorted(before)[1:]))
    try:
        with LocalStack(folder / "stack", fresh=True, progress=say, cache=CACHE) as stack:
            return gateway_events.measured(stack, folder, asked.events, asked.rounds, asked.seed)
    finally:
        os.sched_setaffinity(0, before)


def _told(found: Found) -> str:
    if isinstance(found, gateway_events.Throughput):
        return (
            f"events in batches of {found.batch}: {found.ours_per_cpu_s:,.0f} per CPU second (the peer {found.peer_per_cpu_s:,.0f}),"
            f" {found.ours_per_s:,.0f} a second ({found.peer_per_s:,.0f}): {found.ratio:.2f} times the peer's"
            f" ({found.lowest:.2f} to {found.highest:.2f}; goal {GOAL_RATIO:.0f}); load {found.load:.1f}"
        )
    if isinstance(found, gateway_decide.Decided):
        return (
            f"decide at {found.rate:.0f} a second, deadline {found.deadline_ms} ms: half within {found.p50_ms:.0f} ms,"
            f" 99 % within {found.p99_ms:.0f} ms (goal {GOAL_P99_MS:.0f}), longest {found.longest_ms:.0f} ms; {found.statuses},"
            f" the worker's own 99 % within {found.decided_p99_ms:.0f} ms; load {found.load:.1f}"
        )
    return (
        f"{found.clients} streams, {found.strategies} strategies: {found.missed} missed, {found.repeated} repeated; half within"
        f" {found.p50_ms:.0f} ms, 99 % within {found.p99_ms:.0f} ms; {found.cpu_ms:.1f} CPU ms of the gateway per strategy;"
        f" load {found.load:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
