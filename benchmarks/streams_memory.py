"""How much memory the agents and Redis need: resident memory over a long stream, bytes per customer in Redis.

Usage: python -m benchmarks.streams_memory [--json]                        a stream of 300,000 events, minutes
       python -m benchmarks.streams_memory --events 5000000 --customers 500000 --cached 100000      all of it

The agents' cache is scaled with the customers, so that the short form fills it as the long one does: what grows once
it is full would be a leak.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.peers.stage import PARTITIONS, PREFIX, ROOT, Stage, command
from benchmarks.telling import say
from streaming.contracts.topics import SHOP_EVENTS
from streaming.control import bucket_count, read_books
from streaming.keys import BucketKeys

SAMPLE_S = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
APART = ("open", "outbox")
"""Keys of a bucket that are no part of the customers' rows and indexes."""


class Memory(msgspec.Struct):
    """What was found; shares of the stream are by applied events."""

    events: int
    customers: int
    cached: int
    resident_mb_at_half: float
    resident_mb_at_end: float
    growth_after_half: float
    row_bytes: float
    redis_bytes_per_customer: float
    redis_open_bytes_per_customer: float


def main() -> int:
    """Run, sample, print."""
    asked = _asked()
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {every[-1]})
    core = every[0] if len(every) > 1 else None
    with tempfile.TemporaryDirectory(prefix="stratagem-memory-") as folder:
        say(f"publishing {asked.events:,} events of {asked.customers:,} customers")
        with Stage(Path(folder), asked.events, asked.seed, 1, core, asked.customers) as stage:
            samples = _watched(stage, asked)
            found = _found(stage, asked, samples)
    print(msgspec.json.encode(found).decode() if asked.json else _told(found))
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams_memory")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--customers", type=int, default=30_000)
    parser.add_argument("--cached", type=int, default=0, help="customers in the agents' memory; 0: a fifth of all")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    asked.cached = asked.cached or asked.customers // 5
    return asked


def _watched(stage: Stage, asked: argparse.Namespace) -> list[tuple[int, float]]:
    """Applied events and resident megabytes, twice a second until all are applied."""
    job = msgspec.structs.replace(stage.job("stratagem", 0), cached=asked.cached)
    samples: list[tuple[int, float]] = []
    told = 0
    with subprocess.Popen(command(job), cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        while child.poll() is None:
            applied = _applied(stage)
            samples.append((applied, _resident_mb(child.pid)))
            if applied - told >= asked.events // 10:
                told = applied
                say(f"{applied:,} events, {samples[-1][1]:,.0f} MB resident")
            time.sleep(SAMPLE_S)
        if child.returncode:
            raise SystemExit(f"the agents ended with {child.returncode}")
    return [sample for sample in samples if sample[1]]


def _applied(stage: Stage) -> int:
    offsets = read_books(stage.redis, PREFIX).offsets.get(SHOP_EVENTS.name, {})
    return sum(offsets.get(partition, 0) for partition in range(PARTITIONS))


def _resident_mb(pid: int) -> float:
    """0 once the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
    except (OSError, IndexError):
        return 0.0


def _found(stage: Stage, asked: argparse.Namespace, samples: list[tuple[int, float]]) -> Memory:
    at_half = next(mb for applied, mb in samples if applied >= asked.events / 2)
    buckets = range(bucket_count(stage.redis, PREFIX) or 0)
    sizes = dict.fromkeys(BucketKeys.__struct_fields__, 0)
    rows = customers = 0
    for bucket in buckets:
        keys = BucketKeys.of(PREFIX, bucket)
        for part in sizes:
            sizes[part] += stage.redis.memory_usage(getattr(keys, part), samples=0) or 0
        values = stage.redis.hvals(keys.rows)
        customers += len(values)
        rows += sum(map(len, values))
    end_mb = samples[-1][1]
    return Memory(
        events=asked.events,
        customers=customers,
        cached=asked.cached,
        resident_mb_at_half=round(at_half, 1),
        resident_mb_at_end=round(end_mb, 1),
        growth_after_half=round(end_mb / at_half - 1.0, 3),
        row_bytes=round(rows / customers, 1),
        redis_bytes_per_customer=round(sum(size for part, size in sizes.items() if part not in APART) / customers, 1),
        redis_open_bytes_per_customer=round(sizes["open"] / customers, 1),
    )


def _told(found: Memory) -> str:
    return (
        f"agents: {found.resident_mb_at_half:,.0f} MB resident at half of {found.events:,} events,"
        f" {found.resident_mb_at_end:,.0f} MB at the end ({found.growth_after_half:+.1%}), {found.cached:,} customers cached\n"
        f"Redis: {found.redis_bytes_per_customer:,.0f} bytes per customer of {found.customers:,} (a row has"
        f" {found.row_bytes:,.0f}), open strategies apart: {found.redis_open_bytes_per_customer:,.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
