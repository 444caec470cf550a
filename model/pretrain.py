"""`stratagem pretrain`: the base that ships, made from a committed recipe, the same bytes for the same recipe and thread.

Causal LM on composed prompts and messages first, then fine-tuning with the population of teachers. Every step draws from
a generator of its own, seeded by recipe and step, so that a resumed run is the run that was not interrupted.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from transformers.utils import logging as transformers_logging

from model.corpus import compose
from model.finetune import (
    causal_loss,
    compose_batch,
    lessons,
    message_loss,
    message_of,
    reconstruction_of,
    teacher_loss,
)
from model.fresh import adopt, new_base
from model.lm import LanguageModel
from model.manifest import Recipe, write_manifest
from model.prompt import render
from model.teachers import Teacher, draw_teacher
from model.tokenizer import train

CHECKPOINT = "checkpoint.pt"
Progress = Callable[[int, int, dict[str, float]], None]
"""(step, steps, losses of the step) → None."""


class Run:
    """A base in the making."""

    def __init__(self, recipe: Recipe) -> None:
        """Tokenizer, weights and optimiser before the first step."""
        self.recipe = recipe
        self.lm = adopt(recipe.source, recipe.seed) if recipe.source else _new(recipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed + 1)
            self.heads = reconstruction_of(self.lm)
        self.lm.causal.requires_grad_(requires_grad=True)
        self.lm.pointer.requires_grad_(requires_grad=True)
        self.dense: list[Teacher] = [draw_teacher(recipe.seed, index, None) for index in range(recipe.teachers)]
        self.sparse: list[Teacher] = [draw_teacher(recipe.seed + 1, index) for index in range(recipe.teachers)]
        matrices = [p for p in self._parameters() if p.dim() > 1]
        others = [p for p in self._parameters() if p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.rate,
            betas=(0.9, 0.98),
        )
        self.step = 0
        self.cpu_s = 0.0

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [*self.lm.causal.parameters(), *self.lm.pointer.parameters(), *self.heads.parameters()]

    def advance(self) -> dict[str, float]:
        """One step; returns its losses in nats."""
        began = time.process_time()
        rng = np.random.default_rng((self.recipe.seed, 7, self.step))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        loss, shown = self._loss(rng)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack
        torch.nn.utils.clip_grad_norm_(self._parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.cpu_s += time.process_time() - began
        return shown

    def _loss(self, rng: np.random.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        recipe = self.recipe
        examples = compose_batch(recipe.prompts, rng)
        message = message_loss(self.lm, recipe.messages, rng)
        if self.step < recipe.causal_steps:
            causal = causal_loss(self.lm, examples)
            return causal + message, {"causal": float(causal.detach()), "message": float(message.detach())}
        asked = lessons(examples, self.sparse if self.step >= recipe.sparse_from else self.dense, recipe.suffixes, rng)
        taught, pointed, rebuilt = teacher_loss(self.lm, examples, asked, self.heads)
        loss = taught + recipe.rebuild_weight * rebuilt + recipe.message_weight * message
        shown = {"teacher_kl": float(taught.detach()), "pointed_kl": float(pointed), "rebuild": float(rebuilt.detach())}
        return loss, shown | {"message": float(message.detach())}

    def state(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {
            "recipe": self.recipe.hash(),
            "step": self.step,
            "cpu_s": self.cpu_s,
            "base": self.lm.causal.state_dict(),
            "pointer": self.lm.pointer.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same recipe; raises `ValueError` for another's."""
        if state["recipe"] != self.recipe.hash():
            raise ValueError(
                f"checkpoint of recipe {state['recipe']}, {self.recipe.hash()} wanted: remove it or pass its recipe"
            )
        self.lm.causal.load_state_dict(state["base"])
        self.lm.pointer.load_state_dict(state["pointer"])
        self.heads.load_state_dict(state["heads"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.cpu_s = state["step"], state["cpu_s"]

    def save(self, out: Path) -> None:
        """Base, tokenizer, pointer and manifest, as `LanguageModel.load` reads them."""
        out.mkdir(parents=True, exist_ok=True)
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # one file needs none
        self.lm.causal.save_pretrained(out)
        self.lm.spelling.tokenizer.save_pretrained(out)
        self.lm.pointer.save(out)
        write_manifest(out, self.recipe, corpus_texts(self.recipe), self.cpu_s)


def _new(recipe: Recipe) -> LanguageModel:
    tokenizer = train(corpus_texts(recipe), recipe.vocabulary)
    base, pointer = new_base(tokenizer, recipe.seed, width=recipe.width, layers=recipe.layers)
    return LanguageModel(base, tokenizer, pointer, "stratagem-base")


def corpus_texts(recipe: Recipe) -> list[str]:
    """The corpus that the tokenizer is made of, and whose hash the manifest carries."""
    rng = np.random.default_rng((recipe.seed, 3))
    texts: list[str] = []
    for _ in range(recipe.corpus):
        example = compose(rng)
        prompt = render(example.request)
        texts += [*prompt.candidates, *prompt.moment]
        texts.append(" " + message_of(example, rng)[1])
    return texts


def main(
    out: Path,
    *,
    recipe: Recipe | None = None,
    scale: float = 1.0,
    seed: int = 0,
    threads: int = 1,
    resume: bool = True,
    progress: Progress | None = None,
    checkpoint_every: int = 100,
) -> dict[str, Any]:
    """Make a base in `out`.

    Args:
        out: directory; a checkpoint lies in it until the end.
        recipe: the recipe that ships if None.
        scale: of the recipe's steps.
        seed: of everything.
        threads: of torch; bytes repeat with one.
        resume: go on from a checkpoint in `out`.
        progress: told after every step.
        checkpoint_every: steps.

    Returns:
        The manifest.
    """
    torch.set_num_threads(threads)
    run = Run((recipe or Recipe(seed=seed)).scaled(scale))
    out.mkdir(parents=True, exist_ok=True)
    kept = out / CHECKPOINT
    if resume and kept.exists():
        run.restore(torch.load(kept, weights_only=True))
    while run.step < run.recipe.steps:
        losses = run.advance()
        if progress is not None:
            progress(run.step, run.recipe.steps, losses)
        if run.step % checkpoint_every == 0:
            partial = kept.with_suffix(".part")
            torch.save(run.state(), partial)
            partial.replace(kept)
    run.save(out)
    kept.unlink(missing_ok=True)
    manifest: dict[str, Any] = msgspec.json.decode((out / "manifest.json").read_bytes())
    return manifest
