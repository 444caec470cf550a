"""Trackers by name write what they are for, with no account and no network; one that is not installed is named."""

import importlib.util
from pathlib import Path

import pytest

from model.data.errors import Refused
from model.training.trackers import tracker


def test_tensorboard_writes_events(tmp_path: Path) -> None:
    """What was logged is read back from the event file by TensorBoard itself."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kept = tracker("tensorboard", tmp_path / "events", "run", {})
    kept.log(3, {"loss": 0.25})
    kept.end()
    read = EventAccumulator(str(tmp_path / "events"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(3, 0.25)]


def test_none_writes_nothing_and_what_is_missing_is_named(tmp_path: Path) -> None:
    """By default nothing is kept; an unknown tracker and one that is not installed are refused in one line."""
    kept = tracker("none", tmp_path / "nothing", "run", {})
    kept.log(1, {"loss": 1.0})
    kept.end()
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(Refused, match="no tracker 'paper'"):
        tracker("paper", tmp_path, "run", {})
    if importlib.util.find_spec("mlflow") is None:
        with pytest.raises(Refused, match="pip install mlflow"):
            tracker("mlflow", tmp_path, "run", {})


def test_weights_and_biases_works_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no account, a run leaves a file that `wandb sync` could send, below its folder."""
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    kept = tracker("wandb", tmp_path / "runs", "run", {"rate": 1.0})
    kept.log(3, {"loss": 0.25})
    kept.end()
    files = list((tmp_path / "runs").rglob("offline-run-*/*.wandb"))
    assert len(files) == 1
    assert b"loss" in files[0].read_bytes()
