"""The benchmark of streams runs and compares, so that it cannot rot; what it measures is nobody's test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import streams
from benchmarks.peers.job import Measured
from benchmarks.peers.stage import Outcome, Output
from benchmarks.peers.traffic import traffic

ROOT = Path(__file__).parents[2]
EVENTS = 1500
LIMIT_S = 540.0
"""Four systems one after another, on a machine that does other things as well."""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_run_prints_one_line_per_system() -> None:
    """With few events every system that needs no extra package gives the same outputs, one JSON line each."""
    command = [sys.executable, "-m", "benchmarks.streams", "--json", "--runs", "1", "--events", str(EVENTS)]
    command += ["--systems", "stratagem,pure,aiokafka,faust_table"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["system"] for line in lines] == ["stratagem", "pure", "aiokafka", "faust_table"]
    for line in lines:
        assert set(line) == {
            "system", "events_per_s", "events_per_cpu_s", "applied", "duplicates", "malformed", "requests",
        }  # fmt: skip
        assert line["applied"] + line["duplicates"] + line["malformed"] == EVENTS
        assert min(line["requests"], line["duplicates"], line["malformed"]) > 0
        assert min(line["events_per_s"], line["events_per_cpu_s"]) > 0


def test_other_outputs_are_said_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    """One row that differs in one run of one system is an exit code of 1, and the system is named."""
    measured = Measured(events=1, wall_s=1.0, cpu_s=1.0)
    good, bad = Output(9, 1, 1, 2, "digest"), Output(9, 1, 1, 2, "another")
    same = [Outcome(measured, good)] * 2
    assert streams.compare({"pure": same, "stratagem": same}) == 0
    assert streams.compare({"pure": same, "stratagem": [same[0], Outcome(measured, bad)]}) == 1
    assert "outputs differ: stratagem, run 2" in capsys.readouterr().err


def test_the_traffic_is_the_same_for_a_seed() -> None:
    """Two generations with one seed are the same bytes; another seed gives others."""
    assert list(traffic(300, 5)) == list(traffic(300, 5))
    assert list(traffic(300, 5)) != list(traffic(300, 6))
