"""The learning benchmark: exact lift, arms that learn from what is delivered, curves that are not run twice."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.learning.__main__ import main
from benchmarks.learning.arms import PEERS, Uniform, chosen, make
from benchmarks.learning.features import rows_of
from benchmarks.learning.play import Tally, play
from benchmarks.learning.report import against_best, lost, paired
from benchmarks.learning.results import ROOT, Line, code_of, covers, path_of, read, sources
from benchmarks.learning.runs import Task, run_task
from benchmarks.learning.tune import TUNING, Published, combinations, tune
from benchmarks.learning.tuned import GRIDS, LEVEL, TUNED, TUNING_SEEDS
from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import World
from model.grid import ActionGrid
from streaming.contracts.strategies import StrategyRequest

NEEDS = {"vw": "vowpalwabbit", "epsilon": "sklearn"}
EASY = WorldKnobs(customers=40, products=40, campaigns=12, interaction=0.1, response_delay=5, final_delay=10)


class Oracle(Uniform):
    """Knows the truth."""

    def __init__(self, world: World) -> None:
        """Of this world."""
        super().__init__(0)
        self._world = world

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """The best action."""
        found = []
        for request, grid in zip(requests, grids, strict=True):
            values = self._world.moment(int(request.request_id.rsplit("_", 1)[1])).values
            found.append(chosen(grid, int(np.where(grid.allowed, values, -np.inf).argmax())))
        return found


def test_the_oracle_has_lift_one_and_chance_none() -> None:
    """Lift is exact: 1 and no regret for who knows the truth, about 0 for chance."""
    world = World(11)
    best = next(play(world, Oracle(world), 200))
    assert best.lift == pytest.approx(1.0)
    assert best.regret == pytest.approx(0.0)
    uniform = next(play(world, make("random", world), 600))
    assert abs(uniform.lift) < 0.1
    assert uniform.reward == pytest.approx(uniform.random, abs=0.03)


def test_new_products_are_those_of_a_young_wave() -> None:
    """The cohort's lift counts launches only, until its wave has had 500 impressions, and judges the product alone."""
    world = World(11)
    launches = [moment for number in range(1500, 2100) if (moment := world.moment(number)).launch]
    tally = Tally()
    for moment in launches:
        best = int(np.nanargmax(moment.by_candidate()))
        rest = np.argwhere(moment.grid.allowed[best])[0]
        tally.add(moment, (best, *(int(place) for place in rest)))
    block = tally.close(1)
    assert block.new_products == len(launches)
    assert block.unseen_products == 50
    assert block.new_product_lift == pytest.approx(1.0)
    tally.impressions[launches[0].launch] = 500
    tally.add(launches[0], (0,) * len(launches[0].grid.shape))
    assert tally.close(2).new_product_lift is None


@pytest.mark.parametrize("pairs", [True, False])
def test_scores_of_rows_are_the_scores_of_actions(pairs: bool) -> None:  # noqa: FBT001 -- pytest hands it by name
    """A grid scored by shared rows equals every action's own features times the weights."""
    moment = World(11).moment(5)
    rows = rows_of(moment.request, moment.grid, 512, pairs=pairs)
    weights = np.random.default_rng(0).standard_normal(512)
    alone = rows.actions(np.arange(moment.grid.allowed.size)) @ weights
    assert np.allclose(rows.scores(weights), alone)


def test_the_bound_of_linucb_is_that_of_its_features() -> None:
    """The variance summed over rows is x' A^-1 x of the action's features."""
    from benchmarks.learning.linear import LinUCB

    world = World(11, EASY)
    arm = LinUCB(0, {"dimensions": 256, "width": 1.0, "every": 5})
    list(play(world, arm, 80))
    moment = world.moment(90)
    rows = arm.rows(moment.request, moment.grid)
    features = rows.actions(np.arange(moment.grid.allowed.size)).toarray()
    solved = arm.lower @ arm.lower.T
    spread = np.sqrt(np.einsum("ad,da->a", features, np.linalg.solve(solved, features.T)))
    assert np.allclose(arm.scores(rows), rows.scores(arm.mean) + spread)


