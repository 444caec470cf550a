"""What a swap of adapters costs the thread that answers, and that every strategy names what decided it.

Usage: python -m benchmarks.swap [--swaps N] [--batch N] [--seed N] [--json]

Between batches of answers a new adapter is served, as the worker does it (`ServingTable.apply`, files read and checked beforehand in
another thread). Measured is the thread's CPU time of the swap alone, beside peft's `hotswap_adapter` (from disk, as it is meant to be
used) and `set_adapter` (between adapters that are loaded), in turns on the same base. Then each strategy's propensity is
computed anew from the versions that it names: the adapter, in a slot of its own, and the critic. It exits with 1 where one differs by more
than 1e-4, or where a request has no strategy.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import torch
from peft import PeftModel
from peft.utils.hotswap import hotswap_adapter
from torch import Tensor

from benchmarks.serving import HEADS, TEMPERATURE, NoTexts, adapted, asks_of
from benchmarks.telling import say
from model import adapter
from model.critic import Critic
from model.gate_evidence import lm_log_probs
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import propensity
from services.deciding import Ready
from services.worker_answers import Answerer
from services.worker_serving import Change, Loaded, ServingTable
from streaming.contracts.adapters import Serving
from streaming.contracts.strategies import Strategy
from streaming.reward import Formula

TOLERANCE = 1e-4
VERSIONS, CRITICS = 8, 4
"""Different contents that the versions' names stand for, in turns: more would only take memory."""
CHECKED_AT_ONCE = 64


class Told(msgspec.Struct, frozen=True):
    """Thread CPU milliseconds of one way of swapping."""

    way: str
    swaps: int
    median_ms: float
    p99_ms: float
    longest_ms: float


class Versions:
    """Adapters and critics by name; a name is used once, a content several times."""

    def __init__(self, lm: LanguageModel, seed: int) -> None:
        """Draw the contents."""
        self._contents = [adapted(lm, seed + number) for number in range(VERSIONS)]
        lean = lm.lean
        self._loaded = [
            (adapter.block_of(each), lean.fuse(each) if lean is not None and lean.fuses else None)
            for each in self._contents
        ]
        self.critics = {c.version: c for c in (Critic.prior(seed + n, HEADS, Formula()) for n in range(CRITICS))}

    def change(self, number: int) -> Change:
        """The swap to version `number`, with another critic now and then."""
        block, fused = self._loaded[number % VERSIONS]
        name = f"adapter-{number:06d}"
        critic = list(self.critics.values())[number // 3 % CRITICS]
        serving = Serving(0, number, name, "", "", critic.version, {}, 0.0, datetime.now(UTC))
        return Change(serving, (Loaded(name, 0.5, block, fused),), Ready(critic), {})

    def content(self, name: str) -> dict[str, Tensor]:
        """What a name stands for."""
        return self._contents[int(name.rpartition("-")[2]) % VERSIONS]


def serve(
    lm: LanguageModel, versions: Versions, swaps: int, batch: int, seed: int
) -> tuple[list[float], list[Strategy]]:
    """Swap before every batch; milliseconds of the swaps, and the strategies."""
    table = ServingTable(lm, next(iter(versions.critics.values())))
    answerer = Answerer(lm, table, temperature=TEMPERATURE, seed=seed, texts=NoTexts(lm))
    asks = asks_of(seed, swaps * batch, "fused")
    spent, strategies = [], list[Strategy]()
    for number in range(swaps):
        change = versions.change(number)
        begun = time.thread_time()
        table.apply(change)
        spent.append(1000 * (time.thread_time() - begun))
        strategies += answerer.answer(asks[number * batch : (number + 1) * batch])
    return spent, strategies


def irreproducible(lm: LanguageModel, versions: Versions, strategies: Sequence[Strategy]) -> list[str]:
    """Strategies whose logged propensity is not that of the versions they name."""
    slot, wrong = adapter.SLOTS[-1], []
    for content in {int(s.policy.adapter.rpartition("-")[2]) % VERSIONS for s in strategies}:
        own = [s for s in strategies if int(s.policy.adapter.rpartition("-")[2]) % VERSIONS == content]
        adapter.place(lm, slot, versions.content(own[0].policy.adapter))
        for start in range(0, len(own), CHECKED_AT_ONCE):
            part = own[start : start + CHECKED_AT_ONCE]
            items = [Replayed(s.strategy_id, 0, s.request, s.decision, s.policy, s.propensity, 0.0, 1) for s in part]
            logs = lm_log_probs(lm, slot, lm.encode([s.request for s in part]), items)
            for strategy, rows in zip(part, logs, strict=True):
                critic = versions.critics[strategy.policy.critic]
                again = propensity(strategy.request, strategy.decision, strategy.policy, critic, rows)
                if abs(again / strategy.propensity - 1.0) > TOLERANCE:
                    wrong.append(f"{strategy.strategy_id}: {strategy.propensity:.6g} logged, {again:.6g} recomputed")
    return wrong


def by_peft(seed: int, times: int) -> dict[str, list[float]]:
    """Thread CPU milliseconds of peft's two ways, on a base of their own, adapters on disk."""
    lm = LanguageModel.load("", "cpu")
    adapter.attach(lm, ("slot_a",))
    spent: dict[str, list[float]] = {"hotswap_adapter": [], "set_adapter": []}
    with TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(2)]
        for number, path in enumerate(paths):
            adapter.place(lm, "slot_a", adapted(lm, seed + number))
            adapter.save(lm, "slot_a", path)
        bare = LanguageModel.load("", "cpu").causal
        model = PeftModel.from_pretrained(bare, str(paths[0]), adapter_name="first")
        model.load_adapter(str(paths[1]), adapter_name="other")
        for number in range(times):
            begun = time.thread_time()
            hotswap_adapter(model, str(paths[number % 2]), adapter_name="first", torch_device="cpu")
            between = time.thread_time()
            model.set_adapter(("other", "first")[number % 2])
            spent["hotswap_adapter"].append(1000 * (between - begun))
            spent["set_adapter"].append(1000 * (time.thread_time() - between))
    return spent


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, check, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swap", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=2, help="requests answered between two swaps")
    parser.add_argument("--peft", type=int, default=30, help="swaps of each of peft's ways; 0: none")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lm = LanguageModel.load("", "cpu")
    adapter.attach(lm)
    versions = Versions(lm, asked.seed)
    spent, strategies = serve(lm, versions, asked.swaps, asked.batch, asked.seed)
    told = [_told("ours", spent)]
    if asked.peft:
        told += [_told(way, each) for way, each in by_peft(asked.seed, asked.peft).items()]
    for each in told:
        line = f"{each.way:16} {each.swaps:5} swaps, thread CPU: median {each.median_ms:.3f} ms, 99 % within {each.p99_ms:.3f} ms, longest {each.longest_ms:.3f} ms"
        print(msgspec.json.encode(each).decode() if asked.json else line)
    wrong = irreproducible(lm, versions, strategies)
    lost = asked.swaps * asked.batch - len({s.strategy_id for s in strategies})
    named = len({s.policy.adapter for s in strategies})
    say(
        f"{len(strategies)} strategies of {named} versions, {len(wrong)} not reproduced, {lost} lost; load {os.getloadavg()[0]:.1f}"
    )
    for line in wrong[:5]:
        say(line)
    return int(bool(wrong or lost))


def _told(way: str, spent: Sequence[float]) -> Told:
    ordered = sorted(spent)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    return Told(way, len(spent), round(statistics.median(spent), 4), round(p99, 4), round(max(spent), 4))


if __name__ == "__main__":
    sys.exit(main())
