"""How fresh an updater's adapters and critics are by its own CPU clock: what another load of the machine does not change.

Usage: python -m benchmarks.updater_pace [--rate N] [--seconds N] [--warm-up S] [--orders after,between] [--seed N] [--json]

The updater's own parts without Kafka, in the order of its loop: rewards that have come are learned, a critic is judged and written, a slice of a
candidate is measured, or a LoRA step is taken. The clock is the CPU time of this process; where there is nothing to do it jumps to the next reward. Rewards come
`--rate` a second by that clock: decisions of the bare base that each can be recomputed. Every candidate is taken for promoted and written with what was
learned. A figure is from a reward's coming to the writing of what has learned it.

| order | while a candidate is measured |
|---|---|
| `after` | no step is taken: the updater's order |
| `between` | a step is taken after each slice, where one is owed |
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import torch

from benchmarks.by_chance import by_chance
from benchmarks.freshness import waits
from model.lm import LanguageModel
from services.records import Record
from services.settings import UpdaterSettings
from services.updater_critics import next_critic
from services.updater_learning import Learning
from services.updater_reading import MAX_RECORDS
from services.updater_state import UpdaterFacts, save_learning
from services.updater_training import Training
from services.valuing import formula_of
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.codec import encode
from streaming.contracts.strategies import PolicyRecord

ORDERS = ("after", "between")


class Line(msgspec.Struct, frozen=True):
    """One order: seconds of the CPU clock from a reward to what has learned it."""

    order: str
    rewards: int
    steps: int
    adapters: int
    adapter_p50_s: float
    adapter_p90_s: float
    critic_p50_s: float
    critic_p90_s: float
    measured_s: float
    stepped_s: float


def rewards(count: int, seed: int, base: str) -> Iterator[bytes]:
    """Closed rewards of decisions that the bare base alone is said to have made."""

    def alone(actions: int) -> PolicyRecord:
        return PolicyRecord(base, BASE_ALONE, "none", "lm", "lm", 0.4, 1.0, 0.0, 0.005, 1, actions)

    return map(encode, by_chance(count, seed, alone))


class Paced:
    """An updater's parts and their clock."""

    def __init__(self, lm: LanguageModel, settings: UpdaterSettings, values: Sequence[bytes], rate: float) -> None:
        """Nothing has come yet."""
        self._settings, self._values, self._rate = settings, values, rate
        self.learning = Learning.fresh(settings, formula_of(settings))
        self.training = Training(lm, settings, lambda _name: None)
        self._critic = self.learning.learner.snapshot()
        self._begun, self._skipped_s, self._published_s = time.process_time(), 0.0, 0.0
        self.critics: list[tuple[int, float]] = []
        self.adapters: list[tuple[int, float]] = []
        self.spent_s = {"measured": 0.0, "stepped": 0.0}

    @property
    def now_s(self) -> float:
        """The clock."""
        return time.process_time() - self._begun + self._skipped_s

    def turn(self, folder: Path, *, between: bool) -> None:
        """One turn of the loop."""
        offset = self.learning.next_offset
        come = min(int(self.now_s * self._rate) + 1, len(self._values), offset + MAX_RECORDS)
        for place in range(offset, come):
            self.learning.take(Record("strategy.rewards", 0, place, b"", self._values[place], 0))
        if self.learning.unpublished and self.now_s - self._published_s >= self._settings.publish_every_s:
            self._published_s = self.now_s
            self._critic, _, share = next_critic(self.learning, self._critic)
            self.learning.unpublished = share < 1.0
            self._critic.save(folder)
            self.critics.append((self.learning.next_offset, self.now_s))
        self._train(folder, between=between)
        if not (self.training.measuring or self.training.owed(self.learning)):
            self._skipped_s += max(0.0, self.learning.next_offset / self._rate - self.now_s)

    def _train(self, folder: Path, *, between: bool) -> None:
        begun_s, training = self.now_s, self.training
        judgement = training.examine(self.learning, self.now_s)
        if judgement is not None and training.candidate is not None:
            training.save_candidate(folder)
            save_learning(self.learning, UpdaterFacts("strategy.rewards", self.learning.next_offset, 0), folder)
            number = training.candidate.number
            training.promoted(f"adapter-{len(self.adapters):06d}")
            self.adapters.append((number, self.now_s))
        self.spent_s["measured"] += self.now_s - begun_s
        if judgement is None and training.owed(self.learning) and (between or not training.measuring):
            begun_s = self.now_s
            training.step(self.learning, self._critic, begun_s)
            self.spent_s["stepped"] += self.now_s - begun_s


def played(lm: LanguageModel, values: Sequence[bytes], order: str, asked: argparse.Namespace) -> Line:
    """One order from the beginning."""
    paced = Paced(lm, UpdaterSettings(seed=asked.seed), values, asked.rate)
    with tempfile.TemporaryDirectory(prefix="stratagem-pace-") as folder:
        while paced.now_s < asked.seconds:
            paced.turn(Path(folder), between=order == "between")
    closed_s = [number / asked.rate for number in range(round(asked.seconds * asked.rate))]
    adapters, critics = (sorted(waits(closed_s, told, asked.warm_up)) for told in (paced.adapters, paced.critics))
    figures = [round(part, 2) for each in (adapters, critics) for part in (_at(each, 0.5), _at(each, 0.9))]
    spent = (round(part, 1) for part in paced.spent_s.values())
    return Line(order, len(adapters), paced.training.distiller.steps, len(paced.adapters), *figures, *spent)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[int(share * len(ordered))] if ordered else float("nan")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.updater_pace", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rate", type=float, default=50.0, help="rewards a second")
    parser.add_argument("--seconds", type=float, default=40.0, help="of CPU time, each order")
    parser.add_argument("--warm-up", type=float, default=10.0, help="first seconds, whose rewards do not count")
    parser.add_argument("--orders", type=lambda text: text.split(","), default=list(ORDERS), help=",".join(ORDERS))
    parser.add_argument("--base", default="", help="a base by name or path; empty: the one that ships")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for order in asked.orders:
        lm = LanguageModel.load(asked.base, "cpu")
        base = f"{lm.name}@{lm.base_sha256[:12]}"
        values = list(rewards(round(asked.seconds * asked.rate) + MAX_RECORDS, asked.seed, base))
        line = played(lm, values, order, asked)
        print(msgspec.json.encode(line).decode() if asked.json else _said(line), flush=True)
    return 0


def _said(line: Line) -> str:
    return (
        f"{line.order}: {line.adapters} adapters of {line.steps} steps; an adapter has learned half of {line.rewards} rewards within"
        f" {line.adapter_p50_s} s, 90 % within {line.adapter_p90_s} s; a critic {line.critic_p50_s} and {line.critic_p90_s} s; measuring"
        f" took {line.measured_s} s, steps {line.stepped_s} s"
    )


if __name__ == "__main__":
    sys.exit(main())
