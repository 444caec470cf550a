"""How many events a core processes: our agents beside other Python stream processors, same events, same outputs.

    overhead = CPU microseconds per event beyond those of the pure functions alone

Usage: python -m benchmarks.streams [--json] [--events N] [--runs N] [--systems a,b] [--seed N]

Each run is a process pinned to one core; Kafka, Redis and this program are pinned to the other. Runs are interleaved,
so that what else the machine does falls on all systems alike; medians are shown. Fails where outputs differ.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.peers.child import MODULES
from benchmarks.peers.stage import Outcome, Stage
from benchmarks.telling import say
from services.local.process import MissingPart

WARM_SHARE = 0.2
"""Share of the records that is processed before the measurement begins."""
GOALS = (
    ("quixstreams", "events per CPU second over quixstreams'", 1.8),
    ("aiokafka", "events per CPU second over the plain aiokafka loop's", 0.8),
)
OVERHEAD_GOAL = 0.35
PURE_GOAL_US = 30.0


class Line(msgspec.Struct):
    """One system's medians."""

    system: str
    events_per_s: float
    events_per_cpu_s: float
    applied: int
    duplicates: int
    malformed: int
    requests: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, print; 1 where outputs differ, 2 where something is missing."""
    asked = _asked(arguments)
    os.sched_setaffinity(0, {_cores()[-1]})
    with tempfile.TemporaryDirectory(prefix="stratagem-streams-") as folder:
        try:
            with Stage(
                Path(folder), asked.events, asked.seed, round(asked.events * WARM_SHARE), _measured_core()
            ) as stage:
                outcomes = _runs(stage, asked.systems, asked.runs)
        except MissingPart as error:
            say(str(error))
            return 2
    lines = [_line(system, outcomes[system]) for system in asked.systems]
    for line in lines:
        print(msgspec.json.encode(line).decode() if asked.json else _row(line))
    _judge({line.system: line for line in lines})
    for system in asked.systems:
        say(_servers(system, outcomes[system], asked.events))
    return compare(outcomes)


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streams", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--json", action="store_true", help="one JSON line per system")
    parser.add_argument("--events", type=int, default=24_000, help="records, duplicates and malformed ones included")
    parser.add_argument("--runs", type=int, default=5, help="of each system, interleaved")
    parser.add_argument("--seed", type=int, default=7, help="of the traffic")
    parser.add_argument("--systems", type=lambda text: text.split(","), default=list(MODULES), help=",".join(MODULES))
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.systems if name not in MODULES]
    if unknown:
        parser.error(f"--systems {','.join(unknown)}: wanted some of {','.join(MODULES)}")
    return asked


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _measured_core() -> int | None:
    """A core that nothing else of ours uses; None where there is one core only."""
    every = sorted(range(os.cpu_count() or 1))
    free = [core for core in every if core not in os.sched_getaffinity(0)]
    return free[0] if free else None


def _runs(stage: Stage, systems: Sequence[str], runs: int) -> dict[str, list[Outcome]]:
    outcomes: dict[str, list[Outcome]] = {system: [] for system in systems}
    for number in range(runs):
        for system in systems:
            began_s = time.monotonic()
            outcome = stage.run(system, number)
            outcomes[system].append(outcome)
            rate = outcome.measured.events / outcome.measured.cpu_s
            say(
                f"run {number + 1} of {runs}, {system}: {rate:,.0f} events per CPU second ({time.monotonic() - began_s:.1f} s)"
            )
    return outcomes


def _line(system: str, outcomes: list[Outcome]) -> Line:
    measured, last = [each.measured for each in outcomes], outcomes[-1].output
    return Line(
        system,
        round(statistics.median(each.events / each.wall_s for each in measured), 1),
        round(statistics.median(each.events / each.cpu_s for each in measured), 1),
        last.applied,
        last.duplicates,
        last.malformed,
        last.requests,
    )


def _servers(system: str, outcomes: list[Outcome], events: int) -> str:
    """What the servers did for a system: the input of docs/scale.md."""
    redis_us, kafka_us = (
        1e6 * statistics.median(each) / events
        for each in ([o.redis_cpu_s for o in outcomes], [o.kafka_cpu_s for o in outcomes])
    )
    return f"{system}: CPU of Redis {redis_us:.1f} and of Kafka {kafka_us:.1f} us per event"


def compare(outcomes: dict[str, list[Outcome]]) -> int:
    """0 where every run of every system had the same outputs; else says which had not."""
    first_system = next(iter(outcomes))
    wanted = outcomes[first_system][0].output
    different = False
    for system, each in outcomes.items():
        for number, outcome in enumerate(each):
            if outcome.output != wanted:
                different = True
                say(f"outputs differ: {system}, run {number + 1}: {outcome.output}; {first_system}, run 1: {wanted}")
    return int(different)


def _judge(lines: dict[str, Line]) -> None:
    """The goals, where the systems they speak of were measured."""
    cost_us = {system: 1e6 / line.events_per_cpu_s for system, line in lines.items()}
    ours = lines.get("stratagem")
    if "pure" in cost_us:
        say(f"pure work: {cost_us['pure']:.1f} us per event (goal: at most {PURE_GOAL_US:.0f})")
    if ours is None:
        return
    for peer, what, goal in GOALS:
        if peer in lines:
            say(f"{what}: {ours.events_per_cpu_s / lines[peer].events_per_cpu_s:.2f} (goal: at least {goal})")
    if "pure" in cost_us and "quixstreams" in cost_us:
        share = (cost_us["stratagem"] - cost_us["pure"]) / (cost_us["quixstreams"] - cost_us["pure"])
        say(f"overhead over quixstreams': {share:.2f} (goal: at most {OVERHEAD_GOAL})")


def _row(line: Line) -> str:
    return (
        f"{line.system:12} {line.events_per_s:>9,.0f} events/s {line.events_per_cpu_s:>9,.0f} per CPU second  applied"
        f" {line.applied:,}, duplicates {line.duplicates:,}, malformed {line.malformed:,}, requests {line.requests:,}"
    )


if __name__ == "__main__":
    sys.exit(main())
