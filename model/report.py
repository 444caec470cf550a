"""Measuring a base and writing what was measured into its manifest: teachability and gate, by kind of strategy."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from model.base_gate import Trial, trial
from model.corpus import compose
from model.lm import LanguageModel
from model.manifest import add_measurements
from model.message import finish
from model.writing import write
from streaming.contracts.kinds import Kind

TRIALS: tuple[tuple[str, int, Kind], ...] = (("additive", 0, "recommendation"), ("outcome", 1, "promotion"))
"""Name, critic and kind of the trials; even critics are additive, odd ones judge by outcome."""
MARKS = (100, 400)
"""LoRA steps after which is measured."""
MOST_TOKENS = 48
BATCH = 32

Told = Callable[[str, int, float], None]
"""(trial, LoRA step, its KL in nats) → None."""


def measure(
    directory: Path, *, marks: tuple[int, ...] = MARKS, train: int = 1024, test: int = 256, told: Told | None = None
) -> dict[str, Trial]:
    """Run the trials on the base in `directory` and join the numbers to its manifest."""
    trials = {}
    for name, index, kind in TRIALS:
        lm = LanguageModel.load(str(directory), "cpu")
        tell = None if told is None else (lambda step, kl, name=name: told(name, step, kl))
        trials[name] = trial(lm, index, kind=kind, marks=marks, train=train, test=test, progress=tell)
    own = own_words_share(LanguageModel.load(str(directory), "cpu"), test)
    add_measurements(directory, summary(trials) | {"messages_by_model_share": own})
    return trials


def own_words_share(lm: LanguageModel, count: int, seed: int = 1, language: str = "") -> float:
    """Share of messages of composed decisions that are the model's own words; in one language, or in both as composed."""
    rng = np.random.default_rng(seed)
    requests = [compose(rng).request for _ in range(count)]
    requests = [msgspec.structs.replace(r, language=language) if language else r for r in requests]
    decisions = [{s.name: s.values[int(rng.integers(len(s.values)))] for s in r.slots} for r in requests]
    own = 0
    for at in range(0, count, BATCH):
        asked, decided = requests[at : at + BATCH], decisions[at : at + BATCH]
        raw = write(lm, asked, decided, max_tokens=MOST_TOKENS, rng=rng)
        own += sum(finish(*each)[0].source == "model" for each in zip(raw, asked, decided, strict=True))
    return round(own / count, 3)


def summary(trials: Mapping[str, Trial]) -> dict[str, object]:
    """The numbers of a manifest: lifts over the critic's own, rounded."""
    taught = {
        name: {
            "after_steps": {k: {a: round(b, 3) for a, b in msgspec.to_builtins(v).items()} for k, v in t.after.items()},
            "kl_nats": round(t.kl, 3),
        }
        for name, t in trials.items()
    }
    gate = {
        name: {
            "names_permuted": round(t.permuted, 3),
            "texts_swapped": round(t.swapped, 3),
            "unseen_products": round(t.unseen, 3),
            "passes": t.passes,
        }
        for name, t in trials.items()
    }
    return {"teachability": taught, "base_gate": gate}