@pytest.mark.parametrize("name", [*PEERS, "critic"])
def test_every_learner_beats_chance_in_an_easy_shop(name: str) -> None:
    """400 interactions with a small shop of nearly independent slots are worth more than those of chance: its lift is 0 ± .019."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    world = World(11, EASY)
    knobs = {"dimensions": 256} if name in ("lints", "linucb") else None
    only = next(play(world, make(name, world, knobs), 400))
    assert only.lift > 0.07


@pytest.mark.slow
def test_the_model_arms_play_as_production_does() -> None:
    """The served policy decodes, learns, trains and passes its adapter through the gate; its propensities are probabilities."""
    from benchmarks.learning.production import Production

    world = World(11, EASY)
    arm = Production("fused", world)
    assert arm.training is not None
    arm.training._settings = msgspec.structs.replace(arm.training._settings, candidate_every_steps=4)
    list(play(world, arm, 240))
    assert arm.training.distiller.steps >= 4
    assert any(decision.startswith("adapter") for decision in arm.decisions)
    assert any(decision == "critic promoted" for decision in arm.decisions)
    replayed = list(arm.learning.replay)
    assert len(replayed) > 200
    assert all(0.0 < item.propensity <= 1.0 for item in replayed)


def test_a_curve_is_played_once(tmp_path: Path) -> None:
    """A kept curve is read, a shorter one is played again, a longer one serves a shorter run."""
    task = Task(11, "random", 1100, WorldKnobs(), tmp_path)
    first = list(run_task(task))
    assert [line.interactions for line in first] == [1000, 100]
    path = path_of(tmp_path, 11, "random", first[0].code)
    marked = [msgspec.structs.replace(line, lift=7.0) for line in read(path)]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in marked))
    assert [line.lift for line in run_task(task)] == [7.0, 7.0]
    assert [line.lift for line in run_task(msgspec.structs.replace(task, count=1000))] == [7.0]
    again = list(run_task(msgspec.structs.replace(task, count=1150)))
    assert [line.interactions for line in again] == [1000, 150]
    assert again[0].lift == first[0].lift
    assert list(tmp_path.rglob("*.partial")) == []


def test_a_curve_belongs_to_its_code_and_knobs(tmp_path: Path) -> None:
    """A change of a file an arm depends on, of the world or of a knob is another curve; a change elsewhere is not."""
    for folder in ("benchmarks/worlds", "benchmarks/learning", "model", "streaming/contracts"):
        (tmp_path / folder).mkdir(parents=True)
        for path in (ROOT / folder).glob("*.py"):
            shutil.copy(path, tmp_path / folder)
    before = {arm: code_of(arm, WorldKnobs(), root=tmp_path) for arm in ("lints", "critic", "fused")}
    critic = tmp_path / "model" / "critic.py"
    critic.write_text(critic.read_text().replace('"""', '"""Said otherwise: ', 1) + "# and a comment\n")
    assert code_of("critic", WorldKnobs(), root=tmp_path) == before["critic"]
    critic.write_text(critic.read_text() + "ANOTHER = 1\n")
    after = {arm: code_of(arm, WorldKnobs(), root=tmp_path) for arm in before}
    assert after["lints"] == before["lints"]
    assert after["critic"] != before["critic"]
    assert after["fused"] != before["fused"]
    assert code_of("lints", EASY, root=tmp_path) != before["lints"]
    assert code_of("lints", WorldKnobs(), {"ridge": 77.0}, tmp_path) != before["lints"]


def test_the_command_prints_a_line_per_arm_and_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON lines with the fields that readers rely on; an unknown arm is refused."""
    arguments = ["--seed", "11", "--interactions", "1200", "--arms", "random", "--json", "--results", str(tmp_path)]
    assert main([*arguments, "--processes", "1"]) == 0
    lines = [msgspec.json.decode(line, type=Line) for line in capsys.readouterr().out.splitlines()]
    assert [(line.arm, line.block) for line in lines] == [("random", 0), ("random", 1)]
    assert covers(lines, 1200)
    with pytest.raises(SystemExit):
        main(["--arms", "oracle"])


