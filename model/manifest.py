"""The recipe of a base and the manifest that tells where it came from and what it was measured to do."""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from model.prompt import RECIPE

FILE = "manifest.json"
_OF_A_BASE = (".safetensors", ".json")


class Recipe(msgspec.Struct, frozen=True):
    """Everything that decides the bytes of a base.

    Args:
        steps: in all; the first `causal_steps` are plain causal LM.
        prompts, suffixes, messages: per step: prompts read, packed suffixes of each, composed messages.
        teachers: size of the population; until step `sparse_from` each tells many groups of customers apart, then few.
        rate: largest learning rate. It falls as a half cosine that would end at step `horizon`, and from `cool_from`
            on linearly to almost nothing at the end, because a base is done when its time is.
        rebuild_weight, message_weight: of the losses beside the teachers'.
        vocabulary: tokens before our own words. corpus: requests that the tokenizer reads.
        width, layers: of the model.
        source: a base by name or path that is fine-tuned instead of a new one; it keeps its tokenizer and size, and wants
            a far smaller `rate`.
    """

    seed: int = 0
    steps: int = 2850
    horizon: int = 4200
    cool_from: int = 2400
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
    source: str = ""

    def hash(self) -> str:
        """Short hex hash of the recipe."""
        content = msgspec.to_builtins(self)
        if not self.source:
            del content["source"]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:16]

    def scaled(self, scale: float) -> "Recipe":
        """The recipe with `scale` times the steps, at least one of each part."""
        if scale == 1.0:
            return self
        causal = max(round(self.causal_steps * scale), 1)
        steps = max(round(self.steps * scale), causal + 1)
        horizon, cool, sparse = (round(n * scale) for n in (self.horizon, self.cool_from, self.sparse_from))
        return msgspec.structs.replace(
            self,
            steps=steps,
            causal_steps=causal,
            horizon=max(horizon, steps),
            cool_from=min(cool, steps - 1),
            sparse_from=sparse,
        )

    def rate_at(self, step: int) -> float:
        """Learning rate of a step; the first fiftieth of the horizon is a linear warm-up."""
        warm = max(self.horizon // 50, 1)
        falling = 0.05 + 0.95 * 0.5 * (1.0 + math.cos(math.pi * min(step / self.horizon, 1.0)))
        cooling = (self.steps - step) / (self.steps - self.cool_from) if step > self.cool_from else 1.0
        return self.rate * min((step + 1) / warm, 1.0) * falling * max(cooling, 0.02)


def corpus_sha256(texts: Iterable[str]) -> str:
    """Hash of the corpus' texts in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def file_hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of every file of a base but its manifest and a run's own leftovers, hexadecimal."""
    made = sorted(path for path in directory.iterdir() if path.suffix in _OF_A_BASE and path.name != FILE)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made}


def write_manifest(out: Path, recipe: Recipe, texts: Iterable[str], cpu_s: float) -> None:
    """The manifest of a finished run whose files are written, without measurements."""
    content: dict[str, Any] = {
        "recipe": msgspec.to_builtins(recipe),
        "recipe_hash": recipe.hash(),
        "corpus_sha256": corpus_sha256(texts),
        "cpu_minutes": round(cpu_s / 60, 2),
        "files_sha256": file_hashes(out),
    }
    (out / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def prompt_of(directory: Path) -> str:
    """How the prompts of a base were written, by its manifest; empty where that does not say, or there is none."""
    try:
        content = msgspec.json.decode((directory / FILE).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return ""
    return str({**content.get("recipe", {}), **content}.get("prompt", ""))


def add_measurements(directory: Path, measured: dict[str, Any]) -> None:
    """Join measured numbers to a base's manifest."""
    content = msgspec.json.decode((directory / FILE).read_bytes()) | measured
    (directory / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")
