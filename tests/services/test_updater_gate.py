"""The updater's gate in service: nothing is promoted that cannot be compared with what serving logged (law 2)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.critic import Critic
from model.registry import Registry
from services.local.stack import Endpoints
from services.settings import registry_address
from services.updater_announcing import Announced, kept
from services.updater_critics import ServedCritics
from services.updater_learning import Learning
from services.updater_training import Training
from streaming.contracts.adapters import BASE_ALONE, GateDecision, Serving, Version
from streaming.contracts.topics import ADAPTERS
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.services.updater_samples import Bench, quick_settings, served_by


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own, with quick steps."""
    made = Bench(quick_settings(stack, topic_prefix, tmp_path))
    yield made
    made.close()


def judged(bench: Bench, decision: str) -> list[GateDecision]:
    """Adapters of that decision so far."""
    return [one for one in bench.decisions() if one.what == "adapter" and one.decision == decision]


def champions(bench: Bench) -> set[str]:
    """Every adapter that was ever served."""
    return {record.champion for record in bench.announced() if isinstance(record, Serving)}


def test_a_propensity_that_is_one_percent_off_stops_the_line(bench: Bench) -> None:
    """What serving logged is not what the trainer computes: refused by parity with its number, nothing is served."""
    rewards = closed_rewards(300)
    bench.say([*rewards[:200], *served_by(rewards[200:], "lm", bench.settings.base_model, error=0.01)])
    with bench.running() as thread:
        bench.until(lambda: bool(judged(bench, "refused")), "a refusal", thread.is_alive)
    for decision in judged(bench, "refused"):
        assert decision.reason.startswith("parity: largest gap 9.95e-03")
        assert decision.numbers["parity_rows"] > 0
    assert champions(bench) == {BASE_ALONE}


def test_without_a_served_decision_a_candidate_is_refused_until_there_are_some(bench: Bench, tmp_path: Path) -> None:
    """Random decisions say nothing of parity, and the record says so; the base's own let the next candidate through."""
    elsewhere = shutil.copytree(bench.settings.base_model, tmp_path / "elsewhere")  # the worker's disk is another one
    rewards = closed_rewards(300)
    bench.say(rewards[:120])
    with bench.running() as thread:
        bench.until(lambda: bool(judged(bench, "refused")), "a refusal", thread.is_alive)
        assert champions(bench) == {BASE_ALONE}
        bench.say(served_by(rewards[120:], "lm", elsewhere))
        bench.until(lambda: bool(judged(bench, "promoted")), "a promotion", thread.is_alive)
    assert {one.reason for one in judged(bench, "refused")} == {"parity: not judged, 0 rows"}
    check = next(one for one in judged(bench, "promoted")[0].checks if one.name == "parity")
    assert check.passed
    assert "at most 1e-04" in check.detail


def test_no_step_is_taken_while_a_candidate_is_measured(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though steps are always owed: what was trained waits for its measurement. Afterwards they go on, to the next candidate."""
    measuring: list[bool] = []
    step = Training.step

    def watched(self: Training, learning: Learning, critic: Critic, now_s: float) -> float:
        measuring.append(self.measuring)
        return step(self, learning, critic, now_s)

    monkeypatch.setattr(Training, "step", watched)
    monkeypatch.setattr(Training, "owed", lambda _self, learning: len(learning.replay) >= bench.settings.batch)
    rewards = closed_rewards(300)
    bench.say([*rewards[:200], *served_by(rewards[200:], "lm", bench.settings.base_model)])

    def measured() -> bool:
        return sum(one.what == "adapter" for one in bench.decisions()) > 1

    with bench.running() as thread:
        bench.until(measured, "two candidates judged", thread.is_alive)
    assert len(measuring) >= 2 * bench.settings.candidate_every_steps
    assert not any(measuring)


def test_after_a_restart_critics_that_served_are_read_back(bench: Bench) -> None:
    """Decisions by a critic of the former life are recomputed: parity is judged on them, and on them alone."""
    rewards = closed_rewards(300)
    bench.say(rewards[:100])
    with bench.running() as thread:
        bench.until(lambda: bench.offset() == 100, "the first life", thread.is_alive)
    version = [record for record in bench.announced() if isinstance(record, Version)][-1]
    registry = Registry(registry_address(bench.settings), bench.settings.home / "cache")
    critic = Critic.load(registry.fetch(version), Formula(), version.name)
    bench.say(served_by(rewards[100:], "critic", bench.settings.base_model, critic))
    with bench.running() as thread:
        bench.until(lambda: bool(judged(bench, "promoted")), "a promotion", thread.is_alive)
    assert judged(bench, "promoted")[0].numbers["parity_rows"] > 0
    assert judged(bench, "promoted")[0].numbers["parity_max"] < 1e-4


def test_a_critic_that_is_not_announced_or_not_intact_is_not_found(bench: Bench) -> None:
    """Only announced snapshots are read, and a spoiled file is none."""
    bench.say(closed_rewards(100))
    with bench.running() as thread:
        bench.until(lambda: bench.offset() == 100, "everything learned", thread.is_alive)
    registry = Registry(registry_address(bench.settings), bench.settings.home / "cache")
    updater_said = _said(bench)
    first, *_, last = sorted(updater_said.versions)
    served = ServedCritics(registry, updater_said, Formula())
    assert served.find("critic-000999-00000000") is None
    for file in registry.fetch(updater_said.versions[first]).glob("*.safetensors"):
        file.write_bytes(b"spoiled")
    assert served.find(first) is None
    found = served.find(last)
    assert found is not None
    assert served.find(last) is found


def _said(bench: Bench) -> Announced:
    said = Announced()
    for key, value in bench.read(ADAPTERS):
        said.take(key, value)
    return said


def test_ever_fewer_of_the_older_critics_stay() -> None:
    """The newest all, then every tenth, hundredth, thousandth: some of every age, not many in all."""
    numbers = set(range(1, 30_001))
    left = kept(numbers, 24)
    assert set(range(29_977, 30_001)) <= left
    assert {29_970, 29_770, 29_700, 27_700, 27_000, 7_000} <= left
    assert not {29_971, 29_760, 27_500, 6_000} & left
    assert len(left) < 110
    assert kept(left, 24) == left
