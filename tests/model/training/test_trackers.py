"""Trackers by name write what they are for, with no account and no network; one that is not installed is named."""

import json
import struct
import sys
from collections.abc import Iterator
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


def test_none_writes_nothing_and_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default nothing is kept; an unknown tracker and one that is not installed are refused in one line."""
    kept = tracker("none", tmp_path / "nothing", "run", {})
    kept.log(1, {"loss": 1.0})
    kept.end()
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(Refused, match="no tracker 'paper'"):
        tracker("paper", tmp_path, "run", {})
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as where it is not installed
    with pytest.raises(Refused, match=r"the tracker mlflow is not installed: pip install 'stratagem\[trackers\]'"):
        tracker("mlflow", tmp_path, "run", {})


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")  # MLflow's own use of SQLAlchemy
def test_mlflow_writes_a_file_and_counts_nobody(tmp_path: Path) -> None:
    """What was logged is read back from the run's own SQLite file by MLflow itself; whom MLflow would tell of its use is not there."""
    kept = tracker("mlflow", tmp_path / "runs", "run", {"rate": 1.0})
    kept.log(3, {"loss": 0.25})
    kept.log(5, {"loss": 0.125, "second/loss": 1.5})
    kept.end()
    from mlflow import MlflowClient
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None
    client = MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    (found,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (found.info.run_name, found.info.status, found.data.params) == ("run", "FINISHED", {"rate": "1.0"})
    assert [(each.step, each.value) for each in client.get_metric_history(found.info.run_id, "loss")] == [(3, 0.25), (5, 0.125)]  # fmt: skip
    assert found.data.metrics["second/loss"] == 1.5


def test_weights_and_biases_works_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no account, a run leaves a file that `wandb sync` could send, below its folder; a later training's figures are in it too."""
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    kept = tracker("wandb", tmp_path / "runs", "run", {"rate": 1.0})
    kept.log(3, {"loss": 0.25})
    kept.log(5, {"first/loss": 0.5, "first/score": 0.75})
    kept.log(1, {"second/loss": 1.5})  # begins anew
    kept.log(2, {"second/loss": 1.25})
    kept.end()
    files = list((tmp_path / "runs").rglob("offline-run-*/*.wandb"))
    assert len(files) == 1
    figures, axes = _read(files[0])
    assert figures == [
        {"loss": 0.25, "step": 3},
        {"first/loss": 0.5, "first/score": 0.75, "first/step": 5},
        {"second/loss": 1.5, "second/step": 1},
        {"second/loss": 1.25, "second/step": 2},
    ]
    assert axes == {
        "loss": "step", "first/loss": "first/step", "first/score": "first/step", "second/loss": "second/step"
    }  # fmt: skip


def _records(content: bytes) -> Iterator[bytes]:
    """The records of LevelDB's log format: blocks of 32 KiB, in them a checksum, a length, a kind and so many bytes."""
    place, record = 7, b""  # after the file's own header
    while place + 7 <= len(content):
        left = 32_768 - place % 32_768
        if left < 7:  # no room for the next head
            place += left
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or its end
            yield record
            record = b""


def _read(file: Path) -> tuple[list[dict[str, float]], dict[str, str]]:
    """A run's figures, without what wandb adds, and over which steps each is drawn."""
    from wandb.proto import wandb_internal_pb2

    figures, axes = [], {}
    for data in _records(file.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made when it is loaded
        record.ParseFromString(data)
        told = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        if told:
            figures.append({name: value for name, value in told.items() if not name.startswith("_")})
        if record.metric.step_metric:
            axes[record.metric.name] = record.metric.step_metric
    return figures, axes
