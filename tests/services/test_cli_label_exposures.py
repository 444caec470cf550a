"""`stratagem label --table exposures`: a response run proposes, a person answers, preparing takes it."""

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from model.data.errors import Refused
from model.response.finetune import Settings, main
from model.response.proposals import probabilities
from model.response.served import Served
from model.response.tables import read
from services.cli import main as stratagem
from services.labelling import Work
from tests.services.terminal import Terminal

EXTRACT = Path(__file__).parents[1] / "model/data/extract"
OPEN = """
[[label]]
name = "purchase"
table = "exposures"
source = "a window that is long after the data's end for the newest"
rule = { kind = "response", actions = ["purchase"], within_h = 1440.0 }
"""
"""Windows of sixty days: those of the newest exposures are open, and nobody knows yet what came of them."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extract with open windows, prepared, and a short response run on it."""
    root = tmp_path_factory.mktemp("shown")
    (root / "labels.toml").write_text(OPEN)
    words = ["--source", "completejourney", "--labels", root / "labels.toml", "--out", root / "data", EXTRACT]
    assert CliRunner().invoke(stratagem, ["data", "prepare", *map(str, words)]).exit_code == 0
    main(
        root / "data",
        root / "run",
        Settings(epochs=1, batch=64),
        lambda _: lambda *_: None,
        resume=True,
        overwrite=False,
    )
    return root


@pytest.mark.slow
def test_a_response_run_proposes_first_where_it_is_least_sure(made: Path, tmp_path: Path) -> None:
    """Only exposures nobody knows the answer of are asked about; the chance that is shown is the run's."""
    data, out = made / "data", tmp_path / "people.jsonl"
    exposures = pl.read_parquet(data / "exposures.parquet").sort("at", "exposure")
    served = Served.load(made / "run")
    chances = probabilities(served, read(data), exposures)[:, served.labels.index("purchase")]
    open_ = exposures["purchase"].is_null().to_numpy()
    assert open_.any()
    words = ("label", "--data", data, "--out", out, "--table", "exposures", "--name", "purchase", "--person", "ann")
    at = Terminal(*words, "--proposals", made / "run", "--most", "2")
    screen = at.until("q: end")
    assert f"{open_.sum():,} unlabelled · margin" in screen
    at.press("2")
    at.until("written: 1")
    at.until("q: end")
    at.press("\r")
    assert at.ended()[0] == 0
    first, second = (json.loads(line) for line in out.read_text().splitlines())
    least_sure = abs(chances[open_] - 0.5).argmin()
    assert max(chances[open_][least_sure], 1 - chances[open_][least_sure]) == pytest.approx(
        first["probability"], abs=1e-3
    )
    assert second["value"] == second["proposed"] == ("1" if chances[open_][least_sure] > 0.5 else "0")


@pytest.mark.slow
def test_what_a_run_cannot_propose_is_refused(made: Path, tmp_path: Path) -> None:
    """A label it has not learned, named with those that it has; exposures have no other answers than yes and no."""
    more = {
        "answers": (),
        "fields": (),
        "chooser": "margin",
        "encoder": "",
        "base": None,
        "pseudo": False,
        "afresh": False,
    }
    work = Work(data=made / "data", out=tmp_path / "p", table="exposures", name="purchase", person="ann", proposals=made / "run", refit=1, overlap=0, seed=0, **more)  # type: ignore[arg-type]  # fmt: skip
    assert work.classes == ("0", "1")
    work.name = "click"
    with pytest.raises(Refused, match="proposes purchase, not click"):
        work.begun()
