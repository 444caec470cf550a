"""The benchmark of sequential decisions: its customers, its peers, and a small run of each scenario."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peeked import ever, welch_path
from benchmarks.returning import Habits, lives, quality_of
from benchmarks.sequential import Ended, ends_of, main, with_interval


def test_customers_earn_what_their_habits_say() -> None:
    """A quality of -20 % costs a fifth of the mean; few rewards are orders, and totals are the sums of rewards."""
    habits, rng = Habits(), np.random.default_rng(1)
    as_is = lives(rng, np.ones(200_000), habits, timed=True)
    harmed = lives(rng, np.full(200_000, quality_of(0.2, habits)), habits)
    assert harmed.rewards.mean() / as_is.rewards.mean() == pytest.approx(0.8, abs=0.02)
    assert (as_is.rewards > 0.1).mean() < 0.1
    assert as_is.totals.sum() == pytest.approx(as_is.rewards.sum())
    assert sorted(as_is.order.tolist()) == list(range(len(as_is.of)))


def test_welch_is_the_textbooks() -> None:
    """The last z equals the difference of means over the root of the summed squared errors; one value per arm says nothing."""
    rng = np.random.default_rng(2)
    values, treated = rng.normal(size=500), np.arange(500) % 3 == 0
    errors = [values[arm].var() / arm.sum() for arm in (treated, ~treated)]
    path = welch_path(treated, values)
    assert path[-1] == pytest.approx((values[treated].mean() - values[~treated].mean()) / np.sqrt(sum(errors)))
    assert path[0] == path[1] == path[2] == 0.0
    assert ever(path, treated, 10, float(path[100:].max()))[0]
    assert not ever(path, treated, 10, float(path[3:].max()) + 0.1)[0]
    assert ever(-path, treated, 10, float(path[100:].max()))[1]
    assert ever(path, treated, 1000, 0.0) == (False, False)


def test_wilson_by_hand() -> None:
    """5 of 100: .0215 to .1118, as tables have it."""
    assert with_interval(5, 100) == [0.05, 0.0215, 0.1118]


def test_a_small_run_tells_a_line_per_scenario_and_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    """Every scenario has a line, shares sum to 1, and the same seed tells the same."""
    told = []
    for _ in range(2):
        assert main(["--runs", "2", "--customers", "10000", "--seed", "3", "--json"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    lines = [json.loads(line) for line in told[0].splitlines()]
    decided = [line for line in lines if "time_out" in line]
    assert len(decided) == 10
    assert len(lines) == 16
    assert all(
        line["promote"][0] + line["roll_back"][0] + line["time_out"][0] == pytest.approx(1.0) for line in decided
    )


def test_kept_runs_are_read_and_a_cut_line_is_played_again(tmp_path: Path) -> None:
    """After three runs and a crash in the fourth's line, three of five are read; the figures are those of one go."""
    kept, played = tmp_path / "runs" / "slide.jsonl", []

    def play(number: int) -> Ended:
        played.append(number)
        return Ended("roll_back", 1000 * number, 0.1, number)

    plays = [partial(play, number) for number in range(5)]
    first = ends_of(plays[:3], kept)
    kept.write_bytes(kept.read_bytes() + b'["roll_back", 30')
    assert ends_of(plays, kept)[:3] == first
    assert played == [0, 1, 2, 3, 4]
    assert ends_of(plays, kept) == ends_of(plays, None)
    assert played[5:] == [0, 1, 2, 3, 4]


def test_a_run_is_the_same_in_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run, then two, into a folder: the second call tells what two runs at once tell."""
    told = []
    for runs, keep in (("1", ["--keep", str(tmp_path)]), ("2", ["--keep", str(tmp_path)]), ("2", [])):
        assert main(["--runs", runs, "--customers", "5000", "--only", "anchor, slide", "--json", *keep]) == 0
        told.append(capsys.readouterr().out)
    assert told[1] == told[2] != told[0]
