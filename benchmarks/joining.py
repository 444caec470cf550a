"""Whether requests should join a batch that is under way: what a batch is made of, measured, and both ways of serving played with it.

Usage: python -m benchmarks.joining [--rates 20,40] [--slower 1,4] [--requests N] [--io-ms MS] [--runs N] [--seed N] [--json]

| part | of a batch of n, milliseconds |
|---|---|
| read | prompts encoded |
| step | one forward pass of the decoding; `STEPS` of them |
| rest | everything else of an answer: the critic's values and heads, texts kept per context and warm, effects, checks |
| io | Redis, Kafka's acknowledgement and the commit, which a batch waits for: `--io-ms`, as measured in a worker |

CPU time of each is measured at several n and fitted as a + b * n. Played: requests come at random at a fixed rate to one thread. `whole`: what waits is
taken together, read, decoded, finished, as the worker does. `joined`: what waits is read before every step and takes part in the steps from then on; rows
that have all steps are finished at once, the others wait meanwhile. Latency is from arrival to the end of the row's finish. `--slower` multiplies all parts: a
machine with other work.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks.serving import asks_of, serve
from benchmarks.telling import say
from model import adapter
from model.lm import LanguageModel
from model.session import DecodeSession
from model.texts import TextPool
from services.worker_answers import Answerer
from services.worker_intake import Ask

SIZES = (1, 2, 4, 8, 16)
STEPS = 3
"""Forward passes of a small batch: four to six slots, of which a pass knows two."""
LARGEST = 32
"""A worker's batch at most."""


class Cost(msgspec.Struct, frozen=True):
    """Milliseconds of a part: `fixed + each * n`."""

    fixed: float
    each: float

    def s(self, n: int, slower: float) -> float:
        """Seconds for a batch of n; none for none."""
        return slower * (self.fixed + self.each * n) / 1000 if n else 0.0


class Parts(msgspec.Struct, frozen=True):
    """What a batch is made of."""

    read: Cost
    step: Cost
    rest: Cost
    io: Cost


class Line(msgspec.Struct, frozen=True):
    """One rate at one slowness, milliseconds from arrival to answer."""

    rate: float
    slower: float
    way: str
    busy: float
    p50_ms: float
    p99_ms: float


class Spent:
    """Seconds within one function while it is watched."""

    def __init__(self, owner: type, name: str) -> None:
        """Stand in the function's place until `end`."""
        self._owner, self._name, self._own, self.s = owner, name, getattr(owner, name), 0.0
        setattr(owner, name, lambda *given: self._timed(*given))

    def _timed(self, *given: object) -> object:
        begun = time.process_time()
        try:
            return self._own(*given)
        finally:
            self.s += time.process_time() - begun

    def end(self) -> float:
        """Give the function back."""
        setattr(self._owner, self._name, self._own)
        return self.s


def measured(seed: int, runs: int, io_ms: float) -> Parts:
    """The parts on the base that ships, one thread, arm `fused`."""
    lm = LanguageModel.load("", "cpu")
    adapter.attach(lm)
    answerer = Answerer(lm, serve(lm, seed), temperature=0.4, seed=seed, texts=TextPool(lm))
    asks = asks_of(seed, max(SIZES), "fused")
    found = {n: _of_size(answerer, asks, n, runs) for n in SIZES}
    read, step, rest = (_fitted({n: parts[place] for n, parts in found.items()}) for place in range(3))
    return Parts(read, step, rest, Cost(io_ms, 0.0))


def _of_size(answerer: Answerer, asks: Sequence[Ask], n: int, runs: int) -> tuple[float, float, float]:
    """Median milliseconds of reading, one of the steps, and the rest; the same requests each time, so that texts are warm."""
    rows = []
    for _ in range(runs + 2):
        reading, stepping = Spent(LanguageModel, "encode"), Spent(DecodeSession, "_step")
        begun = time.process_time()
        answerer.answer(asks[:n])
        whole, read, steps = time.process_time() - begun, reading.end(), stepping.end()
        rows.append((1000 * read, 1000 * steps / STEPS, 1000 * (whole - read - steps)))
    medians = [statistics.median(row[place] for row in rows[2:]) for place in range(3)]
    return medians[0], medians[1], medians[2]


