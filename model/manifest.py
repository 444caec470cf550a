"""The recipe of a base and the manifest that tells where it came from and what it was measured to do."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from model.prompt import RECIPE

FILE = "manifest.json"


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the bytes of a base.

    Args:
        steps: in all; the first `causal_steps` are plain causal LM.
        prompts, suffixes, messages: per step: prompts read, packed suffixes of each, composed messages.
        teachers: size of the population; until step `sparse_from` each tells many groups of customers apart, then few.
        rate: largest learning rate; falls as a half cosine to a twentieth.
        rebuild_weight, message_weight: of the losses beside the teachers'.
        vocabulary: tokens before our own words. corpus: requests that the tokenizer reads.
        width, layers: of the model.
    """

    seed: int = 0
    steps: int = 4200
    causal_steps: int = 150
    prompts: int = 12
    suffixes: int = 7
    messages: int = 8
    teachers: int = 48
    sparse_from: int = 1400
    rate: float = 2e-3
    rebuild_weight: float = 0.5
    message_weight: float = 0.3
    vocabulary: int = 2200
    corpus: int = 3000
    width: int = 128
    layers: int = 4
    prompt: str = RECIPE

    def hash(self) -> str:
        """Short hex hash of the recipe."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    def scaled(self, scale: float) -> "Recipe":
        """The recipe with `scale` times the steps, at least one of each part."""
        if scale == 1.0:
            return self
        causal = max(round(self.causal_steps * scale), 1)
        return msgspec.structs.replace(
            self,
            steps=max(round(self.steps * scale), causal + 1),
            causal_steps=causal,
            sparse_from=round(self.sparse_from * scale),
        )

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a linear warm-up of a fiftieth of the run, then half a cosine."""
        warm = max(self.steps // 50, 1)
        part = min(step / self.steps, 1.0)
        return self.rate * min((step + 1) / warm, 1.0) * (0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * part)))


def corpus_sha256(texts: Iterable[str]) -> str:
    """Hash of the corpus' texts in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def write_manifest(out: Path, recipe: Recipe, texts: Iterable[str], cpu_s: float) -> None:
    """The manifest of a finished run, without measurements; CPU time is kept apart from what decides the bytes."""
    content: dict[str, Any] = {
        "recipe": msgspec.to_builtins(recipe),
        "recipe_hash": recipe.hash(),
        "corpus_sha256": corpus_sha256(texts),
        "cpu_minutes": round(cpu_s / 60, 2),
    }
    (out / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def add_measurements(directory: Path, measured: dict[str, Any]) -> None:
    """Join measured numbers to a base's manifest."""
    content = msgspec.json.decode((directory / FILE).read_bytes()) | measured
    (directory / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
