"""How the benchmark of freshness counts: a reward is served once something includes it, whichever version comes first."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from benchmarks import updater_pace
from benchmarks.freshness import RECENT, TONES, included, turned, waits
from benchmarks.live import rewarded
from benchmarks.serving import asks_of
from model import adapter
from model.critic import Critic
from model.fresh import random_lm
from services.updater_learning import checked
from services.worker_answers import Answerer
from services.worker_intake import Ask
from services.worker_serving import ServingTable
from streaming.contracts.adapters import Version
from streaming.contracts.strategies import Strategy
from streaming.reward import Formula
from tests.services.updater_samples import save_base


def test_a_reward_waits_for_the_first_serving_that_includes_it() -> None:
    """A later version may be served before an earlier one; what nothing includes does not count."""
    assert waits([10.0, 11.0, 12.0, 13.0], [(1, 15.0), (3, 14.0)]) == [4.0, 3.0, 2.0]
    assert waits([10.0], []) == []
    assert waits([10.0, 11.0, 12.0, 13.0], [(1, 15.0), (3, 14.0)], since_s=12.0) == [2.0]


def test_an_adapter_includes_what_its_training_had_learned() -> None:
    """Not what was closed while it waited for the gate; a critic includes up to its offset."""
    facts = {"base": "", "uri": "", "sha256": "", "parent": "", "created_at": datetime.now(UTC)}
    offsets, metrics = {"strategy.rewards:0": 90}, {"trained_rewards": 40.0}
    for what, wanted in (("adapter", 40), ("critic", 90)):
        version = Version(f"{what}-1", what, base_sha256="", offsets=offsets, metrics=metrics, **facts)  # type: ignore[arg-type]
        assert included(version) == wanted


def test_the_updater_is_paced_by_its_own_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tiny base, and so few rewards that a slow machine is not behind: both orders make adapters and tell when rewards had been learned."""
    asked = ["--base", str(save_base(tmp_path)), "--rate", "20", "--seconds", "16", "--warm-up", "0", "--json"]
    assert updater_pace.main(asked) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["order"] for line in lines] == ["after", "between"]
    for line in lines:
        assert line["adapters"] > 0
        assert 0.0 < line["critic_p50_s"] <= line["critic_p90_s"] < 16.0
        assert 0.0 < line["adapter_p50_s"] <= line["adapter_p90_s"] < 16.0


@pytest.fixture(scope="module")
def strategy() -> Strategy:
    """One of arm `lm`."""
    lm = random_lm(7, width=32, layers=2)
    adapter.attach(lm)
    table = ServingTable(lm, Critic.prior(0, 2, Formula()))
    asks: list[Ask] = asks_of(3, 12, "lm")
    answers = Answerer(lm, table, temperature=0.4, seed=0).answer(asks)
    return next(one for one in answers if "tone" in one.decision)


def test_the_turn_is_seen_when_most_answers_have_turned(strategy: Strategy) -> None:
    """Answers of arm `lm` after the turn; before that, and while the old tone outweighs, nothing is seen."""

    def said(tone: str, at: float) -> tuple[Strategy, float, float]:
        return structs.replace(strategy, decision={**strategy.decision, "tone": tone}), at - 1.0, at

    old = [said(TONES[0], 100.0 + n) for n in range(RECENT)]
    new = [said(TONES[1], 200.0 + n) for n in range(RECENT)]
    assert turned(old, 100.0) is None
    assert turned([*old, *new], 100.0) == 100.0 + RECENT // 2
    assert turned(new, 300.0) is None


def test_rewards_of_the_benchmark_are_those_an_updater_learns(strategy: Strategy) -> None:
    """They pass the updater's own check, liked or not."""
    for liked in (True, False):
        assert checked(rewarded(strategy, liked=liked)).outcomes.clicked is liked