def _fitted(ms: dict[int, float]) -> Cost:
    """Neither part below zero; what is off counts by its share of what was measured."""
    rows = np.array([[1.0 / spent, n / spent] for n, spent in ms.items()])
    fixed, each = nnls(rows, np.ones(len(rows)))[0]
    return Cost(round(float(fixed), 2), round(float(each), 2))


def whole(arrivals: Sequence[float], parts: Parts, slower: float) -> tuple[list[float], float]:
    """Latencies where a batch is finished before the next begins, and the seconds that the thread was busy."""
    now = busy = 0.0
    found, at = list[float](), 0
    while at < len(arrivals):
        now = max(now, arrivals[at])
        end = at
        while end < len(arrivals) and end - at < LARGEST and arrivals[end] <= now:
            end += 1
        n = end - at
        spent = parts.read.s(n, slower) + STEPS * parts.step.s(n, slower) + _finish(n, parts, slower)
        now, busy = now + spent, busy + spent
        found += [now - arrival for arrival in arrivals[at:end]]
        at = end
    return found, busy


def joined(arrivals: Sequence[float], parts: Parts, slower: float) -> tuple[list[float], float]:
    """The same where requests join between steps."""
    now = busy = 0.0
    found, at = list[float](), 0
    under_way: list[tuple[float, int]] = []
    while at < len(arrivals) or under_way:
        if not under_way:
            now = max(now, arrivals[at])
        end = at
        while end < len(arrivals) and len(under_way) + end - at < LARGEST and arrivals[end] <= now:
            end += 1
        spent = parts.read.s(end - at, slower)
        under_way += [(arrival, 0) for arrival in arrivals[at:end]]
        at = end
        spent += parts.step.s(len(under_way), slower)
        under_way = [(arrival, steps + 1) for arrival, steps in under_way]
        done = [arrival for arrival, steps in under_way if steps == STEPS]
        under_way = [(arrival, steps) for arrival, steps in under_way if steps < STEPS]
        spent += _finish(len(done), parts, slower)
        now, busy = now + spent, busy + spent
        found += [now - arrival for arrival in done]
    return found, busy


def _finish(n: int, parts: Parts, slower: float) -> float:
    return parts.rest.s(n, slower) + parts.io.s(n, slower)


WAYS: dict[str, Callable[[Sequence[float], Parts, float], tuple[list[float], float]]] = {
    "whole": whole,
    "joined": joined,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, play and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.joining", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rates", type=_numbers, default=[10.0, 20.0, 40.0], help="requests a second")
    parser.add_argument("--slower", type=_numbers, default=[1.0, 2.0], help="how much slower the machine is")
    parser.add_argument("--requests", type=int, default=50_000, help="played at each rate")
    parser.add_argument("--io-ms", type=float, default=12.0, help="Redis, Kafka and the commit, a batch")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = measured(asked.seed, asked.runs, asked.io_ms)
    say(f"milliseconds, fixed and for each request: {msgspec.json.encode(parts).decode()}")
    for rate in asked.rates:
        gaps = np.random.default_rng(asked.seed).exponential(1.0 / rate, asked.requests)
        arrivals = [float(at) for at in np.cumsum(gaps)]
        for slower in asked.slower:
            for way, play in WAYS.items():
                _tell(_line(rate, slower, way, *play(arrivals, parts, slower), arrivals[-1]), as_json=asked.json)
    return 0


def _numbers(text: str) -> list[float]:
    return [float(each) for each in text.split(",")]


def _line(rate: float, slower: float, way: str, waits: Sequence[float], busy: float, span: float) -> Line:
    p50, p99 = np.quantile(waits, (0.5, 0.99))
    return Line(rate, slower, way, round(busy / span, 3), round(1000 * float(p50), 1), round(1000 * float(p99), 1))


def _tell(line: Line, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(line).decode(), flush=True)
        return
    print(
        f"{line.rate:5.0f} a second, {line.slower:.0f} times slower, {line.way:6}: half within {line.p50_ms:.0f} ms,"
        f" 99 % within {line.p99_ms:.0f} ms, busy {line.busy:.0%}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
