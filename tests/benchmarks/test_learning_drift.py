"""The report on the abrupt drift: when a curve is back, and by how much sooner than the best peer's."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.learning.drift import Recovery, main, recovery, table
from benchmarks.learning.results import Line, code_of, path_of
from benchmarks.worlds.effects import Effects
from benchmarks.worlds.knobs import WorldKnobs


def curve(arm: str, seed: int, lifts: tuple[float, ...], code: str = "") -> list[Line]:
    """A curve of these lifts."""
    line = Line(0, 0.0, 0.0, 0.0, None, 0.0, 0.0, 0, None, 0, seed=seed, arm=arm, interactions=1000, code=code)
    return [msgspec.structs.replace(line, block=block, lift=lift) for block, lift in enumerate(lifts)]


def test_a_curve_is_back_where_the_line_between_blocks_reaches_nine_tenths() -> None:
    """Before: the last two whole blocks, .4 on average. .36 lies between the middles of 6,500 (.30) and 7,500 (.42)."""
    found = recovery([0.1, 0.2, 0.38, 0.42, 0.35, 0.2, 0.30, 0.42], 4_600)
    assert found is not None
    assert found[:2] == pytest.approx((0.4, 0.2))
    assert found.back
    assert found.interactions == pytest.approx(6_500 + 500 - 4_600)


def test_a_drift_between_blocks_and_one_that_did_no_harm() -> None:
    """A drift at a block's beginning leaves that block whole; an arm that never fell is back by the middle of the first block."""
    unharmed = recovery([0.5, 0.5, 0.5, 0.5, 0.5, 0.48], 5_000)
    assert unharmed == Recovery(0.5, 0.48, 500.0, back=True)
    never = recovery([0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2], 5_000)
    assert never == Recovery(0.5, 0.1, 2_000.0, back=False)
    assert recovery([0.4] * 5, 5_000) is None
    assert recovery([0.4] * 6, 1_500) is None


def test_arms_are_compared_with_the_best_peer_by_seed() -> None:
    """The peer with the most lift before the drift is the one; an arm without curves that are long enough has no row."""
    flat, slow = (0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4), (0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.5)
    curves = {(seed, "critic"): curve("critic", seed, flat) for seed in (6, 7)}
    curves |= {(seed, "epsilon"): curve("epsilon", seed, slow) for seed in (6, 7)}
    curves |= {(seed, "lints"): curve("lints", seed, flat) for seed in (6, 7)}
    curves |= {(6, "vw"): curve("vw", 6, flat), (7, "vw"): curve("vw", 7, flat[:5])}
    rows = table(curves, {6: 5_000, 7: 5_000})
    assert "epsilon's" in rows[0]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| critic", "| lints", "| epsilon"]
    assert rows[2].endswith("| 2 of 2 | -800 (-800 to -800) |")


def test_the_command_reads_kept_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A kept curve of the code as it stands gives a row, with the drift that the seed's world has."""
    world = WorldKnobs(drift_from=2_000, drift_to=2_400)
    code = code_of("critic", world)
    path = path_of(tmp_path, 6, "critic", code)
    path.parent.mkdir(parents=True)
    lines = curve("critic", 6, (0.3, 0.4, 0.3, 0.2, 0.4), code)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    knobs = ["--world", "drift_from=2000", "drift_to=2400"]
    assert main(["--seeds", "6", "--results", str(tmp_path), *knobs]) == 0
    told = capsys.readouterr().out
    assert f"{Effects(6, world).drift_at:,}" in told
    assert "| critic | 0.350 | 0.200 |" in told
    with pytest.raises(SystemExit):
        main(["--seeds", "6", "--results", str(tmp_path), "--world", "drift_from=0", "drift_to=0"])
