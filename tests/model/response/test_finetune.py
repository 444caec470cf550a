"""The response run: killed and resumed it is the undisturbed one; its features know nothing of the future; it says who is best."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model.data.errors import Refused
from model.data.leakage import future_features
from model.response.encoder import loaded
from model.response.features import features
from model.response.finetune import main
from model.response.fitting import Settings
from model.response.folds import folds
from model.response.tables import read
from model.training.runs import Run, identity_of
from tests.model.training.killing import killed_and_resumed

EXTRACT = Path(__file__).parents[1] / "data" / "extract"
COMMAND = ["finetune", "--task", "response", "--epochs", "2", "--batch", "32"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped extract of Complete Journey, prepared by the command."""
    out = tmp_path_factory.mktemp("response") / "data"
    command = [sys.executable, "-m", "services.cli", "data", "prepare", "--source", "completejourney", str(EXTRACT)]
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    return out


@pytest.mark.timeout(400)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(prepared: Path, tmp_path: Path) -> None:
    """Killed after a checkpoint and started again, every file of the run is the same; before that, nothing shows."""
    whole, said = killed_and_resumed([*COMMAND, "--data", prepared], tmp_path)
    assert "minutes" in said
    report = json.loads((whole / "report.json").read_bytes())
    assert set(report["models"]) == {"prior_rate", "logistic_regression", "gradient_boosting", "encoder", "blend"}
    for scores in report["models"].values():
        assert set(scores) == {"auc", "pr_auc", "brier", "log_loss", "calibration_slope"}
        assert all(s["low"] <= s["high"] for s in scores.values())
    best = min(report["models"], key=lambda name: report["models"][name]["log_loss"]["value"])
    assert report["verdict"]["best"] == best


def test_no_feature_knows_the_future(prepared: Path) -> None:
    """Built from what was known at a moment alone, every feature of the exposures before it is the same."""
    tables = read(prepared)
    cuts = [datetime(2017, month, 1, tzinfo=UTC) for month in (5, 8, 11)]
    assert future_features(lambda cut: features(tables.until(cut)), cuts, "exposure", "at") == []


def test_a_fold_learns_only_from_closed_windows(prepared: Path) -> None:
    """All that a fold learns from had been answered, or not, before anything that it is judged on was sent."""
    exposures = read(prepared).exposures
    found = folds(exposures, ("purchase",))
    assert found
    for fold in found:
        assert exposures["purchase_until"].gather(fold.known).max() <= fold.origin  # type: ignore[operator]
        assert exposures["at"].gather(fold.test).min() >= fold.origin  # type: ignore[operator]
    judged = [row for fold in found for row in fold.test.tolist()]
    assert len(judged) == len(set(judged))


def test_what_cannot_be_used_is_named(prepared: Path, tmp_path: Path) -> None:
    """A folder that is none, a truncated file, a causal base and a run of other settings are each refused by name."""
    with pytest.raises(Refused, match=r"exposures\.parquet is not there"):
        read(tmp_path)
    (tmp_path / "exposures.parquet").write_bytes((prepared / "exposures.parquet").read_bytes()[:500])
    with pytest.raises(Refused, match="no whole Parquet file"):
        read(tmp_path)
    with pytest.raises(Refused, match="one direction"):
        loaded(str(Path(__file__).parents[3] / "model" / "base"))
    with pytest.raises(Refused, match="cannot be loaded"):
        loaded(str(tmp_path / "nothing"))
    with pytest.raises(Refused, match=r"exposures\.parquet is not there"):
        main(
            tmp_path / "nothing", tmp_path / "none", Settings(), lambda _: lambda *_: None, resume=True, overwrite=False
        )
    assert not list(tmp_path.glob(".none*"))
    Run(tmp_path / "run", identity_of({"rate": 1}, "data", 0)).close()
    with pytest.raises(Refused, match="another config"):
        Run(tmp_path / "run", identity_of({"rate": 2}, "data", 0))
    Run(tmp_path / "run", identity_of({"rate": 2}, "data", 0), resume=False).close()
