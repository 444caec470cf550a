"""The average of what is being trained: a definition in NumPy beside it, snapshots, and older snapshots without one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.averaged import DECAY, Averaged


def walked(steps: int) -> tuple[dict[str, Tensor], Averaged, list[float]]:
    """A parameter that goes 0, 1, 2 …, what followed it, and the mean by definition."""
    parameters = {"one": torch.zeros(2)}
    average, mean, means = Averaged(parameters), 0.0, list[float]()
    for step in range(steps):
        parameters["one"] += 1.0
        average.follow()
        kept = min(DECAY, (1 + step) / (10 + step))
        mean = kept * mean + (1.0 - kept) * (step + 1.0)
        means.append(mean)
    return parameters, average, means


def test_it_is_the_exponential_mean_of_the_steps() -> None:
    """By its definition; it lags behind a walk, never ahead of it, and the parameters themselves are left alone."""
    parameters, average, means = walked(600)
    assert average.tensors()["one"].tolist() == pytest.approx([means[-1]] * 2, rel=1e-4)
    assert parameters["one"].tolist() == [600.0, 600.0]
    assert 600.0 - means[-1] == pytest.approx(DECAY / (1.0 - DECAY), rel=0.01)
    assert np.all(np.diff(means) > 0.0)


def test_it_goes_on_from_a_snapshot() -> None:
    """The same next mean as without a stop; what was handed out does not change with it."""
    parameters, average, _ = walked(7)
    other = Averaged({"one": parameters["one"].clone()})
    other.restore(average.state())
    before = other.tensors()
    for one in (average, other):
        one.follow()
    assert torch.equal(average.tensors()["one"], other.tensors()["one"])
    assert not torch.equal(before["one"], other.tensors()["one"])


def test_a_snapshot_without_one_begins_where_the_parameters_are() -> None:
    """Snapshots of older versions have no average."""
    parameters, average, _ = walked(7)
    average.restore({"steps": torch.tensor(7)})
    assert torch.equal(average.tensors()["one"], parameters["one"])
