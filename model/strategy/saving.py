"""A base on its way: a candidate while it is examined, then a base to serve, or bare weights that nothing loads."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
from transformers.utils import logging

from model.identity import default_base
from model.lm import LanguageModel
from model.manifest import FILE, file_hashes
from model.objectives.shapes import fits, loaded, tokenizer_of
from model.prompt import RECIPE
from model.training.runs import folder_sha256

CANDIDATE, SERVED = "candidate", "base"
WEIGHTS, REFUSED = "model.safetensors", "refused.safetensors"


def checked(source: str, seed: int) -> None:
    """Check a checkpoint that is brought along; the base that ships needs none.

    Raises:
        Refused: it cannot be read, is no causal model, or its tokenizer is not its own.
    """
    if source:
        fits(loaded("causal", source, seed), tokenizer_of(source, [], 0, "causal"), None)


def base_sha256(source: str) -> str:
    """Hash of the base that goes on learning; empty for a name on a hub."""
    return folder_sha256(Path(source or str(default_base())))


def keep(lm: LanguageModel, folder: Path) -> None:
    """Write a candidate as `LanguageModel.load` reads it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one file needs none
    lm.causal.save_pretrained(folder)
    lm.spelling.tokenizer.save_pretrained(folder)
    lm.pointer.save(folder)


def accept(run: Path, told: dict[str, Any]) -> None:
    """Make the candidate a base, with a manifest of its files and what was measured."""
    folder = run / CANDIDATE
    content = told | {"prompt": RECIPE, "files_sha256": file_hashes(folder)}
    (folder / FILE).write_bytes(
        msgspec.json.format(msgspec.json.encode(content, order="deterministic"), indent=2) + b"\n"
    )
    shutil.rmtree(run / SERVED, ignore_errors=True)  # of an attempt that was killed before it was published
    folder.rename(run / SERVED)


def refuse(run: Path) -> None:
    """Keep the weights alone: without configuration and tokenizer no worker can load them by accident."""
    weights = sorted((run / CANDIDATE).glob("model*.safetensors"))
    for place, path in enumerate(weights):
        path.rename(run / (REFUSED if len(weights) == 1 else f"{place}.{REFUSED}"))
    shutil.rmtree(run / CANDIDATE)
