"""What a prior from a response model is worth: the first thousand interactions of a new deployment, with it and without.

python -m benchmarks.prior --seeds 31 32 33 34 35

Per seed: a simulated world logs what a shop would have logged before (`benchmarks/prior_log.py`), `stratagem data prepare` prepares it, a response
run learns from it, `model/prior` tells the critic; then the world is played by the served critic. `lift at 0` is that of the critic as it begins,
over the same interactions, learning nothing. `log` teaches the log's own answers in the same form, without any model between; `both` the two.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import structs
from scipy import stats

from benchmarks.learning.play import play
from benchmarks.learning.production import Production
from benchmarks.prior_log import write
from benchmarks.worlds.world import World
from model.critic import named
from model.prior.believing import Knobs, believe
from model.prior.mapping import read_mapping
from model.response.finetune import Settings, main
from model.response.served import Served
from model.response.tables import Tables, read

MAPPING = read_mapping(Path(__file__).with_name("prior_mapping.toml"))
LOGGED = 3000
RESPONSE = Settings(fewest=0.85, epochs=3)
"""Few origins: what is judged here is the critic, not the response model."""


class Line(msgspec.Struct, frozen=True):
    """One arm in one world."""

    seed: int
    arm: str
    lift_at_0: float
    lift: float
    learned_from: int
    log_loss: dict[str, float]


class Still:
    """An arm that learns nothing."""

    def __init__(self, arm: Production) -> None:
        """Decide as the arm does now."""
        self.decide = arm.decide

    def learn(self, reward: object) -> None:
        """Nothing."""

    def turn(self, number: int) -> None:
        """Nothing."""


def prepared(seed: int, count: int, work: Path) -> tuple[World, Path]:
    """A world, and its log as a prepared folder; what is there already is kept."""
    world, raw, data = World(seed), work / f"log-{seed}", work / f"data-{seed}"
    if not data.is_dir():
        write(world, count, raw)
        command = [sys.executable, "-m", "services.cli", "data", "prepare", "--source", "world", "--mapping", str(raw / "mapping.toml")]  # fmt: skip
        subprocess.run([*command, "--features", str(raw / "features.csv"), "--out", str(data), str(raw)], check=True)
    return world, data


def run_of(seed: int, data: Path, work: Path) -> Served:
    """The response run of a world's log."""
    out = work / f"run-{seed}"
    if not out.is_dir():
        main(data, out, RESPONSE, lambda _: lambda *_: None, resume=True, overwrite=False)
    return Served.load(out)


def arm_of(name: str, world: World, served: Served, tables: Tables, knobs: Knobs) -> tuple[Production, int]:
    """The served critic with what it believes before its first reward, and how many rows that was taught by."""
    arm = Production("critic", world)
    learner = arm.learning.learner
    if name != "none":
        own = {"log": {"pairs": 0, "logged": LOGGED}, "both": {"logged": LOGGED}}.get(name, {})
        believe(learner, served, tables, MAPPING, structs.replace(knobs, **own))
    arm.critic = named(learner.snapshot(), 0)
    return arm, len(learner.window)


def lines(seed: int, arms: list[str], args: argparse.Namespace) -> Iterator[Line]:
    """The arms of a seed, each as soon as it has played."""
    world, data = prepared(seed, args.log, args.work)
    served, tables = run_of(seed, data, args.work), read(data)
    report: dict[str, Any] = msgspec.json.decode((served.run / "report.json").read_bytes())
    losses = {label: told["models"][served.best[label]]["log_loss"]["value"] for label, told in report["labels"].items() if not isinstance(told, str)}  # fmt: skip
    for name in arms:
        knobs = Knobs(strength=args.strength, pairs=args.pairs)
        arm, rows = arm_of(name, world, served, tables, knobs)
        still = next(iter(play(world, Still(arm), args.interactions))).lift
        yield Line(seed, name, still, next(iter(play(world, arm, args.interactions))).lift, rows, losses)


def paired(found: list[Line], arm: str, against: str, field: str) -> str:
    """Mean difference over seeds with Student's 95 % interval."""
    mine = {line.seed: getattr(line, field) for line in found if line.arm == arm}
    theirs = {line.seed: getattr(line, field) for line in found if line.arm == against}
    differences = np.array([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
    if len(differences) < 2:  # noqa: PLR2004 -- a spread wants two
        return f"{differences.mean():+.3f} (one seed)" if len(differences) else "none"
    half = float(stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences)))
    return f"{differences.mean():+.3f} ({differences.mean() - half:+.3f} to {differences.mean() + half:+.3f}, {len(differences)} seeds)"


def cli() -> None:
    """Play, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33, 34, 35])
    parser.add_argument("--arms", default="none,prior,log,both")
    parser.add_argument("--log", type=int, default=4000, help="interactions logged before the deployment")
    parser.add_argument("--interactions", type=int, default=1000)
    parser.add_argument("--strength", type=float, default=Knobs().strength)
    parser.add_argument("--pairs", type=int, default=Knobs().pairs)
    parser.add_argument("--work", type=Path, default=Path(".stratagem/prior"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    arms, found = args.arms.split(","), []
    for seed in args.seeds:
        for line in lines(seed, arms, args):
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
            sys.stdout.flush()
            found.append(line)
    for name in arms[1:]:
        for field in ("lift_at_0", "lift"):
            sys.stdout.write(f"{name} minus {arms[0]}, {field}: {paired(found, name, arms[0], field)}\n")


if __name__ == "__main__":
    cli()
