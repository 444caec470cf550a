"""A pretraining run: texts, tokenizer, model, training, figures on what was held out. Resumable as every run is."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from model.data.errors import Refused
from model.objectives.figures import Judged, figures, peer, told, verdict
from model.objectives.rows import HELD_TURN, Examples, Reader
from model.objectives.shapes import SHAPES, Objective, config, fits, fresh, loaded, scale_of, tokenizer_of
from model.objectives.texts import read
from model.peft_methods.kinds import METHODS
from model.peft_methods.learning import Learning
from model.peft_methods.making import asked, make, merge, trainable_parameters
from model.peft_methods.making import save as save_method
from model.response.tables import data_sha256
from model.training.loop import Loop, Plan, Precision, Told, autocast, device_of, rows_of
from model.training.runs import Run, folder_sha256, identity_of
from model.training.trackers import Tracker, tracker

PEERS = {"causal": "unigram", "mlm": "unigram", "nsp": "chance"}
NAME = "pretrain"
METHOD = "method"
"""Folder of a run that holds what a method trained."""
EVALUATIONS = 10
"""Evaluations of a run, a checkpoint with each."""


class Settings(msgspec.Struct, frozen=True):
    """Of a pretraining run.

    Args:
        base: a checkpoint by path or hub name; empty: a model from scratch of `shape`, `width`, `layers`.
        shape: llama, gpt2, qwen2 (causal), bert (mlm, nsp); empty: llama or bert.
        tokenizer: bpe, wordpiece, or one by path or hub name; empty: the base's own, else bpe (causal) or wordpiece.
        length: tokens of a row, at most.
        initial_scale: standard deviation of the first weights; 0: .02, for narrow models of pairs .1.
        dropout: of a model from scratch, and of a method.
        patience: evaluations (ten per run) without gain before stopping; 0: never.
        peft: what of a causal base is trained, see `model/peft_methods/kinds.py`; rank: of the method, 0: its own.
        merge: write the method into the base's weights before saving.
    """

    objective: Objective
    base: str = ""
    shape: str = ""
    tokenizer: str = ""
    vocabulary: int = 2_000
    width: int = 64
    layers: int = 2
    length: int = 64
    initial_scale: float = 0.0
    dropout: float = 0.1
    steps: int = 1_000
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 0.01
    accumulate: int = 1
    patience: int = 0
    peft: str = "full"
    rank: int = 0
    merge: bool = False
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"


class Work:
    """Model, tokenizer and examples of a run, made from its settings and data alone."""

    def __init__(self, data: Path, settings: Settings) -> None:
        """Read, tokenize, make or load.

        Raises:
            Refused: the folder, the base or the tokenizer cannot be used.
        """
        s = self.settings = settings
        wished = asked(s.peft, s.rank, s.dropout, base=s.base, merge=s.merge)
        self.sized = msgspec.structs.replace(wished, steps=s.steps)
        if s.peft != "full" and s.objective != "causal":
            raise Refused(
                f"--peft {s.peft} adapts causal models here; those that read both ways by finetune --task response --peft"
            )
        texts = read(data)
        said = [text.said for text in texts.of("train")]
        wish = s.tokenizer or s.base or ("bpe" if s.objective == "causal" else "wordpiece")
        self.tokenizer = tokenizer_of(wish, said, s.vocabulary, s.objective)
        self.model = self._model() if s.peft == "full" else make(self._model(), self.sized)
        self.learning = Learning(self.model, self.sized)
        length = min(s.length, getattr(self.model.config, "max_position_embeddings", s.length))
        self.reader = Reader(s.objective, self.tokenizer, length, s.seed)
        self.train, self.valid, self.test = (self.reader.examples(texts, part) for part in ("train", "valid", "test"))
        self.device = device_of(s.device)

    def _model(self) -> Any:
        s = self.settings
        if s.base:
            model = loaded(s.objective, s.base, s.seed)
            own = tokenizer_of(s.base, [], 0, s.objective) if s.tokenizer else None
            fits(model, self.tokenizer, own)
            return model
        shape = s.shape or ("llama" if s.objective == "causal" else "bert")
        if SHAPES.get(shape) != ("causal" if s.objective == "causal" else "bidirectional"):
            raise Refused(f"a {shape} cannot learn {s.objective}: {', '.join(n for n, kind in SHAPES.items() if (kind == 'causal') == (s.objective == 'causal'))} can")  # fmt: skip
        made = config(
            shape, vocabulary=len(self.tokenizer), width=s.width, layers=s.layers, length=s.length, dropout=s.dropout,
            scale=s.initial_scale or scale_of(s.objective, s.width), pad=self.tokenizer.pad_token_id,
        )  # fmt: skip
        return fresh(s.objective, made, s.seed)

    def learn(self, run: Run, telling: Told, tracked: Tracker) -> int:
        """Train to the end; the model then has its best weights by the loss on `valid`. Returns the step they are of."""
        s, count = self.settings, len(self.train.groups)
        every = max(s.steps // EVALUATIONS, 1)
        plan = Plan(
            steps=s.steps, rate=s.rate, weight_decay=s.weight_decay, accumulate=s.accumulate, patience=s.patience,
            evaluate_every=every, checkpoint_every=every, seed=s.seed, device=s.device, precision=s.precision,
        )  # fmt: skip

        def loss(step: int, batch: int) -> torch.Tensor:
            place = step * s.accumulate + batch
            rows = rows_of(place, count, s.batch, s.seed)
            drawn = self.reader.batch(self.train, rows, place // max(-(-count // s.batch), 1))
            return told(self.model, s.objective, drawn.to(self.device))[0].mean() + self.learning.penalty()

        def score() -> float:
            return float(self.judge(self.valid).loss.mean())

        return Loop(self.model, loss, plan, score, self.learning).run(run, NAME, telling, tracked).best_step

    def save(self, run: Run) -> None:
        """The model with its tokenizer; of a method that is not merged, what it trained alone."""
        if self.settings.peft != "full" and not self.settings.merge:
            save_method(self.model, self.sized, run.path / METHOD)
            return
        merge(self.model, self.sized).save_pretrained(run.path / "model")
        self.tokenizer.save_pretrained(run.path / "model")

    def adapted(self) -> dict[str, Any]:
        """What the method trained, and what becomes of it."""
        found = METHODS[self.sized.method]
        return {
            "base": self.settings.base, "method": found.name, "rank": self.sized.size, "trained": trainable_parameters(self.model),
            "merged": self.settings.merge, "mergeable": found.mergeable, "hot_swappable": found.hot_swappable, "why": found.why,
        }  # fmt: skip

    @torch.no_grad()
    def judge(self, examples: Examples) -> Judged:
        """Loss and hits on held-out examples, beside what knows frequencies alone."""
        s, chosen = self.settings, self.reader.judged(examples)
        shares = self.reader.frequencies(self.train, len(self.tokenizer))
        parts: list[tuple[Any, ...]] = []
        groups: list[str] = []
        self.model.eval()
        for at in range(0, len(chosen), s.batch):
            mine = chosen[at : at + s.batch]
            batch = self.reader.batch(examples, mine, HELD_TURN).to(self.device)
            loss, right, rows = (
                part.float().cpu().numpy().astype(float) for part in told(self.model, s.objective, batch)
            )
            parts.append((loss, right, *peer(s.objective, batch, shares)))
            groups += [examples.groups[mine[int(row)]] for row in rows]
        loss, right, peer_loss, peer_right = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Judged(loss, right, peer_loss, peer_right, groups)


def main(data: Path, out: Path, settings: Settings, telling: Told, *, resume: bool, overwrite: bool, track: str = "none") -> dict[str, Any]:  # fmt: skip
    """Make the run `out` from a prepared folder; returns its report.

    Raises:
        Refused: the folder, the output, the base or a setting cannot be used.
    """
    brought = {name: folder_sha256(Path(getattr(settings, name))) for name in ("base", "tokenizer")}
    config = {"task": NAME, **msgspec.to_builtins(settings), "brought_sha256": brought}
    identity = identity_of(config, data_sha256(data), settings.seed)
    with Run(out, identity, resume=resume, overwrite=overwrite) as run:
        from transformers.utils.logging import disable_progress_bar

        work = Work(data, settings)
        tracked = tracker(track, run.path / "tracker", out.name, config)
        best = work.learn(run, telling, tracked)
        tracked.end()
        report = _report(work, best)
        run.write("report.json", msgspec.json.format(msgspec.json.encode(report, order="deterministic"), indent=2))
        disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' own lack
        work.save(run)
        run.drop(NAME)
        run.publish()
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def _report(work: Work, best: int) -> dict[str, Any]:
    s, name = work.settings, PEERS[work.settings.objective]
    with autocast(Plan(steps=1, rate=s.rate, device=s.device, precision=s.precision)):
        found = figures(work.judge(work.test), s.seed)
    return {
        "task": NAME, "objective": s.objective, "models": {s.objective: found["model"], name: found["peer"]},
        "gain": found["gain"], "verdict": verdict(found["gain"], name), "judged": {"targets": found["targets"], "groups": found["groups"]},
        "examples": {"train": len(work.train.groups), "valid": len(work.valid.groups), "test": len(work.test.groups)},
        "best_step": best, "parameters": sum(p.numel() for p in work.model.parameters()), "vocabulary": len(work.tokenizer),
        "adapted": work.adapted(),
    }  # fmt: skip