def curve(arm: str, seed: int, lifts: Sequence[float]) -> list[Line]:
    """Whole blocks of these lifts."""
    return [
        Line(
            seed=seed, arm=arm, interactions=1000, code="x", block=block, lift=lift, reward=0.0, regret=0.0,
            new_product_lift=None, random=0.0, oracle=1.0, new_products=0, unseen_product_lift=None, unseen_products=0,
        )
        for block, lift in enumerate(lifts)
    ]  # fmt: skip


def test_differences_are_paired_by_seed() -> None:
    """The interval is Student's, and the best peer is chosen per block by its mean."""
    found = paired([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)

    curves = {
        (seed, arm): curve(arm, seed, lifts)
        for seed in (6, 7)
        for arm, lifts in {"fused": (0.2, 0.5, 0.6), "lints": (0.1, 0.4, 0.3), "vw": (0.1, 0.2, 0.4)}.items()
    }
    gap = against_best(curves, (6, 7), "fused", range(1, 6))
    assert gap is not None
    assert gap.mean == pytest.approx(np.mean([0.5 - 0.4, 0.6 - 0.4]))


def test_what_tampering_cost_is_looked_at_once_rewards_have_been_clean_again() -> None:
    """The blocks after the tampering and 2,000 clean interactions count; without any there is no answer."""
    usual = {(seed, "fused"): curve("fused", seed, (0.1, 0.2, 0.3, 0.4, 0.5)) for seed in (6, 7)}
    tampered = {
        (6, "fused"): curve("fused", 6, (0.1, 0.0, 0.0, 0.35, 0.45)),
        (7, "fused"): curve("fused", 7, (0.1, 0.0, 0.0, 0.41, 0.50)),
    }
    found = lost(usual, tampered, (6, 7), "fused", WorldKnobs(tampered_from=500, tampered_to=1000))
    assert found is not None
    assert found.mean == pytest.approx((0.05 - 0.005) / 2)
    assert lost(usual, tampered, (6, 7), "fused", WorldKnobs(tampered_from=500, tampered_to=3500)) is None


def test_a_search_publishes_every_combination_best_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer's grid is published with what each combination reached on each seed; what was played is not played again."""
    monkeypatch.setitem(GRIDS, "lints", {"width": (0.01, 3.0), "ridge": (200.0,)})
    found = tune("lints", (1, 2), 20, 1, tmp_path)
    assert {one.knobs["width"] for one in found.tried} == {0.01, 3.0}
    assert [one.lift for one in found.tried] == sorted((one.lift for one in found.tried), reverse=True)
    for one in found.tried:
        code = code_of("lints", WorldKnobs(), one.knobs)
        assert one.by_seed == {str(seed): read(path_of(tmp_path, seed, "lints", code))[0].lift for seed in (1, 2)}
        assert one.lift == pytest.approx(np.mean(list(one.by_seed.values())))
    assert msgspec.json.decode((tmp_path / "lints.json").read_bytes(), type=Published) == found
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    assert tune("lints", (1, 2), 20, 1, tmp_path) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")} == kept


@pytest.mark.parametrize("path", sorted(TUNING.glob("*.json")), ids=lambda path: path.stem)
def test_peers_play_with_the_best_of_their_published_grid(path: Path) -> None:
    """The knobs in use are the grid's best on the tuning seeds, or level with it, and every combination was tried."""
    published = msgspec.json.decode(path.read_bytes(), type=Published)
    peer = published.peer
    assert set(published.seeds) <= set(TUNING_SEEDS)
    assert sorted(map(str, combinations(peer))) == sorted(str(tried.knobs) for tried in published.tried)
    in_use = {name: TUNED[peer][name] for name in GRIDS[peer]}
    (lift,) = (tried.lift for tried in published.tried if tried.knobs == in_use)
    assert lift >= max(tried.lift for tried in published.tried) - LEVEL


def test_a_critics_curve_depends_on_every_module_that_makes_it() -> None:
    """What learner, policy and gate bring along, seen in a fresh process, is in the hash."""
    said = "import sys, model.learner, model.policy, model.gate_critic; print(*[m for m in sys.modules if m[:6] == 'model.'])"
    names = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "model.newton" in names
    assert {ROOT / f"{name.replace('.', '/')}.py" for name in names} <= set(sources("critic"))
