"""The training loop of every run: accumulation, precision, early stopping, checkpoints, and what it will cost, told early.

Every draw of a step is seeded by (seed, step), never taken from a loader's state: a run that goes on is the run that was not interrupted.
"""

import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from model.data.errors import Refused
from model.training.runs import Run
from model.training.trackers import Nowhere, Tracker

Precision = Literal["float32", "bfloat16"]
TIMED_STEPS = 3
"""Steps after which a run says what it will cost; the first one compiles and caches and does not count."""
BYTES_PER_GB = 1e9


class Plan(msgspec.Struct, frozen=True):
    """How to train.

    Args:
        steps: of the optimiser, at most.
        accumulate: batches whose gradients make one step.
        warmup: share of the steps in which the rate rises; afterwards it falls to 0 on a line.
        patience: evaluations without a better score after which training ends; 0: never.
        evaluate_every, checkpoint_every: steps.
        stop: step after which training ends although the rate was planned for `steps`; 0: never.
    """

    steps: int
    rate: float
    weight_decay: float = 0.01
    accumulate: int = 1
    warmup: float = 0.1
    clip: float = 1.0
    patience: int = 0
    evaluate_every: int = 50
    checkpoint_every: int = 50
    stop: int = 0
    seed: int = 0
    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def last(self) -> int:
        """The step after which training ends at the latest."""
        return min(self.steps, self.stop or self.steps)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        rise = max(round(self.warmup * self.steps), 1)
        return self.rate * min((step + 1) / rise, max(self.steps - step, 1) / max(self.steps - rise, 1), 1.0)


class Cost(msgspec.Struct, frozen=True):
    """What a run will take: minutes still to go, and the most memory so far."""

    minutes: float
    memory_gb: float


class Trained(msgspec.Struct, frozen=True):
    """What training came to: steps done, and the best score of the evaluations (lower is better) with its step."""

    steps: int
    best: float | None
    best_step: int


Loss = Callable[[int, int], Tensor]
"""(step, batch within the step) → loss."""
Told = Callable[[int, int, dict[str, float], Cost | None], None]
"""(step, steps, metrics, cost once it is known) → None."""


class Also(Protocol):
    """What changes in training beside weights and optimiser."""

    def after(self, step: int) -> None:
        """Called after step number `step`, before gradients are cleared."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, for a checkpoint."""

    def take(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""


class Loop:
    """One training. Its model keeps the best evaluated weights at the end, where there is an evaluation."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        plan: Plan,
        score: Callable[[], float] | None = None,
        also: Also | None = None,
    ) -> None:
        """Join model and optimiser on the device.

        Args:
            loss: the loss of a batch; everything random in it comes from its arguments and torch's generator, which is seeded before.
            score: evaluates the model; lower is better.
        """
        self.model, self.loss, self.plan, self.score = model.to(device_of(plan.device)), loss, plan, score
        self.also = also
        wanted = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in wanted if p.dim() > 1], "weight_decay": plan.weight_decay},
            {"params": [p for p in wanted if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
        self.step, self.best, self.best_step, self.worse = 0, float("inf"), 0, 0
        self.kept: dict[str, Tensor] | None = None

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.model.named_parameters() if p.requires_grad}

    def _take(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])

    def run(self, run: Run, name: str, told: Told, tracker: Tracker | None = None) -> Trained:
        """Train to the end, from the checkpoint `name` where there is one. The checkpoint stays until it is dropped."""
        self._restore(run.load(name))
        tracker, began, cost = tracker or Nowhere(), None, None
        first = self.step
        while self.step < self.plan.last and not self._tired():
            value = self._advance()
            began = began or time.monotonic()
            if self.step - first == TIMED_STEPS:
                cost = Cost(
                    (time.monotonic() - began) / (TIMED_STEPS - 1) * (self.plan.last - self.step) / 60, memory_gb()
                )
            metrics = {f"{name}/loss": value, **self._evaluated(name)}
            told(self.step, self.plan.last, metrics, cost)
            if self.step % self.plan.evaluate_every == 0 or self.step == self.plan.last:
                run.log({"step": self.step, **metrics})
                tracker.log(self.step, metrics)
            if self.step % self.plan.checkpoint_every == 0:
                run.save(name, self._state())
        run.save(name, self._state())
        if self.kept is not None:
            self._take(self.kept)
        return Trained(self.step, self.best if self.kept else None, self.best_step)

    def _tired(self) -> bool:
        return bool(self.plan.patience) and self.worse >= self.plan.patience

    def _advance(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step)
        self.model.train()
        self.optimizer.zero_grad()
        total = 0.0
        for batch in range(self.plan.accumulate):
            torch.manual_seed(_seed(self.plan.seed, self.step, batch))
            with autocast(self.plan):
                loss = self.loss(self.step, batch) / self.plan.accumulate
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack
            total += float(loss.detach())
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.plan.clip)
        self.optimizer.step()
        if self.also is not None:
            self.also.after(self.step)
        self.step += 1
        return total

    def _evaluated(self, name: str) -> dict[str, float]:
        if self.score is None or (self.step % self.plan.evaluate_every and self.step != self.plan.last):
            return {}
        self.model.eval()
        with torch.no_grad(), autocast(self.plan):
            score = self.score()
        if score < self.best:
            self.best, self.best_step, self.worse, self.kept = score, self.step, 0, self._weights()
        else:
            self.worse += 1
        return {f"{name}/score": score}

    def _state(self) -> dict[str, Any]:
        mine = {key: getattr(self, key) for key in ("step", "best", "best_step", "worse", "kept")}
        also = {} if self.also is None else self.also.state()
        return mine | {"weights": self._weights(), "optimizer": self.optimizer.state_dict(), "also": also}

    def _restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        self._take(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.also is not None:
            self.also.take(state["also"])
        for key in ("step", "best", "best_step", "worse", "kept"):
            setattr(self, key, state[key])


def _seed(seed: int, step: int, batch: int) -> int:
    return int(np.random.SeedSequence((seed, step, batch)).generate_state(1)[0])


def rows_of(place: int, count: int, size: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The rows of batch number `place` when `count` rows are read in rounds, each in an order of its own drawn from the seed."""
    per_round = max(-(-count // size), 1)
    order = np.random.default_rng((seed, place // per_round)).permutation(count)
    at = place % per_round * size
    return order[at : at + size]


def device_of(name: str) -> torch.device:
    """A device by name; `auto` is CUDA where there is one.

    Raises:
        Refused: the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Refused(f"no device {name!r} here: {str(error).splitlines()[0]}") from None


def autocast(plan: Plan) -> AbstractContextManager[Any]:
    """The plan's precision for a forward pass."""
    if plan.precision == "float32":
        return nullcontext()
    return torch.autocast(device_of(plan.device).type, dtype=torch.bfloat16)


def memory_gb() -> float:
    """The most memory that the process has held: the GPU's where one is used, else its own."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated() / BYTES_PER_GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / BYTES_PER_GB
