"""Of the books, the report's fields and the page."""

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from services.shop.books import Evidence, read_stalls
from services.shop.oracle import Baseline
from services.shop.report import write_report
from services.shop.spoiled import slip_corrupt_adapter, slip_harmful_adapter
from services.shop.summary import closed_rewards, in_words, interval, quantile, summarise, unbalanced
from services.shop.world import World
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Strategy, Suppression
from tests.services.shop.shop_samples import make_request, make_strategy

FIELDS = """events_published events_folded events_duplicate events_ignored events_dead_lettered profiles requests
suppressed strategies strategies_by_kind strategies_by_arm messages_by_model_share rewards corrections adapters_trained
adapters_promoted adapters_refused swaps swap_ms_max reward_by_arm oracle_reward lift_by_arm request_to_strategy_ms_p50
request_to_strategy_ms_p99 lost""".split()


def reward_of(strategy: Strategy, stage: str, reward: float) -> Reward:
    """A stage of a strategy's reward."""
    return Reward(
        reward_id=f"{strategy.strategy_id}/{stage}",
        strategy_id=strategy.strategy_id,
        request_id=strategy.request_id,
        user_id=strategy.user_id,
        stage=stage,  # type: ignore[arg-type]  # the callers write stages
        kind=strategy.kind,
        assigned_arm="fused",
        acting_arm="fused",
        ghost=False,
        issued_at=strategy.issued_at,
        closed_at=strategy.issued_at + timedelta(days=1),
        request=strategy.request,
        decision=strategy.decision,
        policy=strategy.policy,
        propensity=strategy.propensity,
        slot_propensities={},
        outcomes=Outcomes("USD"),
        reward=reward,
        components={"click": reward},
    )


@pytest.fixture
def strategies(world: World) -> list[Strategy]:
    """A strategy for each of two customers."""
    return [make_strategy(make_request(world, "ranking", user)) for user in list(world.customers)[:2]]


@pytest.fixture
def evidence(strategies: list[Strategy]) -> Evidence:
    """Books that balance."""
    rewards = [reward_of(strategies[0], "final", 0.1), reward_of(strategies[1], "final", 0.3)]
    return Evidence(
        published=10,
        fates={"folded": 7, "duplicate": 1, "ignored": 1, "dead_lettered": 1, "clock": 8},
        profiles=2,
        outbox=0,
        requests={s.request_id: (s.request, 1_000) for s in strategies},
        strategies={s.strategy_id: (s, 1_040) for s in strategies},
        conflicts=0,
        suppressions={},
        rewards={reward.reward_id: reward for reward in rewards},
        decisions=[],
        stalls_ms=[0.12, 0.08],
    )


def test_report_has_exactly_the_promised_fields(evidence: Evidence, tmp_path: Path) -> None:
    """`report.json` has the fields of the promise, in its order, and the numbers of the evidence."""
    summary = summarise(evidence, Baseline(oracle=0.5, random=0.1))
    write_report(tmp_path, summary, evidence, Baseline(0.5, 0.1), [])
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == FIELDS
    assert report["lost"] == 0
    assert report["swap_ms_max"] == 0.12
    assert report["request_to_strategy_ms_p99"] == 40
    assert report["reward_by_arm"]["fused"]["mean"] == pytest.approx(0.2)
    assert report["lift_by_arm"]["fused"] == pytest.approx(0.25)  # (0.2 - 0.1) / (0.5 - 0.1)
    assert in_words(summary)


def test_page_stands_alone_and_escapes(evidence: Evidence, tmp_path: Path) -> None:
    """The page loads nothing, holds its plots, and shows a hostile title as text."""
    write_report(tmp_path, summarise(evidence, None), evidence, None, ["<i>fault</i>"], ["and <u>this</u>"])
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 3
    assert "<b>title</b>" not in page
    assert "&lt;b&gt;title&lt;/b&gt;" in page
    assert "<i>fault</i>" not in page
    assert "and &lt;u&gt;this&lt;/u&gt;" in page
    assert not [word for word in ("<script", "<img", "<link", "@import", 'src="') if word in page]


def test_balanced_books_have_no_fault(evidence: Evidence) -> None:
    """Clock records are apart; everything else is accounted for."""
    assert unbalanced(evidence) == []


def test_every_fault_is_told(evidence: Evidence, strategies: list[Strategy], world: World) -> None:
    """A lost event, an open request, a double answer, an orphan and a stuck message are each found."""
    lost_event = msgspec.structs.replace(evidence, published=11)
    assert "11 events published" in unbalanced(lost_event)[0]
    assert summarise(lost_event, None).lost == 1
    request = make_request(world, "ad", strategies[0].user_id)
    opened = msgspec.structs.replace(evidence, requests=evidence.requests | {request.request_id: (request, 0)})
    assert "neither a strategy nor a reason" in unbalanced(opened)[0]
    assert summarise(opened, None).lost == 1
    said = strategies[0].request
    reason = Suppression(
        "s", said.request_id, said.user_id, said.kind, said.trigger, said.arm, "stale", "", said.issued_at, "worker"
    )
    assert "a strategy and a reason" in unbalanced(msgspec.structs.replace(evidence, suppressions={"s": reason}))[0]
    first = strategies[0].request_id
    orphaned = msgspec.structs.replace(evidence, requests={first: evidence.requests[first]})
    assert "answer no request" in unbalanced(orphaned)[0]
    assert "unpublished" in unbalanced(msgspec.structs.replace(evidence, outbox=1))[0]


