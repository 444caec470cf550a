"""Metrics of what the updater makes: the age of an adapter's data, trials, and what finals say."""

import math
from collections import Counter

import pytest
from msgspec import structs

from model.lessons import Fate, Lesson
from model.rollout import TrialKnobs
from model.sequential import Observation, observe
from model.trial import TrialDesign, start
from services.metrics import REGISTRY
from services.updater_announcing import nothing_served
from services.updater_counting import GROUPS, PARTS, Counting, group_of
from services.updater_figures import Freshness, TrialFigures
from services.updater_learning import Learned
from services.updater_trials import Trials
from streaming.reward import Formula
from tests.model.closed import closed_rewards

DESIGN = TrialDesign(TrialKnobs(), -1.0, 1.0, 1000, 0, {"complaints": 0.1, "fallbacks": 0.1, "late": 0.1})


def value(name: str, **labels: str) -> float | None:
    """A sample of the registry."""
    return REGISTRY.get_sample_value(f"stratagem_{name}", labels)


def change(name: str, before: float | None, **labels: str) -> float:
    """By how much a sample is higher than it was."""
    return (value(name, **labels) or 0.0) - (before or 0.0)


def test_an_adapters_age_is_that_of_the_reward_that_completed_it() -> None:
    """Rewards that come while the candidate waits for the gate do not make it younger."""
    fresh, candidate = Freshness(), object()
    name = "reward_to_adapter_seconds"
    before = {part: value(f"{name}_{part}") for part in ("sum", "count")}
    fresh.read(10_000)
    fresh.stands(candidate)
    fresh.read(50_000)
    fresh.stands(candidate)
    fresh.served(52_000)
    assert change(f"{name}_sum", before["sum"]) == pytest.approx(42.0)
    assert change(f"{name}_count", before["count"]) == 1


def test_an_adapter_of_unknown_age_is_not_counted() -> None:
    """After a restart the rewards behind a candidate were read by another life."""
    before = value("reward_to_adapter_seconds_count")
    fresh = Freshness()
    fresh.stands(object())
    fresh.served(52_000)
    assert value("reward_to_adapter_seconds_count") == before


def test_a_trial_is_shown_while_it_stands() -> None:
    """Customers, the difference with its bounds, harms; gone with the trial."""
    trial = start("canary", "adapter-000002-ab", "salt", 0.5, DESIGN)
    reward = trial.ends.ledgers[0]
    seen = [Observation(n % 2 == 0, 0.5 if n % 2 == 0 else 0.0, None) for n in range(400)]
    reward.evidence = observe(reward.evidence, seen)
    figures = TrialFigures()
    serving = structs.replace(nothing_served(), canary=trial.version, canary_share=0.5)
    figures.show(Trials(canary=trial), serving, DESIGN)
    assert value("trial_customers", role="canary", side="treated") == 200
    assert value("trial_difference", role="canary", bound="estimate") == pytest.approx(0.5)
    lower, upper = (value("trial_difference", role="canary", bound=bound) for bound in ("lower", "upper"))
    assert lower is not None
    assert upper is not None
    assert 0.0 < lower < 0.5 < upper
    assert value("trial_harm", role="canary", harm="complaints") is not None
    assert value("served_share", role="canary") == 0.5
    assert value("served_share", role="champion") == 0.5
    figures.show(Trials(), nothing_served(), DESIGN)
    assert value("trial_customers", role="canary", side="treated") is None
    assert value("served_share", role="canary") == 0.0


def test_a_customers_group_keeps_all_that_is_theirs() -> None:
    """A final of 2 and its correction to 0.5 are one strategy that brought 0.5, in one of few groups; customers spread over all."""
    final = structs.replace(closed_rewards(1)[0], stage="final", assigned_arm="critic", reward=2.0, difference=0.0)
    corrected = structs.replace(final, stage="correction", reward=0.5, difference=-1.5)
    labels = {"kind": final.kind, "arm": "critic", "group": group_of(final.user_id)}
    before = {name: value(name, **labels) for name in ("reward_sum", "finals_total")}
    counting = Counting(Formula())
    for reward in (final, corrected):
        counting.count(Learned(reward, Lesson("learned")))
    assert change("reward_sum", before["reward_sum"], **labels) == pytest.approx(0.5)
    assert change("finals_total", before["finals_total"], **labels) == 1
    groups = Counter(group_of(f"customer-{number}") for number in range(100 * GROUPS))
    assert groups.keys() == {str(number) for number in range(GROUPS)}
    assert max(groups.values()) < 150


def test_what_taught_nothing_is_counted_too() -> None:
    """Rewards by what the critic did with them: a duplicate moves nothing else, an outage's reward is counted as any."""
    reward = structs.replace(closed_rewards(1)[0], stage="response", assigned_arm="lm")
    fates: tuple[Fate, ...] = ("duplicate", "outage", "late")
    told = {"kind": reward.kind, "arm": "lm", "stage": "response"}
    before = {fate: value("lessons_total", fate=fate) for fate in fates}
    rewards = value("rewards_total", **told)
    for fate in fates:
        Counting(Formula()).count(Learned(reward, Lesson(fate)))
    assert [change("lessons_total", before[fate], fate=fate) for fate in fates] == [1, 1, 1]
    assert change("rewards_total", rewards, **told) == 2


def test_a_final_says_its_outcomes_and_parts_once() -> None:
    """What happened is counted with the final alone; parts sum to the reward; names from the wire are no labels."""
    closed = closed_rewards(1)[0]
    outcomes = structs.replace(closed.outcomes, shown=True, clicked=True, horizon_margin_minor=1250)
    parts = {"click": 0.3, "cost": -0.1, "nobody's": 7.0}
    final = structs.replace(
        closed, stage="final", assigned_arm="random", outcomes=outcomes, components=parts, decision={"channel": "fax"}
    )
    labels = {"kind": final.kind, "arm": "random"}
    counted = {**labels, "channel": "other", "outcome": "clicked"}
    before = value("outcomes_total", **counted)
    sums = {part: value("reward_parts", **labels, channel="other", part=part) for part in PARTS}
    grouped = {**labels, "group": group_of(final.user_id)}
    net = value("net_margin_sum", **grouped)
    for stage in ("response", "final"):
        told = structs.replace(final, stage=stage)
        Counting(Formula()).count(Learned(told, Lesson("learned")))
    assert change("outcomes_total", before, **counted) == 1
    moved = {part: change("reward_parts", sums[part], **labels, channel="other", part=part) for part in PARTS}
    assert {part: each for part, each in moved.items() if not math.isclose(each, 0.0, abs_tol=1e-9)} == {
        "click": pytest.approx(0.3),
        "cost": pytest.approx(-0.1),
    }
    assert value("reward_parts", **labels, channel="other", part="nobody's") is None
    assert change("net_margin_sum", net, **grouped) == pytest.approx(12.5 - 0.1)
