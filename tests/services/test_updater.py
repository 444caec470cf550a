"""The updater as a process on the real Kafka: it learns, announces, refuses, and survives being killed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from model import adapter
from model.critic import OUTCOMES, Critic
from model.lm import LanguageModel
from model.registry import Registry
from services import updater_announcing
from services.local.stack import Endpoints
from services.records import Record
from services.settings import registry_address
from services.updater_learning import Learning
from services.updater_state import folder_of, load_learning, newest
from streaming.contracts.adapters import BASE_ALONE, Serving, Version
from streaming.contracts.codec import encode
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import ADAPTERS, DEAD_LETTERS, DECISIONS, REWARDS
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.services.schema_checks import assert_valid
from tests.services.updater_samples import Bench, quick_settings, served_by


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own, with quick steps."""
    made = Bench(quick_settings(stack, topic_prefix, tmp_path))
    yield made
    made.close()


def learned(bench: Bench) -> Learning:
    """What the newest snapshot holds."""
    path = newest(folder_of(bench.settings))
    assert path is not None
    return load_learning(path, bench.settings, Formula())[0]


def test_killed_it_ends_where_an_undisturbed_run_does(bench: Bench) -> None:
    """`kill -9`, then the rest of the recorded rewards: critic and buffer equal the undisturbed ones, nothing twice."""
    rewards = closed_rewards(300)
    bench.say(rewards[:120])
    with bench.process() as child:
        bench.until(lambda: bench.offset() >= 60, "the first snapshot", lambda: child.poll() is None)
        bench.say(rewards[120:])
        child.kill()
    with bench.running() as thread:
        bench.until(lambda: bench.offset() == 300, "everything learned", thread.is_alive)
    found, straight = learned(bench), Learning.fresh(bench.settings, Formula())
    for offset, reward in enumerate(rewards):
        straight.take(Record(REWARDS.name, 0, offset, None, encode(reward), 0))
    assert found.learner.learned == straight.learner.learned == 300
    for spec in OUTCOMES:
        assert np.abs(found.learner.means[spec.name] - straight.learner.means[spec.name]).max() <= 1e-9
    assert list(found.replay) == list(straight.replay)
    assert list(found.learner.seen) == list(straight.learner.seen)
    names = [record.name for record in bench.announced() if isinstance(record, Version)]
    sequences = [name.rsplit("-", 1)[0] for name in names]
    assert len(sequences) == len(set(sequences)), "a sequence was used twice"


def test_it_promotes_adapters_and_serves_what_it_announced(bench: Bench) -> None:
    """Version first, then `serving`; every file of it fits the base and verifies; each decision is recorded."""
    rewards = closed_rewards(300)
    bench.say([*rewards[:260], *served_by(rewards[260:], "lm", bench.settings.base_model)])

    def champion() -> str:
        return next((r.champion for r in reversed(bench.announced()) if isinstance(r, Serving)), BASE_ALONE)

    with bench.running() as thread:
        bench.until(lambda: champion() != BASE_ALONE, "a promoted adapter", thread.is_alive)
    for topic in (ADAPTERS, DECISIONS):  # versions, the record `serving`, decisions: as they are on the topics
        assert assert_valid(topic.name, (value for _, value in bench.read(topic))) > 1
    records = bench.announced()
    place = next(n for n, r in enumerate(records) if isinstance(r, Serving) and r.champion != BASE_ALONE)
    before, promotion = records[:place], records[place]
    assert isinstance(promotion, Serving)
    version = next(r for r in before if isinstance(r, Version) and r.name == promotion.champion)
    registry = Registry(registry_address(bench.settings), bench.settings.home / "cache")
    lm = LanguageModel.load(bench.settings.base_model, "cpu")
    assert version.base_sha256 == lm.base_sha256
    adapter.attach(lm)
    adapter.read(registry.fetch(version), adapter.expected(lm))
    serving = [record for record in records if isinstance(record, Serving)]
    assert [record.sequence for record in serving] == sorted({record.sequence for record in serving})
    last = {r.name: r for r in records if isinstance(r, Version)}[serving[-1].critic]
    assert Critic.load(registry.fetch(last), Formula()).version == last.name
    promoted = {d.version for d in bench.decisions() if d.decision == "promoted"}
    assert {version.name, last.name} <= promoted
    checks = next(d for d in bench.decisions() if d.version == version.name).checks
    assert [check.name for check in checks] == ["artifact", "parity", "decisions", "kl", "entropy", "value"]


def test_bad_rewards_are_dead_lettered_and_learning_goes_on(bench: Bench) -> None:
    """Not JSON, not a reward, a decision that was not allowed, not finite: letters with reasons; empty values are passed over."""
    good = closed_rewards(300)[:40]
    bad = [b"{", b'{"reward_id": 1}', *_contradictions(good[0])]
    bench.say([*good[:20], *bad, None, *good[20:]])
    with bench.running() as thread:
        bench.until(lambda: bench.offset() == 40 + len(bad) + 1, "everything read", thread.is_alive)
    assert learned(bench).learner.learned == 40
    assert len(bench.read(DEAD_LETTERS)) == len(bad)


def _contradictions(reward: Reward) -> list[bytes]:
    other = {"reward_id": "c", "kind": "ad" if reward.kind != "ad" else "ranking"}
    return [
        encode(structs.replace(reward, reward_id="a", decision={"product": "unknown"})),
        encode(structs.replace(reward, reward_id="b", propensity=None)),
        json.dumps(json.loads(encode(reward)) | other).encode(),
    ]


def test_old_critics_leave_topic_and_registry(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only recent snapshots stay: older ones are tombstoned, and their files are gone."""
    monkeypatch.setattr(updater_announcing, "KEPT_CRITICS", 3)
    monkeypatch.setattr(updater_announcing, "THINNED", ())
    rewards = closed_rewards(300)
    with bench.running() as thread:
        for stop in range(30, 301, 30):
            bench.say(rewards[stop - 30 : stop])
            bench.until(lambda stop=stop: bench.offset() == stop, "a part learned", thread.is_alive)  # type: ignore[misc]
    left: dict[bytes, bytes | None] = {}
    for key, value in bench.read(ADAPTERS):
        left[key or b""] = value
    alive = {key.decode() for key, value in left.items() if value and key.startswith(b"critic-")}
    registry = Registry(registry_address(bench.settings), bench.settings.home / "cache")
    assert len([key for key in left if key.startswith(b"critic-")]) > 3
    assert len(alive) == 3
    assert set(registry.names("critic")) == alive