def test_corrections_have_the_last_word(strategies: list[Strategy]) -> None:
    """A response is not yet closed; a final is; a correction replaces it."""
    stages = [reward_of(strategies[0], stage, value) for stage, value in (("response", 0.9), ("final", 0.5))]
    assert closed_rewards(stages[:1]) == {}
    assert closed_rewards(stages)[strategies[0].strategy_id].reward == 0.5
    corrected = [*stages, reward_of(strategies[0], "correction", -0.2)]
    assert closed_rewards(corrected)[strategies[0].strategy_id].reward == -0.2


def test_customers_of_two_arms_leave_the_comparisons(evidence: Evidence, tmp_path: Path) -> None:
    """One reward or request that says so takes all of the customer's rewards out, and the page says how many customers."""
    first, second = evidence.rewards.values()
    told = msgspec.structs.replace(first, reward_id="other", strategy_id="other", stage="response", mixed_arms=True)
    mixed = msgspec.structs.replace(evidence, rewards={each.reward_id: each for each in (first, second, told)})
    summary = summarise(mixed, None)
    assert (summary.reward_by_arm["fused"].mean, summary.reward_by_arm["fused"].strategies) == (second.reward, 1)
    assert summary.rewards == 3
    write_report(tmp_path, summary, mixed, None, [])
    assert "1 ids of customers who were in two arms" in (tmp_path / "report.html").read_text()
    request_id = second.request_id
    asked = {request_id: (msgspec.structs.replace(second.request, mixed_arms=True), 0)}
    assert summarise(msgspec.structs.replace(mixed, requests=asked), None).reward_by_arm == {}


def test_interval_by_hand() -> None:
    """Of 0, 1, 2, 3: mean 1.5, variance 5/3, half width 1.96 * sqrt(5/12) = 1.2652."""
    stat = interval([0.0, 1.0, 2.0, 3.0])
    assert stat.mean == 1.5
    assert stat.high95 - stat.mean == pytest.approx(1.2652, abs=1e-4)


def test_quantiles_are_nearest_ranks() -> None:
    """The 99 % quantile of 1..100 is 99, the median 50; of nothing 0."""
    ordered = [float(n) for n in range(1, 101)]
    assert (quantile(ordered, 0.99), quantile(ordered, 0.5), quantile([], 0.5)) == (99.0, 50.0, 0.0)


def test_stalls_are_read_from_the_workers_log(tmp_path: Path) -> None:
    """Every swap's stall is found; no log, no swaps."""
    log = tmp_path / "worker.log"
    assert read_stalls(log) == []
    log.write_text("x INFO serving adapter-000001 after base, stalled 0.31 ms\nother\n")
    assert read_stalls(log) == [0.31]


def test_corrupt_adapter_is_a_cut_copy(tmp_path: Path) -> None:
    """The demo spoils a copy of the newest version and leaves the version itself alone."""
    assert not slip_corrupt_adapter(tmp_path)
    version = tmp_path / "registry" / "adapter-000001-abcdef01"
    version.mkdir(parents=True)
    (version / "adapter_model.safetensors").write_bytes(b"0123456789")
    (version / "adapter.json").write_text("{}")
    assert slip_corrupt_adapter(tmp_path)
    spoiled = tmp_path / "registry" / "inbox" / "corrupt-adapter"
    assert (spoiled / "adapter_model.safetensors").read_bytes() == b"01234"
    assert (spoiled / "adapter.json").read_text() == "{}"
    assert (version / "adapter_model.safetensors").read_bytes() == b"0123456789"


def test_harmful_adapter_is_intact_and_does_the_opposite(tmp_path: Path) -> None:
    """What the newest version adds to the base is turned round and made stronger; its other files are as they were."""
    assert not slip_harmful_adapter(tmp_path)
    version = tmp_path / "registry" / "adapter-000001-abcdef01"
    version.mkdir(parents=True)
    down, up = np.ones((2, 3), np.float32), np.full((3, 2), 0.5, np.float32)
    save_file({"q.lora_A.weight": down, "q.lora_B.weight": up}, version / "adapter_model.safetensors")
    (version / "adapter.json").write_text("{}")
    assert slip_harmful_adapter(tmp_path)
    spoiled = tmp_path / "registry" / "inbox" / "harmful-adapter"
    found = load_file(spoiled / "adapter_model.safetensors")
    assert np.array_equal(found["q.lora_A.weight"], down)
    assert np.array_equal(found["q.lora_B.weight"], -3.0 * up)
    assert (spoiled / "adapter.json").read_text() == "{}"
