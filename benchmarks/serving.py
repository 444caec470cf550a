"""Strategies per CPU second: our worker's answers beside transformers' `generate` with the same adapter and a grammar.

Usage: python -m benchmarks.serving [--batches 1,8,32] [--texts off,on,anew] [--systems a,b] [--requests N] [--runs N] [--seed N] [--json]

| system | what it does for a request |
|---|---|
| `ours` | everything a strategy of the arm `lm` is: decision, exact propensity, alternatives, checks, the message |
| `ours_fused` | the same of the arm `fused`: critic, its heads, measured effects |
| `generate` | the decision as text, sampled under a grammar; the message as text |

Text off: nobody writes a message (ours: the template). Text on: ours keeps texts per context, as it is served (`model/texts.py`), and is
warm; text anew: each message is written for its strategy. Every repetition of every system answers the same requests in
turns, one thread each; medians of CPU time, spread, and the ratio of medians.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch
from msgspec import structs

from benchmarks.simulated import Simulation
from benchmarks.telling import say
from model import adapter
from model.critic import Critic
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.texts import TextPool
from services.deciding import TEMPLATE
from services.records import Record
from services.worker_answers import MAX_MESSAGE_TOKENS, Answerer
from services.worker_intake import Ask
from services.worker_serving import Change, Loaded, ServingTable
from streaming.contracts.adapters import Serving
from streaming.contracts.kinds import Arm
from streaming.contracts.strategies import StrategyRequest
from streaming.reward import Formula

if TYPE_CHECKING:
    from benchmarks.peers.generate import Generator

TEMPERATURE = 0.4
HEADS = 8
ADAPTER = "adapter-000001-measured"
GOALS = {1: 5.0, 8: 5.0, 32: 3.0}
"""Batch → how often the peer's strategies per CPU second ours are wanted to be."""
TEXTS = ("off", "on", "anew")
SYSTEMS = ("ours", "ours_fused", "generate")


class Line(msgspec.Struct, frozen=True):
    """One system at one batch size, milliseconds of CPU time per strategy."""

    system: str
    text: str
    batch: int
    median_ms: float
    fastest_ms: float
    slowest_ms: float
    per_cpu_s: float


def adapted(lm: LanguageModel, seed: int, scale: float = 0.02) -> dict[str, torch.Tensor]:
    """An adapter as large as a trained one, of random numbers: what it says does not matter to the time it takes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = adapter.expected(lm).shapes
    return {key: torch.randn(shape, generator=generator) * scale for key, shape in shapes.items()}


def serve(lm: LanguageModel, seed: int) -> ServingTable:
    """The worker's table with one adapter at half the weight and a critic before any data."""
    table = ServingTable(lm, Critic.prior(seed, HEADS, Formula()))
    tensors = adapted(lm, seed)
    lean = lm.lean
    fused = lean.fuse(tensors) if lean is not None and lean.fuses else None
    serving = Serving(0, 1, ADAPTER, "", "", "", {}, 0.0, datetime.now(UTC))
    table.apply(Change(serving, (Loaded(ADAPTER, 0.5, adapter.block_of(tensors), fused),), None, {}))
    return table


def asks_of(seed: int, count: int, arm: Arm) -> list[Ask]:
    """Requests of the simulated shop: kinds mixed, 4 to 12 candidates, a prompt of some 210 tokens."""
    requests = [structs.replace(request, arm=arm) for _, request in Simulation(seed).requests(count)]
    return [Ask(_NOWHERE, each, ActionGrid.of(each), f"str_{each.request_id}") for each in requests]


_NOWHERE = Record("strategy.requests", 0, 0, b"", b"", 0)


class NoTexts(TextPool):
    """Nothing is written: every message is a plain template."""

    def texts(
        self,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Mapping[str, str]],  # noqa: ARG002 -- the pool's
        max_tokens: int,  # noqa: ARG002 -- the same
        rng: np.random.Generator,  # noqa: ARG002 -- the same
    ) -> list[str]:
        """The template's mark for each."""
        return [TEMPLATE] * len(requests)


class Ours:
    """The worker's answerer, in one way of writing texts."""

    def __init__(self, lm: LanguageModel, seed: int, text: str) -> None:
        """Serve."""
        self._table, self._lm, self._seed, self._anew = serve(lm, seed), lm, seed, text == "anew"
        self._answerer = self._fresh(NoTexts(lm) if text == "off" else TextPool(lm))

    def answer(self, asks: Sequence[Ask]) -> None:
        """One batch."""
        if self._anew:
            self._answerer = self._fresh(TextPool(self._lm))
        self._answerer.answer(asks)

    def _fresh(self, texts: TextPool) -> Answerer:
        return Answerer(self._lm, self._table, temperature=TEMPERATURE, seed=self._seed, texts=texts)


