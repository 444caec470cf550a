"""The recipe: the same bytes twice, and after an interruption."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from model.lm import LanguageModel
from model.manifest import Recipe
from model.pretrain import CHECKPOINT, main
from tests.model.composed import bytes_lm

TINY = Recipe(
    steps=4,
    horizon=6,
    cool_from=2,
    sparse_from=2,
    causal_steps=1,
    prompts=2,
    suffixes=3,
    messages=2,
    teachers=4,
    vocabulary=500,
    corpus=60,
    width=32,
    layers=1,
)


class Interrupted(Exception):
    """Stands for Ctrl-C."""


def stop_after(step: int, *_: object) -> None:
    """Progress that interrupts the run."""
    if step == 3:
        raise Interrupted


def digests(directory: Path) -> dict[str, str]:
    """Hash per file, but for the manifest, which tells the CPU time."""
    files = sorted(path for path in directory.iterdir() if path.name != "manifest.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_short_recipe_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    """Two runs on one thread are equal in every file, and their manifests in recipe and corpus."""
    first, second = (main(tmp_path / name, recipe=TINY) for name in ("a", "b"))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert {k: v for k, v in first.items() if k != "cpu_minutes"} == {
        k: v for k, v in second.items() if k != "cpu_minutes"
    }
    assert first["recipe_hash"] == TINY.hash()
    assert first["files_sha256"] == {k: v for k, v in digests(tmp_path / "a").items() if k in first["files_sha256"]}
    assert {"model.safetensors", "pointer.safetensors"} <= set(first["files_sha256"])


def test_a_resumed_run_is_the_run_not_interrupted(tmp_path: Path) -> None:
    """Stopped after a checkpoint and started again, it ends with the same bytes; the checkpoint is gone."""
    main(tmp_path / "whole", recipe=TINY)
    with pytest.raises(Interrupted):
        main(tmp_path / "halves", recipe=TINY, checkpoint_every=2, progress=stop_after)
    assert (tmp_path / "halves" / CHECKPOINT).exists()
    main(tmp_path / "halves", recipe=TINY)
    assert digests(tmp_path / "halves") == digests(tmp_path / "whole")


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    """Going on with another recipe would give a base that no recipe makes."""
    with pytest.raises(Interrupted):
        main(tmp_path, recipe=TINY, checkpoint_every=2, progress=stop_after)
    with pytest.raises(ValueError, match=TINY.hash()):
        main(tmp_path, recipe=TINY, seed=0, scale=2.0)


def test_what_is_made_loads(tmp_path: Path) -> None:
    """A finished directory is a base for `LanguageModel.load`."""
    main(tmp_path, recipe=TINY)
    assert len(LanguageModel.load(str(tmp_path), "cpu").base_sha256) == 64


def test_a_foreign_base_is_given_a_pointer(tmp_path: Path) -> None:
    """A base without a pointer is fine-tuned by the same recipe, keeps its tokenizer, and tells candidates apart."""
    source = bytes_lm()
    source.causal.save_pretrained(tmp_path / "foreign")
    source.spelling.tokenizer.save_pretrained(tmp_path / "foreign")
    recipe = msgspec.structs.replace(TINY, source=str(tmp_path / "foreign"), rate=1e-4, prompts=1)
    manifest = main(tmp_path / "own", recipe=recipe)
    made = LanguageModel.load(str(tmp_path / "own"), "cpu")
    assert manifest["recipe_hash"] == recipe.hash()
    assert made.spelling.start == source.spelling.start
    assert bool(made.pointer.point.any())
