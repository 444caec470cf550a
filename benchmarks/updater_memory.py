"""What an updater remembers, and that it stays bounded: rewards at speed, resident memory at intervals.

Usage: python -m benchmarks.updater_memory [--rewards N] [--window N] [--buffer N] [--every N] [--steps] [--seed N] [--json]

The updater's own parts without Kafka (`Learning`, and with `--steps` its LoRA training) take so many rewards, made from some hundred
requests under new ids; refits are rarer than in service, because their time is not what is measured. Every buffer is full after
`--window` rewards; from then on memory must stay as it is. It exits with 1 where the last interval's mean is more than 5 % above the first full one's.
"""

import argparse
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import structs

from benchmarks.by_chance import by_chance
from benchmarks.telling import say
from services.records import Record
from services.settings import UpdaterSettings
from services.updater_learning import Learning
from services.valuing import formula_of
from streaming.contracts.codec import encode
from streaming.contracts.ids import reward_id
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import PolicyRecord

DIFFERENT = 200
"""Rewards that the others are copies of, under other ids."""
GROWTH = 1.05
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Interval(msgspec.Struct, frozen=True):
    """After so many rewards: resident memory, and what the buffers hold."""

    rewards: int
    resident_mib: float
    window: int
    replay: int
    seen: int
    steps: int


def rewards(count: int, seed: int) -> Iterator[bytes]:
    """Encoded rewards with ids of their own."""
    kinds = list(by_chance(DIFFERENT, seed, _uniform))
    for number in range(count):
        yield encode(_again(kinds[number % DIFFERENT], number))


def _uniform(actions: int) -> PolicyRecord:
    return PolicyRecord("base", "none", "none", "random", "random", 0.4, 0.0, 0.0, 0.005, 1, actions)


def _again(reward: Reward, number: int) -> Reward:
    strategy = f"str_{number:024x}"
    return structs.replace(
        reward, strategy_id=strategy, reward_id=reward_id(strategy, "final"), user_id=f"user-{number}"
    )


def resident_mib() -> float:
    """Of this process, now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def played(settings: UpdaterSettings, count: int, every: int, seed: int, *, steps: bool) -> Iterator[Interval]:
    """Take the rewards, tell at intervals."""
    learning = Learning.fresh(settings, formula_of(settings))
    training = None
    if steps:
        from model.lm import LanguageModel
        from services.updater_training import Training

        training = Training(LanguageModel.load("", "cpu"), settings, lambda _: None)
    for number, value in enumerate(rewards(count, seed)):
        learning.take(Record("strategy.rewards", 0, number, b"", value, 0))
        if training is not None and training.owed(learning):
            training.step(learning, learning.learner.snapshot(), 0.0)
        if (number + 1) % every == 0:
            yield Interval(
                number + 1,
                round(resident_mib(), 1),
                len(learning.learner.window),
                len(learning.replay),
                sum(1 for _ in learning.learner.seen),
                training.distiller.steps if training else 0,
            )


def grown(intervals: Sequence[Interval], full: int) -> float:
    """The last third's mean over the first third's, of the intervals after every buffer was full; 1 where there are too few."""
    after = [each.resident_mib for each in intervals if each.rewards >= full]
    third = len(after) // 3
    return float(np.mean(after[-third:]) / np.mean(after[:third])) if third else 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where memory grows."""
    default = UpdaterSettings()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.updater_memory", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rewards", type=int, default=200_000)
    parser.add_argument("--window", type=int, default=default.window)
    parser.add_argument("--buffer", type=int, default=default.buffer)
    parser.add_argument("--refit-every", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=10_000)
    parser.add_argument("--steps", action="store_true", help="with LoRA steps, at a thousandth of the rewards")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    settings = UpdaterSettings(
        window=asked.window,
        buffer=asked.buffer,
        refit_every=asked.refit_every,
        train_every=max(1, asked.rewards // 200),
    )
    found = []
    for interval in played(settings, asked.rewards, asked.every, asked.seed, steps=asked.steps):
        found.append(interval)
        print(
            msgspec.json.encode(interval).decode()
            if asked.json
            else f"{interval.rewards:8,} rewards: {interval.resident_mib:7.1f} MiB; window {interval.window}, replay"
            f" {interval.replay}, ids {interval.seen}, steps {interval.steps}",
            flush=True,
        )
    growth = grown(found, 4 * asked.window)
    say(f"memory after every buffer was full: {growth:.3f} times at the end (bound: {GROWTH})")
    return int(growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
