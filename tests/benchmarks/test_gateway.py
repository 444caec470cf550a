"""The benchmarks of the doors run and check, so that they cannot rot; what they measure is nobody's test."""

import json

import pytest

from benchmarks import gateway

PATIENT_MS = "50000"
"""A deadline that no slow machine lets pass; a decision is answered as soon as it is there."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["decide", "streams"])
def test_a_short_run_answers_every_call_and_every_stream(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Agents, worker and gateway as they are started; each call is answered, each stream sees each strategy once."""
    arguments = ["--seconds", "3", "--deadlines", PATIENT_MS, "--clients", "20", "--json"]
    assert gateway.main([name, *arguments]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    if name == "decide":
        assert line["asked"] == 60
        assert sum(line["statuses"].values()) == 60
        assert line["statuses"]["decided"] > 0
    else:
        assert (line["clients"], line["strategies"], line["missed"], line["repeated"]) == (20, 60, 0, 0)


@pytest.mark.slow
def test_both_doors_take_the_same_events(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the peer is installed: what each answered is in the topics, which the program checks itself."""
    pytest.importorskip("fastapi")
    assert gateway.main(["events", "--events", "1000", "--rounds", "1", "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["ratio"] == pytest.approx(line["ours_per_cpu_s"] / line["peer_per_cpu_s"])


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line that says what there is."""
    with pytest.raises(SystemExit):
        gateway.main(["doors"])
    assert "doors is none of events, decide, streams" in capsys.readouterr().err
