"""The loop: accumulated batches are one large batch, the best weights stay, a device that is not there is named."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.data.errors import Refused
from model.training.loop import Cost, Loop, Plan, Trained, device_of, rows_of
from model.training.runs import Run, identity_of

X = torch.from_numpy(np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])


def trained(
    folder: Path, plan: Plan, *, per_batch: int, worsening: bool = False
) -> tuple[nn.Linear, Trained, list[Cost]]:
    """A linear model trained on X, Y; the costs that were told."""
    torch.manual_seed(0)
    model, costs, scores = nn.Linear(3, 1), [], iter(range(1_000))
    run = Run(folder, identity_of({}, "", 0))

    def loss(step: int, batch: int) -> Tensor:
        rows = torch.from_numpy(rows_of(step * plan.accumulate + batch, 64, per_batch, 0))
        return nn.functional.mse_loss(model(X[rows]), Y[rows])

    def score() -> float:
        return float(next(scores)) if worsening else float(nn.functional.mse_loss(model(X), Y))

    ended = Loop(model, loss, plan, score).run(run, "m", lambda *told: costs.append(told[3]) if told[3] else None)
    run.close()
    return model, ended, costs


def test_accumulated_batches_are_one(tmp_path: Path) -> None:
    """Four batches of 16 make the step that one batch of the same 64 rows makes."""
    plan = Plan(steps=3, rate=0.05)
    one, _, _ = trained(tmp_path / "one", plan, per_batch=64)
    four, _, _ = trained(tmp_path / "four", Plan(steps=3, rate=0.05, accumulate=4), per_batch=16)
    assert torch.allclose(one.weight, four.weight, atol=1e-5)


def test_it_learns_and_tells_its_cost(tmp_path: Path) -> None:
    """The loss falls, and from the third step on minutes and memory are told."""
    model, ended, costs = trained(tmp_path / "run", Plan(steps=200, rate=0.1, weight_decay=0.0), per_batch=16)
    assert float(nn.functional.mse_loss(model(X), Y).detach()) < 0.01
    assert ended.steps == 200
    assert len(costs) == 198
    assert costs[0].minutes >= 0
    assert costs[0].memory_gb > 0


def test_it_stops_when_nothing_is_gained(tmp_path: Path) -> None:
    """Scores that only get worse end training after the patience, with the first evaluation's weights."""
    plan = Plan(steps=100, rate=0.1, patience=3, evaluate_every=2)
    _, ended, _ = trained(tmp_path / "run", plan, per_batch=16, worsening=True)
    assert (ended.steps, ended.best_step) == (8, 2)


def test_a_device_that_is_not_there_is_named() -> None:
    """An unknown device is refused by name."""
    with pytest.raises(Refused, match="no device 'toaster'"):
        device_of("toaster")


def test_a_training_killed_before_its_checkpoint_is_logged_once(tmp_path: Path) -> None:
    """What was logged of it is cut off when it begins anew, and so is all behind it; other trainings' lines stay."""
    plan = Plan(steps=12, rate=0.1, evaluate_every=2, checkpoint_every=50)
    whole, _, _ = trained(tmp_path / "whole", plan, per_batch=16)
    del whole
    run = Run(tmp_path / "killed", identity_of({}, "", 0))
    run.log({"step": 9, "other/loss": 1.0})
    run.log({"step": 2, "m/loss": 5.0, "m/score": 5.0})
    run.log({"step": 4, "m/loss": 5.0, "m/score": 5.0})
    run.close()
    trained(tmp_path / "killed", plan, per_batch=16)
    lines = [
        (tmp_path / f".{name}.partial" / "metrics.jsonl").read_bytes().splitlines() for name in ("whole", "killed")
    ]
    assert lines[1] == [b'{"step":9,"other/loss":1.0}', *lines[0]]
    run = Run(tmp_path / "killed", identity_of({}, "", 0))
    assert len(run.logged("m/score")) == 6
    run.close()
