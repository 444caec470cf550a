"""What a pretrained model tells of held-out examples: loss, perplexity, accuracy with intervals, beside chance. Pure."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from model.objectives.collate import IGNORED, Batch
from model.objectives.shapes import Objective
from model.response.scores import LEVEL, RESAMPLES, Estimate

Floats = npt.NDArray[np.float64]
MOST_LOSS = 700.0
"""Nats whose exponent a float holds."""


class Judged(msgspec.Struct, frozen=True):
    """Per target: loss in nats of the model and of the peer that knows frequencies alone, whether each was right, the example's group."""

    loss: Floats
    right: Floats
    peer_loss: Floats
    peer_right: Floats
    groups: list[str]


def told(model: Any, objective: Objective, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The model's losses (N,) and whether its first guess is right (N,), per target, with the row (N,) that each is of."""
    logits, targets = model(**batch.inputs).logits, batch.targets
    if objective == "causal":
        logits = logits[:, -targets.shape[1] :]  # a learned prompt stands before the text
        logits, targets = logits[:, :-1], targets[:, 1:]
    wanted = targets != IGNORED
    chosen, answers = logits[wanted].float(), targets[wanted]
    rows = wanted.nonzero()[:, 0]
    loss = nn.functional.cross_entropy(chosen, answers, reduction="none")
    return loss, chosen.argmax(-1) == answers, rows


def peer(objective: Objective, batch: Batch, frequencies: Floats) -> tuple[Floats, Floats]:
    """Losses and hits of the peer: of tokens their frequency in training, of pairs a coin."""
    answers = batch.targets[batch.targets != IGNORED].cpu().numpy()
    if objective == "nsp":
        return np.full(len(answers), np.log(2.0)), np.full(len(answers), 0.5)
    return -np.log(frequencies[answers]), (answers == frequencies.argmax()).astype(float)


def figures(judged: Judged, seed: int) -> dict[str, Any]:
    """Model and peer, and by how many nats the model is better, with 95 % intervals: whole groups are drawn anew (bootstrap)."""
    _, group = np.unique(judged.groups, return_inverse=True)
    count = int(group.max()) + 1
    columns = {
        "targets": np.ones(len(group)), "loss": judged.loss, "right": judged.right,
        "peer_loss": judged.peer_loss, "peer_right": judged.peer_right,
    }  # fmt: skip
    sums = {name: np.bincount(group, values, count) for name, values in columns.items()}
    rng = np.random.default_rng((seed, 2))
    drawn = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(np.float64)

    def estimate(plus: str, minus: str | None = None, *, exponent: bool = False) -> Estimate:
        top = sums[plus] - (sums[minus] if minus else 0.0)
        value, spread = top.sum() / sums["targets"].sum(), (drawn @ top) / (drawn @ sums["targets"])
        low, high = np.percentile(spread, LEVEL)
        shown = [float(np.exp(min(x, MOST_LOSS)) if exponent else x) for x in (value, low, high)]
        return Estimate(*shown)

    def of(prefix: str) -> dict[str, Estimate]:
        loss = f"{prefix}loss"
        return {
            "loss": estimate(loss),
            "perplexity": estimate(loss, exponent=True),
            "accuracy": estimate(f"{prefix}right"),
        }

    return {"model": of(""), "peer": of("peer_"), "gain": estimate("peer_loss", "loss"), "targets": len(group), "groups": count}  # fmt: skip


def verdict(gain: Estimate, peer_name: str) -> dict[str, Any]:
    """Whether the model is worth going on with."""
    shown = f"{gain.value:.3f} nats per target ({gain.low:.3f} to {gain.high:.3f})"
    if gain.low > 0:
        return {"go_on": True, "says": f"better than {peer_name} by {shown}"}
    return {"go_on": False, "says": f"not better than {peer_name} beyond chance: {shown}"}
