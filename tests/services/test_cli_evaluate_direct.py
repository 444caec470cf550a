"""`stratagem evaluate --direct` as a user meets it: policies valued a second time by a response run, or a line that says why not."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec import structs

from model.evaluation.reward_model import cross_fits
from model.grid import ActionGrid
from model.prior.direct import valued
from model.prior.mapping import read_mapping
from model.response.served import Served
from model.response.tables import read
from services.cli import main
from streaming.contracts.codec import encode
from streaming.contracts.rewards import Reward
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.prior.samples import made
from tests.model.sample import request_of

NEW, OLD = 60, 20


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The small shop's prepared log, whose e-mails are clicked and whose pushes are not, and a run on it."""
    return made(tmp_path_factory.mktemp("direct"))


def rewards_of(run: Path) -> list[Reward]:
    """Closed recommendations of known products, decided by chance: the first before the run's newest origin, the rest after it."""
    until, found = Served.load(run).learned_until, []
    for seed, reward in enumerate(closed_rewards(OLD + NEW)):
        at = until + timedelta(days=1 if seed >= OLD else -1, minutes=seed)
        request = structs.replace(request_of(seed), issued_at=at)
        decision = {slot.name: slot.values[seed % len(slot.values)] for slot in request.slots}
        found.append(structs.replace(
            reward, kind="recommendation", request=request, decision=decision, issued_at=at, user_id=request.user_id,
            closed_at=at + timedelta(hours=1), propensity=1.0 / ActionGrid.of(request).count,
        ))  # fmt: skip
    return found


def log_of(rewards: list[Reward], path: Path) -> Path:
    """Rewards as JSON lines."""
    path.write_bytes(b"".join(encode(reward) + b"\n" for reward in rewards))
    return path


def invoke(*arguments: object) -> tuple[int, str]:
    """Exit code and output."""
    done = CliRunner().invoke(main, ["evaluate", *map(str, arguments)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_policies_are_valued_a_second_time_by_a_run(shop: tuple[Path, Path], tmp_path: Path) -> None:
    """Chance by the critic's model on all rewards, and by the run's on the newer ones: there the mean of the run's q over what was allowed."""
    (data, run), rewards = shop, rewards_of(shop[1])
    log = log_of(rewards, tmp_path / "rewards.jsonl")
    code, said = invoke("--direct", run, "--direct-data", data, "--out", tmp_path / "out", log)
    assert code == 0, said
    report = json.loads((tmp_path / "out" / "report.json").read_bytes())
    by_critic, by_run = report["off_policy"]
    assert (by_critic["policy"], by_critic["reward_model"], by_critic["rows"]) == ("random", "critic", OLD + NEW)
    assert (by_run["policy"], by_run["reward_model"], by_run["rows"]) == ("random", "run", NEW)
    assert f"policy random: {by_run['dr']['value']:.3f} by DR (run)" in said
    assert (report["direct"]["run"], report["direct"]["rewards"]) == ("run", NEW)
    assert 0 < report["direct"]["answered"] < NEW
    fits = cross_fits(rewards, Formula())
    q, _ = valued(Served.load(run), read(data), read_mapping(None), rewards[OLD:], fits[OLD:])
    even = [float(each[ActionGrid.of(reward.request).allowed].mean()) for each, reward in zip(q, rewards[OLD:], strict=True)]  # fmt: skip
    assert by_run["dm"]["value"] == pytest.approx(np.mean(even), abs=1e-6)
    assert by_run["dm"]["value"] != pytest.approx(by_critic["dm"]["value"], abs=1e-6)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "rewards.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--direct", "RUN"], "--direct and --direct-data belong together"),
        (["--direct-data", "DATA"], "--direct and --direct-data belong together"),
        (["--direct", "DATA", "--direct-data", "DATA"], "DATA"),
        (["--direct", "RUN", "--direct-data", "RUN"], "RUN"),
        (["--direct", "RUN", "--direct-data", "DATA", "--direct-mapping", "nowhere.toml"], "nowhere.toml"),
        (["--direct", "RUN", "--direct-data", "DATA"], f"may have learned from these rewards: 0 of {OLD}"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    shop: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    """Half of the pair, a folder that is no run or no data, no such mapping, rewards that the run may know: exit code 2, nothing is left."""
    names = {"DATA": str(shop[0]), "RUN": str(shop[1])}
    log = log_of(rewards_of(shop[1])[:OLD], tmp_path / "rewards.jsonl")
    code, output = invoke(*[names.get(each, each) for each in arguments], "--out", tmp_path / "out", log)
    assert (code, names.get(said, said) in output) == (2, True), output
    assert "Traceback" not in output
    assert [each.name for each in tmp_path.iterdir()] == ["rewards.jsonl"]
