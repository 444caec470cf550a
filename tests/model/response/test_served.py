"""A run answers of exposures as it did when it was judged, and proposes labels for what nobody has labelled."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from model.data.errors import Refused
from model.response.features import features, features_of
from model.response.finetune import Settings, main
from model.response.folds import folds
from model.response.proposals import NONE, asked_of, propose
from model.response.served import MODELS, Served
from model.response.tables import read
from model.response.texts import texts

EXTRACT = Path(__file__).parents[1] / "data" / "extract"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The shipped extract of Complete Journey, prepared, and a short run on it."""
    root = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "services.cli", "data", "prepare", "--source", "completejourney", str(EXTRACT)]
    subprocess.run([*command, "--out", str(root / "data")], check=True, capture_output=True)
    main(
        root / "data",
        root / "run",
        Settings(epochs=2, batch=32),
        lambda _: lambda *_: None,
        resume=True,
        overwrite=False,
    )
    return root / "data", root / "run"


def test_every_model_answers_as_it_was_judged(made: tuple[Path, Path]) -> None:
    """Read back from the run, each model gives the newest origin's exposures the log-odds that were kept of it."""
    data, run = made
    served, tables = Served.load(run), read(data)
    kept = load_file(max((run / "folds").iterdir()))
    judged = folds(tables.exposures, tables.labels)[-1].test
    frame, said = features(tables)[judged], [texts(tables)[row] for row in judged]
    for name in MODELS[:-1]:
        chances = served.probabilities(frame, said, name)
        assert np.allclose(
            np.log(chances / (1 - chances)), kept[name], atol=1e-4 if name in ("encoder", "blend") else 1e-9
        )
    report = json.loads((run / "report.json").read_bytes())
    assert served.best["purchase"] == report["verdict"]["best"]
    assert np.array_equal(served.probabilities(frame, said), served.probabilities(frame, said, served.best["purchase"]))
    assert served.learned_until.isoformat() == report["origins"][-1]["at"].replace("Z", "+00:00")


def test_what_was_never_sent_is_known_by_what_was_known_before(made: tuple[Path, Path]) -> None:
    """Asked about the very exposures that were made, all features but the audience's are what they were."""
    tables = read(made[0])
    logged = features(tables)
    again = features_of(tables, asked_of(tables, tables.exposures), logged)
    assert again.columns == logged.columns
    for name in logged.columns[2:]:
        if "audience" not in name:
            assert np.allclose(again[name].to_numpy(), logged[name].to_numpy()), name
    assert again["audience"].to_numpy().std() > 0


def test_proposals_are_the_likeliest_label(made: tuple[Path, Path]) -> None:
    """One per row, in any order of rows; rows that cannot be proposed for are refused by the column's name."""
    data, run = made
    rows = pl.read_parquet(data / "exposures.parquet")
    found = propose(run, rows, data)
    assert len(found) == rows.height
    assert {one.label for one in found} <= {NONE, "purchase"}
    assert all(0.5 <= one.probability <= 1.0 for one in found)
    backwards = propose(run, rows.reverse(), data)[::-1]
    assert [one.label for one in backwards] == [one.label for one in found]
    assert np.allclose([one.probability for one in backwards], [one.probability for one in found])
    answered = rows["purchase"].fill_null(0).to_numpy() == 1
    chance = np.array([one.probability if one.label == "purchase" else 1 - one.probability for one in found])
    assert chance[answered].mean() > chance[~answered].mean()
    with pytest.raises(Refused, match="no column at"):
        propose(run, rows.drop("at"), data)
    with pytest.raises(Refused, match="holds no response run"):
        propose(data, rows, data)
    with pytest.raises(Refused, match="wanted one of"):
        propose(run, rows, data, "oracle")
