"""What prompts have in common from their beginning, and what keeping it encoded brings (`model/prefixes.py`).

Usage: python -m benchmarks.prefixes [--requests N] [--headers 0,64,256] [--mib 0,4,64] [--batch N] [--runs N] [--base NAME] [--seed N] [--json]

Requests of the agents' own rules over a shop's traffic, and those of the serving benchmarks, in their order. With a header the prompts are
another recipe's: so many constant tokens stand before each. `common` is the share of all tokens that stand at the beginning of an earlier prompt as
well, had everything been kept; `kept` what the cache of so many MiB did not read again; 0 MiB is no cache. CPU time is one thread's; the sizes take
turns, a fresh cache each time, medians.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import msgspec
import torch

from benchmarks.peers.job import Job
from benchmarks.peers.pure import batches
from benchmarks.peers.work import States, Work, users_of
from benchmarks.simulated import Simulation
from benchmarks.telling import say
from model.encoding import Spelled, encoded
from model.lm import LanguageModel
from model.prefixes import PrefixCache
from streaming.contracts.codec import decode
from streaming.contracts.strategies import StrategyRequest
from streaming.contracts.topics import REQUESTS

EVENTS_PER_REQUEST = 14
"""Of the traffic, with some to spare."""


class Line(msgspec.Struct, frozen=True):
    """One source with one header and one size of the cache."""

    source: str
    requests: int
    header: int
    tokens: float
    common: float
    mib: int
    kept: float
    kept_mib: float
    cpu_ms: float
    spread_ms: tuple[float, float]


def agents(count: int, seed: int) -> list[StrategyRequest]:
    """What the agents ask for: candidates from what a customer did, in an order that says nothing."""
    job = Job("pure", "", "", "", "", "", count * EVENTS_PER_REQUEST, 0, seed, 4, None)
    work, kept, found = Work(job), States(), list[StrategyRequest]()
    for partition, records in batches(job):
        items = work.read(partition, records)
        for user in users_of(items):
            kept.setdefault(user, None)
        folding = work.fold(kept, partition, items, records)
        kept.update(folding.states)
        found += [decode(e.value or b"", StrategyRequest) for e in folding.writes.outbox if e.topic == REQUESTS.name]
    return found[:count]


def simulated(count: int, seed: int) -> list[StrategyRequest]:
    """What the serving benchmarks ask for."""
    return [request for _, request in Simulation(seed).requests(count)]


SOURCES: dict[str, Callable[[int, int], list[StrategyRequest]]] = {"agents": agents, "simulated": simulated}


def headed(lm: LanguageModel, asked: Sequence[StrategyRequest], header: int) -> list[Spelled]:
    """Their prompts after so many constant tokens, any ones."""
    before = tuple(2 + number % 250 for number in range(header))
    spelled = [lm.spelling.prompt(request) for request in asked]
    return [(before + ids, tuple((a + header, b + header) for a, b in spans)) for ids, spans in spelled]


def common(spelled: Sequence[Spelled]) -> float:
    """Share of tokens that an earlier prompt begins with as well."""
    seen: set[tuple[int, ...]] = set()
    shared = 0
    for ids, _ in spelled:
        shared += next((end for end in range(len(ids), 0, -1) if ids[:end] in seen), 0)
        seen |= {ids[:end] for end in range(1, len(ids) + 1)}
    return shared / sum(len(ids) for ids, _ in spelled)


def read(lm: LanguageModel, spelled: Sequence[Spelled], mib: int, batch: int) -> tuple[float, PrefixCache]:
    """CPU milliseconds a prompt, and the cache afterwards."""
    cache = PrefixCache(mib * 2**20)
    lm.prefixes = cache if mib else None
    begun = time.process_time()
    with torch.no_grad():
        for start in range(0, len(spelled), batch):
            encoded(lm, spelled[start : start + batch])
    return 1000 * (time.process_time() - begun) / len(spelled), cache


def measured(lm: LanguageModel, source: str, asked: Sequence[StrategyRequest], options: argparse.Namespace) -> None:
    """All headers and sizes of one source."""
    for header in options.headers:
        spelled = headed(lm, asked, header)
        total, share = sum(len(ids) for ids, _ in spelled), common(spelled)
        spent: dict[int, list[float]] = {mib: [] for mib in options.mib}
        caches: dict[int, PrefixCache] = {}
        for _ in range(options.runs):
            for mib, times in spent.items():
                ms, caches[mib] = read(lm, spelled, mib, options.batch)
                times.append(round(ms, 2))
        for mib, times in spent.items():
            _tell(
                Line(
                    source, len(spelled), header, round(total / len(spelled), 1), round(share, 3), mib,
                    round(caches[mib].figures.tokens / total, 3), round(caches[mib].nbytes / 2**20, 2),
                    statistics.median(times), (min(times), max(times)),
                ),
                as_json=options.json,
            )  # fmt: skip


def _tell(line: Line, *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(line).decode(), flush=True)
        return
    print(
        f"{line.source:9} {line.requests} prompts of {line.tokens} tokens, {line.header} of them a header: in common"
        f" {line.common:.1%}, with {line.mib} MiB {line.kept:.1%} not read again ({line.kept_mib} MiB used),"
        f" {line.cpu_ms:.2f} ms of CPU time a prompt ({line.spread_ms[0]:.2f} to {line.spread_ms[1]:.2f})",
        flush=True,
    )


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prefixes", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--headers", type=_numbers, default=[0, 64, 256], help="constant tokens before each prompt")
    parser.add_argument("--mib", type=_numbers, default=[0, 4, 64], help="sizes of the cache; 0: none")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--base", default="", help="a base by name or path; empty: the one that ships")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lm = LanguageModel.load(options.base, "cpu")
    for source, make in SOURCES.items():
        say(f"requests of {source}")
        measured(lm, source, make(options.requests, options.seed), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
