"""Latency under an open loop: requests at a fixed rate to one worker process, on real Kafka and Redis, while adapters swap.

Usage: python -m benchmarks.serving_load [--rate N] [--seconds N] [--swap-every N] [--train] [--seed N] [--json]

From the moment a request is handed to Kafka's client to the broker's time of its strategy. Every `--swap-every` seconds another
adapter is announced, fetched, checked and served. With `--train` an updater learns beside it from a reward for each strategy,
and the swaps are its own. It exits with 1 where a request has no strategy, or more than one.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.live import Announcing, Live
from benchmarks.telling import say
from streaming.contracts.strategies import Strategy

GOAL_P99_MS = 500.0
WARM_S = 8.0
QUICK = {"STRATAGEM_CANDIDATE_EVERY_STEPS": "8", "STRATAGEM_KL_CAP_NATS": "20", "STRATAGEM_CANDIDATE_WAIT_S": "5"}
"""An updater that makes candidates as often as it can; what it learns does not matter here."""


class Latency(msgspec.Struct, frozen=True):
    """What was asked and how long the answers took."""

    asked: int
    answered: int
    late: int
    adapters: int
    trained: bool
    p50_ms: float
    p99_ms: float
    longest_ms: float
    load: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where something was dropped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving_load", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--swap-every", type=int, default=10, help="seconds; 0: never")
    parser.add_argument("--train", action="store_true", help="an updater learns meanwhile")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="stratagem-load-") as folder:
        latency = measured(Path(folder), asked)
    if asked.json:
        print(msgspec.json.encode(latency).decode())
    else:
        print(
            f"{latency.answered} of {latency.asked} answered ({latency.late} by the critic alone), {latency.adapters} adapters"
            f" served{', an updater training' if latency.trained else ''}: half within {latency.p50_ms:.0f} ms, 99 % within"
            f" {latency.p99_ms:.0f} ms (goal: {GOAL_P99_MS:.0f}), longest {latency.longest_ms:.0f} ms; load {latency.load:.1f}"
        )
    return int(latency.answered != latency.asked)


def measured(folder: Path, asked: argparse.Namespace) -> Latency:
    """One run."""
    with Live(folder, seed=asked.seed, updater=QUICK if asked.train else None) as live:
        if asked.train:
            live.on_answer.append(lambda strategy: _reward(live, strategy))
        announcing = Announcing(live, folder, asked.seed)

        def swap(second: int) -> None:
            if not asked.train and asked.swap_every and second % asked.swap_every == 0:
                announcing.announce()

        live.settled(live.ask(asked.rate, WARM_S))
        ids = live.ask(asked.rate, asked.seconds, swap)
        live.settled(ids)
        answers = [live.answers[each][0] for each in ids if each in live.answers]
        spent = sorted(live.latencies_ms(ids))
    say(f"processes: {', '.join(live.processes)}")
    return Latency(
        asked=len(ids),
        answered=len(answers),
        late=sum(one.policy.late for one in answers),
        adapters=len({one.policy.adapter for one in answers} - {"base", "none"}),
        trained=asked.train,
        p50_ms=round(statistics.median(spent), 1),
        p99_ms=round(spent[min(len(spent) - 1, round(0.99 * len(spent)))], 1),
        longest_ms=round(spent[-1], 1),
        load=round(os.getloadavg()[0], 1),
    )


def _reward(live: Live, strategy: Strategy) -> None:
    live.reward(strategy, liked=strategy.decision.get("tone") == "urgent")


if __name__ == "__main__":
    sys.exit(main())