class Theirs:
    """The peer; decisions for the messages' contexts are drawn beforehand, so that parsing costs it nothing."""

    def __init__(self, generator: "Generator", text: str, seed: int) -> None:
        """Decide, and write where texts are asked for."""
        self._generator, self._text, self._rng = generator, text, np.random.default_rng(seed)

    def answer(self, asks: Sequence[Ask]) -> None:
        """One batch."""
        requests = [ask.request for ask in asks]
        self._generator.decide(requests)
        if self._text != "off":
            self._generator.write(requests, [self._drawn(each) for each in requests], MAX_MESSAGE_TOKENS)

    def _drawn(self, request: StrategyRequest) -> dict[str, str]:
        return {slot.name: str(self._rng.choice(slot.values)) for slot in request.slots}


def measure(
    systems: dict[str, tuple[Callable[[Sequence[Ask]], None], Sequence[Ask]]], batch: int, runs: int
) -> dict[str, list[float]]:
    """CPU milliseconds per strategy of each repetition; the systems take turns, after one warm round of each."""
    spent: dict[str, list[float]] = {name: [] for name in systems}
    for number in range(runs + 1):
        for name, (answer, asks) in systems.items():
            begun = time.process_time()
            for start in range(0, len(asks), batch):
                answer(asks[start : start + batch])
            if number:
                spent[name].append(1000 * (time.process_time() - begun) / len(asks))
    return spent


def players(
    lm: LanguageModel, wanted: Sequence[str], text: str, count: int, seed: int
) -> dict[str, tuple[Callable[[Sequence[Ask]], None], Sequence[Ask]]]:
    """The systems that play, each with the requests it answers."""
    of_lm = asks_of(seed, count, "lm")
    found: dict[str, tuple[Callable[[Sequence[Ask]], None], Sequence[Ask]]] = {}
    for name in wanted:
        if name == "generate":
            from benchmarks.peers.generate import Generator

            adapter.place(lm, adapter.SLOTS[-1], adapted(lm, seed))
            generator = Generator(lm, adapter.SLOTS[-1], TEMPERATURE)
            found[name] = (Theirs(generator, text, seed).answer, of_lm)
        else:
            found[name] = (Ours(lm, seed, text).answer, of_lm if name == "ours" else asks_of(seed, count, "fused"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    asked = _asked(arguments)
    torch.set_num_threads(1)
    lm = LanguageModel.load(asked.base, asked.device)
    adapter.attach(lm)
    for batch in asked.batches:
        count = max(batch, asked.requests // batch * batch)
        for text in asked.texts:
            spent = measure(players(lm, asked.systems, text, count, asked.seed), batch, asked.runs)
            _tell([_line(name, text, batch, ms) for name, ms in spent.items()], as_json=asked.json)
    say(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    return 0


def _asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batches", type=lambda text: [int(each) for each in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--texts", type=lambda text: text.split(","), default=list(TEXTS), help=",".join(TEXTS))
    parser.add_argument(
        "--systems",
        type=lambda text: text.split(","),
        default=list(SYSTEMS),
        help=f"{','.join(SYSTEMS)}, the peer last",
    )
    parser.add_argument("--requests", type=int, default=32, help="answered in each repetition")
    parser.add_argument("--runs", type=int, default=5, help="repetitions, after a warm one")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--base", default="", help="a base by name or path; empty: the one that ships")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON line per system, batch and text")
    return parser.parse_args(arguments)


def _line(system: str, text: str, batch: int, spent: Sequence[float]) -> Line:
    median = statistics.median(spent)
    return Line(
        system, text, batch, round(median, 2), round(min(spent), 2), round(max(spent), 2), round(1000 / median, 1)
    )


def _tell(lines: Sequence[Line], *, as_json: bool) -> None:
    peer = next((line for line in lines if line.system == "generate"), None)
    for line in lines:
        ratio = round(peer.median_ms / line.median_ms, 2) if peer is not None else None
        if as_json:
            print(msgspec.json.encode({**structs.asdict(line), "ratio": ratio}).decode(), flush=True)
            continue
        goal = f" (wanted: {GOALS[line.batch]:.0f})" if line.system == "ours" and line.batch in GOALS else ""
        print(
            f"batch {line.batch:3} text {line.text:4} {line.system:10} {line.median_ms:8.2f} ms"
            f" ({line.fastest_ms:.2f} to {line.slowest_ms:.2f}) {line.per_cpu_s:7.1f} per CPU second,"
            f" {ratio} times the peer's{goal}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
