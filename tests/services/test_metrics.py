"""Metrics: standard names, no ids in labels, found by the shipped scrape configuration."""

import re
import urllib.request
from pathlib import Path
from threading import Event

import pytest
from msgspec import structs

from model.fresh import random_lm
from model.lessons import Lesson
from model.suffix import Pack
from services.metrics import DEFAULT_PORTS, REGISTRY, is_free, serve
from services.settings import SettingError
from services.updater_counting import Counting, group_of
from services.updater_learning import Learned
from services.worker_answers import decision_tokens
from services.worker_sending import patiently
from streaming.contracts.errors import Unavailable
from streaming.contracts.kinds import Kind
from streaming.reward import Formula
from tests.model.closed import closed_rewards
from tests.model.sample import request_of

ROOT = Path(__file__).parents[2]
FORBIDDEN_LABELS = {"user", "user_id", "strategy_id", "message_id", "event_id", "product_id", "request_id"}


def test_names_follow_the_standard() -> None:
    """Every metric has our prefix and help, and counters end in _total when exposed."""
    for family in REGISTRY.collect():
        assert family.name.startswith("stratagem_")
        assert family.documentation
        assert not re.search(r"_(ms|millis|minutes|kb)$", family.name)


def test_no_id_is_a_label() -> None:
    """A label whose values grow with customers or events would kill Prometheus."""
    for collector in REGISTRY._collector_to_names:
        assert not FORBIDDEN_LABELS & set(getattr(collector, "_labelnames", ()))


def test_metrics_are_served_on_loopback(caplog: pytest.LogCaptureFixture) -> None:
    """The exposition answers over HTTP; a taken port falls back to a free one, and the log says which."""
    first, second = serve("shop", "127.0.0.1", 0), serve("shop", "127.0.0.1", 0)
    assert first != second
    assert f"metrics of shop on http://127.0.0.1:{second}/metrics" in caplog.text
    with urllib.request.urlopen(f"http://127.0.0.1:{second}/metrics") as response:
        assert b"stratagem_events" in response.read()


def test_a_port_that_was_asked_for_is_not_replaced() -> None:
    """Somebody scrapes that port: when it is taken, the service ends and names it."""
    taken = serve("shop", "127.0.0.1", 0)
    assert not is_free("127.0.0.1", taken)
    with pytest.raises(SettingError, match=rf"metrics of worker cannot be served on 127\.0\.0\.1:{taken}"):
        serve("worker", "127.0.0.1", taken)


@pytest.mark.parametrize("kind", ["recommendation", "ad", "ranking", "promotion"])
def test_a_decisions_tokens_are_counted_as_the_model_reads_them(kind: Kind) -> None:
    """The count is the length of the path that the model's own layout gives the decision."""
    lm, request = random_lm(7, width=32, layers=2), request_of(3, kind)
    decision = {slot.name: slot.values[-1] for slot in request.slots}
    pack = Pack([0])
    last = lm.lay_out(pack, 0, request, decision)
    assert decision_tokens(lm.spelling, request, decision) == pack.rows[0].depths[last] + 1


def test_rewards_are_counted_by_the_assigned_arm() -> None:
    """A customer of the fused arm whom the critic answered counts for fused, as requests and strategies do."""
    reward = structs.replace(closed_rewards(1)[0], stage="final", assigned_arm="fused", acting_arm="critic")
    labels = {"kind": reward.kind, "arm": "fused"}
    grouped = {**labels, "group": group_of(reward.user_id)}
    critics = {**labels, "arm": "critic", "stage": "final"}
    before = REGISTRY.get_sample_value("stratagem_reward_sum", grouped) or 0.0
    others = REGISTRY.get_sample_value("stratagem_rewards_total", critics)
    Counting(Formula()).count(Learned(reward, Lesson("learned")))
    assert REGISTRY.get_sample_value("stratagem_reward_sum", grouped) == pytest.approx(before + reward.reward)
    assert REGISTRY.get_sample_value("stratagem_rewards_total", {**labels, "stage": "final"})
    assert REGISTRY.get_sample_value("stratagem_rewards_total", critics) == others


def test_customers_of_two_arms_are_counted_apart() -> None:
    """A customer merged from two arms is no evidence for either."""
    reward = structs.replace(closed_rewards(1)[0], stage="final", assigned_arm="lm", mixed_arms=True)

    def summed(arm: str) -> float:
        labels = {"kind": reward.kind, "arm": arm, "group": group_of(reward.user_id)}
        return REGISTRY.get_sample_value("stratagem_reward_sum", labels) or 0.0

    before = {arm: summed(arm) for arm in ("lm", "mixed")}
    Counting(Formula()).count(Learned(reward, Lesson("learned")))
    assert {arm: summed(arm) for arm in before} == {**before, "mixed": pytest.approx(before["mixed"] + reward.reward)}


@pytest.mark.parametrize("what", ["kafka", "redis", "registry"])
def test_failures_are_counted_by_what_failed(what: str) -> None:
    """Kafka's, Redis' and the registry's each have a counter of their own."""
    answers = iter([Unavailable("not yet"), None])

    def second_time() -> None:
        if (answer := next(answers)) is not None:
            raise answer

    def counts() -> dict[str, float]:
        found = {
            each: REGISTRY.get_sample_value(f"stratagem_{each}_errors_total", {"service": "test-sending"})
            for each in ("kafka", "redis", "registry")
        }
        return {each: value or 0.0 for each, value in found.items()}

    before = counts()
    patiently(second_time, what, "test-sending", Event())
    assert counts() == {**before, what: before[what] + 1}


def test_the_scrape_configuration_names_every_service() -> None:
    """`deploy/prometheus.yml` lists exactly the default ports."""
    text = (ROOT / "deploy/prometheus.yml").read_text()
    targets = {
        (name, int(port)) for port, name in re.findall(r'127\.0\.0\.1:(\d+)"\]\s+labels: { service: (\w+)', text)
    }
    assert targets == set(DEFAULT_PORTS.items())
