"""What the critic of `lm` would have chosen: it changes nothing of the curve, is kept, and is worth what its choices are worth."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.learning.own_critic import ARM, FOLDER, Beside, Watched, main, summary
from benchmarks.learning.play import play
from benchmarks.learning.production import Production
from benchmarks.learning.results import RESULTS, code_of, path_of, read
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World

COUNT, SEED = 96, 11


def test_it_is_kept_beside_the_curve_of_lm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One run gives both files; a second run reads them; the curve is that of `lm` watched by nobody."""
    asked = ["--seeds", str(SEED), "--interactions", str(COUNT), "--json", "--results", str(tmp_path)]
    assert main(asked) == 0
    said = json.loads(capsys.readouterr().out)
    code, world = code_of(ARM, WorldKnobs()), World(SEED)
    curve = read(path_of(tmp_path, SEED, ARM, code))
    (alone,) = play(world, Production(ARM, world), COUNT)
    assert [line.lift for line in curve] == [said["lift"]] == [alone.lift]
    path = path_of(tmp_path / FOLDER, SEED, ARM, code)
    path.write_bytes(path.read_bytes().replace(str(said["own_critic_lift"]).encode(), b"0.25"))
    assert main(asked[:4] + asked[5:]) == 0, "a table too, and nothing is played again"
    assert capsys.readouterr().out.count("0.250") == 1
    assert path_of(RESULTS, SEED, ARM, code) not in set(RESULTS.rglob("*.jsonl"))


def test_the_critic_of_a_moment_chooses() -> None:
    """One wish per request, allowed, and not what the language model chose throughout."""
    world = World(SEED)
    arm = Watched(Production(ARM, world), SEED)
    moments = [world.moment(number) for number in range(16)]
    acted = arm.decide([moment.request for moment in moments], [moment.grid for moment in moments])
    assert len(arm.wished) == len(acted) == 16
    assert all(moment.grid.allowed[index] for moment, index in zip(moments, arm.wished, strict=True))
    assert any(wish != one.index for wish, one in zip(arm.wished, acted, strict=True))


def test_shares_are_sums_over_blocks() -> None:
    """By hand: two seeds, two blocks of the first span; the first thousand does not count, nor does a span that was not played."""
    found = {
        seed: [_block(seed, 0, 0.0, 0.9), _block(seed, 1, 0.2, 0.4), _block(seed, 2, second, 0.4)]
        for seed, second in ((6, 0.2), (7, 0.4))
    }
    (line,) = summary(found)
    assert line.startswith("blocks 1 to 5: lm over its own critic 0.50, 0.75: 0.625 (95 % ")


def _block(seed: int, block: int, lift: float, own: float) -> Beside:
    nothing: dict[str, Any] = dict.fromkeys(("reward", "regret", "random", "oracle"), 0.0)
    unseen: dict[str, Any] = {
        "new_product_lift": None,
        "new_products": 0,
        "unseen_product_lift": None,
        "unseen_products": 0,
    }
    return Beside(
        **nothing, **unseen, block=block, lift=lift, own_critic_lift=own, seed=seed, arm=ARM, interactions=1000, code=""
    )
