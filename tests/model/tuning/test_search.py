"""The search: killed it asks for the same trials; it reads nothing of what will be judged; what it found is a command that parses."""

import json
import shlex
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import polars as pl
import pytest

from model.data.errors import Refused
from model.response.fitting import Settings
from model.training.runs import Run, identity_of
from model.tuning.search import Wish, gain, main
from model.tuning.trials import STARTUP, Tried, importance, keep, known, space, study
from services.cli_models import finetune
from tests.model.data.samples import EXTRACT, prepared
from tests.model.training.killing import killed_and_resumed

TRIALS = 7
COMMAND = ["tune", "--task", "response", "--trials", TRIALS, "--epochs", 2, "--known", 0.3]
SMALL = Settings(epochs=2, fewest=0.3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped extract of Complete Journey, prepared."""
    out = tmp_path_factory.mktemp("tuning") / "data"
    prepared(out, EXTRACT, mapping="completejourney")
    return out


def searched(data: Path, out: Path, wish: Wish, **how: Any) -> dict[str, Any]:
    """A search with no bound of time."""
    return main(data, out, wish, lambda _: lambda *_: None, lambda: True, **{"resume": True, "overwrite": False} | how)


def in_its_sixth(partial: Path) -> bool:
    """Whether the trial after those drawn at random is under way and has been saved."""
    return (partial / "checkpoints" / f"trial-{STARTUP:04d}.pt").is_file()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_search_has_the_trials_of_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    """Killed inside a trial that the sampler drew from the others' results; the found settings are a command that parses to them."""
    whole, said = killed_and_resumed([*COMMAND, "--data", data], tmp_path, in_its_sixth)
    assert "minutes" in said
    report = json.loads((whole / "report.json").read_bytes())
    assert [each["number"] for each in report["trials"]] == list(range(TRIALS))
    assert len({each["settings"]["rate"] for each in report["trials"]}) == TRIALS
    first, best = report["trials"][0], report["best"]
    assert first["settings"] == {name: getattr(Settings(), name) for name in space("full")}
    ended = [each["value"] for each in report["trials"] if each["value"] is not None]
    assert best["value"] == min(ended)
    assert report["pruned"] == TRIALS - len(ended)
    assert report["gain"]["value"] == pytest.approx(first["value"] - best["value"], abs=1e-6)
    assert report["gain"]["low"] <= report["gain"]["value"] <= report["gain"]["high"]
    assert report["verdict"]["go_on"] == (best["number"] > 0 and report["gain"]["low"] > 0)
    assert sum(report["importance"].values()) == pytest.approx(1.0)
    given = parsed(report["command"])
    assert {name: given[name] for name in best["settings"]} == best["settings"]
    assert (given["fewest"], given["epochs"], given["data"]) == (0.3, 2, data)


def parsed(line: str) -> dict[str, Any]:
    """What `stratagem finetune` understands of a line."""
    program, name, *options = shlex.split(line)
    assert (program, name) == ("stratagem", "finetune")
    context: click.Context = finetune.make_context("finetune", options)
    return context.params


def test_nothing_that_will_be_judged_is_read(data: Path, tmp_path: Path) -> None:
    """With every answer from the origin on turned round and every later deed gone, all trials are the same."""
    wish = Wish(SMALL, trials=2)
    report = searched(data, tmp_path / "run", wish)
    origin = pl.lit(report["validated"]["until"]).str.to_datetime(time_zone="UTC")
    other = tmp_path / "other"
    other.mkdir()
    for path in data.glob("*.parquet"):
        frame = pl.read_parquet(path)
        if path.stem == "exposures":
            late = pl.col("at") >= origin
            turned = (
                pl.when(late).then(1 - pl.col("purchase").cast(pl.Int8)).otherwise(pl.col("purchase").cast(pl.Int8))
            )
            assert frame.filter(late)["purchase"].drop_nulls().len() > 0
            frame = frame.with_columns(turned.cast(frame["purchase"].dtype))
        elif path.stem in ("behaviours", "transactions"):
            frame = frame.filter(pl.col("at") < origin)
        frame.write_parquet(other / path.name)
    again = searched(other, tmp_path / "again", wish)
    assert again["trials"] == report["trials"]
    assert again["validated"] == report["validated"]


def test_a_search_goes_on_to_more_trials_and_ends_by_time(data: Path, tmp_path: Path) -> None:
    """Stopped after two it goes on to three: the two are kept; without time left, one trial is made all the same."""

    def stopping(name: str) -> Any:
        def told(*_: Any) -> None:
            if name == "trial-0002":
                raise KeyboardInterrupt

        return told

    with pytest.raises(KeyboardInterrupt):
        main(data, tmp_path / "run", Wish(SMALL, trials=9), stopping, lambda: True, resume=True, overwrite=False)
    files = sorted((tmp_path / ".run.partial" / "trials").glob("*.json"))
    kept = [json.loads(path.read_bytes())["settings"] for path in files]
    assert len(kept) == 2
    report = searched(data, tmp_path / "run", Wish(SMALL, trials=3))
    assert [each["settings"] for each in report["trials"]][:2] == kept
    assert len(report["trials"]) == 3
    alone = main(data, tmp_path / "alone", Wish(SMALL, trials=9), lambda _: lambda *_: None, lambda: False, resume=True, overwrite=False)  # fmt: skip
    assert len(alone["trials"]) == 1
    assert not alone["verdict"]["go_on"]
    assert "nothing was better" in alone["verdict"]["says"]


def tried(number: int, value: float | None, **settings: float) -> Tried:
    """A trial that ended."""
    usual = {"rate": 1e-3, "batch": 64, "dropout": 0.2, "weight_decay": 0.05}
    return Tried(number, usual | settings, [0.9, 0.8, 0.7 if value is None else value], value, {})


def test_the_sampler_learns_and_repeats() -> None:
    """After trials that were good at high rates alone, more high rates are drawn than before; what is asked depends on seed and history."""
    history = [tried(at, abs(np.log(rate) - np.log(1e-2)), rate=float(rate)) for at, rate in enumerate(np.geomspace(1e-4, 3e-2, 20))]  # fmt: skip
    asked = [study(history, "full", "median", seed).ask(space("full")).params["rate"] for seed in range(20)]
    blind = [study([], "full", "median", seed).ask(space("full")).params["rate"] for seed in range(20)]
    assert np.abs(np.log(asked) - np.log(1e-2)).mean() < 0.7 * np.abs(np.log(blind) - np.log(1e-2)).mean()
    assert study(history, "full", "median", 3).ask(space("full")).params["rate"] == asked[3]
    found = importance(history, "full")
    assert max(found, key=lambda name: found[name]) == "rate"
    assert importance(history[: STARTUP - 1], "full") == {}


@pytest.mark.parametrize("pruner", ["median", "halving", "none"])
def test_a_trial_far_behind_is_pruned(pruner: Any, tmp_path: Path) -> None:
    """After enough trials, one that is far worse than the others is ended; not by `none`. Trials survive their files."""
    history = [msgspec.structs.replace(tried(at, 0.3), scores=[0.5, 0.4, 0.3, 0.3]) for at in range(6)]
    noted = {"completed_rung_0": 0.3, "completed_rung_1": 0.3}
    history = [msgspec.structs.replace(each, attributes=noted if pruner == "halving" else {}) for each in history]
    with Run(tmp_path / "run", identity_of({}, "", 0)) as run:
        for each in history:
            keep(run, each)
        assert known(run) == history
    trial = study(history, "full", pruner, 0).ask(space("full"))
    for place in range(4):
        trial.report(5.0, place)
    assert trial.should_prune() == (pruner != "none")


def test_the_gain_has_an_interval_by_customers() -> None:
    """Equal gains have no spread; a gain of one customer of many does not lie above 0."""
    who = np.repeat(np.arange(30), 4)
    even = gain(np.full(120, 0.5), np.full(120, 0.4), who, 0)
    assert (even.value, even.low, even.high) == pytest.approx((0.1, 0.1, 0.1))
    one = gain(np.where(who == 0, 2.0, 0.5), np.full(120, 0.5), who, 0)
    assert one.low == pytest.approx(0.0)
    assert one.value == pytest.approx(1.5 * 4 / 120)


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    """No data, a method without a base, and a base that is none leave nothing behind; a rank is searched where there is one."""
    with pytest.raises(Refused, match=r"exposures\.parquet is not there"):
        searched(tmp_path / "none", tmp_path / "run", Wish(SMALL))
    with pytest.raises(Refused, match="--peft lora adapts a base"):
        searched(tmp_path / "none", tmp_path / "run", Wish(Settings(peft="lora")))
    assert not list(tmp_path.iterdir())
    assert "rank" in space("lora")
    assert "rank" not in space("ia3")
