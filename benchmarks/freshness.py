"""How fresh what is served is: from a closed reward to a critic, and to an adapter, that has learned it and answers.

Usage: python -m benchmarks.freshness [--rate N] [--seconds N] [--warm-up S] [--turn-at S] [--set NAME=VALUE ...] [--seed N] [--json]

A worker and an updater, processes of their own on real Kafka and Redis. Customers are asked `--rate` times a second, each strategy is
rewarded at once: they click on one tone only. After `--turn-at` seconds they click on another tone only: the effect that must show.

| figure | from the broker's time of a reward to the first strategy |
|---|---|
| critic | that names a critic whose announced offset includes it; of every reward |
| adapter | that names an adapter announced after a training that had learned it, gate included; of every reward |
| turned | after the turn, of arm `lm` (the adapter alone, no critic): the mean probability of the new tone over the old one's, when it has crossed half |

`--set` gives the updater other settings (`--set CANDIDATE_EVERY_STEPS=25`).
"""

import argparse
import bisect
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.live import Live
from benchmarks.telling import say
from services.clients import whole_topic_consumer
from streaming.contracts.adapters import Version, decode_record
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import ADAPTERS, REWARDS, TopicSpec

TONES = ("urgent", "friendly")
"""What customers click on before and after the turn."""
GOALS = {"critic": 2.0, "adapter": 10.0}
TURNED_SHARE = 0.5
RECENT = 20
"""Answers of arm `lm` over which the share of the new tone is taken."""


class Fresh(msgspec.Struct, frozen=True):
    """Seconds from reward to serving."""

    what: str
    rewards: int
    median_s: float
    p90_s: float
    longest_s: float


class Told:
    """Rewards by offset, and what was announced and served when; read from the topics afterwards."""

    def __init__(self, live: Live) -> None:
        """Read both topics to their ends."""
        self.closed_s = [at for _, at in sorted((r.offset, r.timestamp / 1000) for r in _whole(live, REWARDS))]
        records = [decode_record(r.value) for r in _whole(live, ADAPTERS) if r.value]
        self.versions = {record.name: record for record in records if isinstance(record, Version)}
        self.served_s: dict[str, float] = {}
        for strategy, _, at in sorted(live.answers.values(), key=lambda each: each[2]):
            for name in (strategy.policy.critic, strategy.policy.adapter):
                self.served_s.setdefault(name, at)

    def until(self, what: str, since_s: float) -> list[float]:
        """Per reward closed since then: seconds to the first serving of a version of this kind that includes it."""
        of_kind = [version for name, version in self.versions.items() if version.what == what and name in self.served_s]
        return waits(self.closed_s, [(included(version), self.served_s[version.name]) for version in of_kind], since_s)


def waits(closed_s: Sequence[float], served: Sequence[tuple[int, float]], since_s: float = 0.0) -> list[float]:
    """Per reward in the topic's order: seconds until something is served that includes it; without those that nothing includes.

    Args:
        closed_s: when each was closed.
        served: of every version the first offset that it does not include, and when it was first served.
        since_s: rewards closed before are left out.
    """
    steps = sorted(served)
    found = []
    for offset, at in enumerate(closed_s):
        place = bisect.bisect_right([end for end, _ in steps], offset)
        if place < len(steps) and at >= since_s:
            found.append(min(first for _, first in steps[place:]) - at)
    return found


def included(version: Version) -> int:
    """The first offset of `strategy.rewards` that a version has not learned: an adapter's training ended before its gate.

    Here every record is one closed reward that is learned, so that their number is the offset.
    """
    return (
        int(version.metrics["trained_rewards"]) if version.what == "adapter" else version.offsets[f"{REWARDS.name}:0"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rate", type=float, default=50.0, help="requests, and so rewards, per second")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument(
        "--warm-up", type=float, default=20.0, help="first seconds, of which no reward counts: both processes load"
    )
    parser.add_argument("--turn-at", type=float, default=45.0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of the updater")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    settings = {f"STRATAGEM_{name}": value for name, _, value in (each.partition("=") for each in asked.set)}
    with tempfile.TemporaryDirectory(prefix="stratagem-fresh-") as folder:
        figures, turned_s = measured(Path(folder), asked, settings)
    for each in figures:
        print(
            msgspec.json.encode(each).decode()
            if asked.json
            else f"{each.what:8} of {each.rewards} rewards: half within {each.median_s:.1f} s, 90 % within {each.p90_s:.1f} s,"
            f" longest {each.longest_s:.1f} s (goal: {GOALS[each.what]:.0f})"
        )
    say(
        f"the language model alone followed the turn after {'more than the run' if turned_s is None else f'{turned_s:.1f} s'}"
    )
    say(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    return 0


def measured(folder: Path, asked: argparse.Namespace, settings: dict[str, str]) -> tuple[list[Fresh], float | None]:
    """One run."""
    begun_s = float("inf")

    def reward(strategy: Strategy) -> None:
        live.reward(strategy, liked=strategy.decision.get("tone") == TONES[time.time() - begun_s > asked.turn_at])

    with Live(folder, seed=asked.seed, updater=settings) as live:
        live.on_answer.append(reward)
        begun_s = time.time()
        live.settled(live.ask(asked.rate, asked.seconds))
        told = Told(live)
    found = []
    for what in GOALS:
        if waits := sorted(told.until(what, begun_s + asked.warm_up)):
            nine_tenths = waits[int(0.9 * len(waits))]
            found.append(
                Fresh(what, len(waits), round(statistics.median(waits), 2), round(nine_tenths, 2), round(waits[-1], 2))
            )
        else:
            say(f"no {what} with rewards was served in this run")
    return found, turned(live.answers.values(), begun_s + asked.turn_at)


def turned(answers: Iterable[tuple[Strategy, float, float]], turn_s: float) -> float | None:
    """Seconds from the turn until the new tone outweighs the old one among the last answers of arm `lm`."""
    recent: list[bool] = []
    for strategy, _, at in sorted(answers, key=lambda each: each[2]):
        tone = strategy.decision.get("tone")
        if at < turn_s or strategy.policy.acting_arm != "lm" or tone not in TONES:
            continue
        recent = [*recent, tone == TONES[1]][-RECENT:]
        if len(recent) == RECENT and sum(recent) > TURNED_SHARE * RECENT:
            return at - turn_s
    return None


def _whole(live: Live, topic: TopicSpec) -> list[Any]:
    consumer = whole_topic_consumer(live.settings, topic)
    ends = consumer.end_offsets(consumer.assignment())
    found: list[Any] = []
    while any(consumer.position(place) < end for place, end in ends.items()):
        found += [record for records in consumer.poll(timeout_ms=200).values() for record in records]
    consumer.close()
    return found


if __name__ == "__main__":
    sys.exit(main())
