"""The critic's learner: stages, duplicates, ghosts, outages, drift, lift, and state that survives exactly."""

from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from model.critic import OUTCOMES, Critic
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.learner_state import load_learner, save_learner
from model.lessons import LearnerKnobs
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import reward_id
from streaming.contracts.rewards import Reward
from streaming.reward import Formula
from tests.model.closed import closed_rewards, response_of, simulation

KNOBS = LearnerKnobs(heads=4)


def learner(**changes: float) -> CriticLearner:
    """A new learner of the real formula."""
    return CriticLearner(structs.replace(KNOBS, **changes), Formula())


def taught(rewards: tuple[Reward, ...], **changes: float) -> CriticLearner:
    """A learner that has seen these."""
    made = learner(**changes)
    for reward in rewards:
        made.learn(reward)
    return made


def lift(critic: Critic, seed: int, count: int) -> float:
    """Share of the way from random to oracle of the critic's greedy action, on requests it never saw."""
    world = simulation(seed)
    chosen = uniform = best = 0.0
    for number, (customer, request) in enumerate(world.requests(6000)):
        if number < 6000 - count:
            continue
        allowed = ActionGrid.of(request).allowed
        truth = world.values(customer, request)
        chosen += truth.ravel()[np.argmax(np.where(allowed, critic.values(request)[0], -np.inf))]
        uniform += truth[allowed].mean()
        best += truth[allowed].max()
    return float((chosen - uniform) / (best - uniform))


def same(a: CriticLearner, b: CriticLearner) -> float:
    """Largest difference of any learned number."""
    gaps = [np.abs(a.means[spec.name] - b.means[spec.name]).max() for spec in OUTCOMES]
    gaps += [np.abs(a.drawn[name] - b.drawn[name]).max() for name in a.drawn]
    return float(max(gaps))


def test_a_thousand_random_rewards_lift_greedy_actions_far_above_chance() -> None:
    """The critic learns from the random arm alone; before any reward it only knows the money."""
    rewards = closed_rewards(1000)
    before, after = lift(learner().snapshot(), 1, 200), lift(taught(rewards).snapshot(), 1, 200)
    assert after > 0.35
    assert after > before + 0.05


def test_equal_rewards_in_equal_order_give_equal_states() -> None:
    """Nothing but the rewards decides what is learned."""
    rewards = closed_rewards(150)
    assert same(taught(rewards), taught(rewards)) == 0.0


@pytest.mark.parametrize("cut", [70, 137])
def test_a_restored_learner_ends_where_an_undisturbed_one_does(tmp_path: Path, cut: int) -> None:
    """Saved at any moment and fed the rest, it learns the same to the last bit."""
    rewards = closed_rewards(300)
    straight = taught(rewards)
    halfway = taught(rewards[:cut])
    save_learner(halfway, tmp_path)
    restored = load_learner(tmp_path, KNOBS, Formula())
    for reward in rewards[cut:]:
        restored.learn(reward)
    assert same(straight, restored) <= 1e-9
    assert straight.units() == restored.units()
    assert straight.fates == restored.fates
    assert straight.watch.residuals() == restored.watch.residuals()


def test_a_state_of_another_seed_is_refused(tmp_path: Path) -> None:
    """Its noise would be another's: the message names what was wanted."""
    save_learner(taught(closed_rewards(30)), tmp_path)
    with pytest.raises(BadEvent, match="seed"):
        load_learner(tmp_path, structs.replace(KNOBS, seed=9), Formula())


def test_a_duplicate_teaches_nothing() -> None:
    """The second delivery of a reward leaves every number as it was."""
    rewards = closed_rewards(120)
    twice = tuple(reward for reward in rewards for _ in range(2))
    once, doubled = taught(rewards), taught(twice)
    assert same(once, doubled) == 0.0
    assert doubled.fates["duplicate"] == len(rewards)


def test_a_ghost_teaches_nothing() -> None:
    """The holdout was not contacted: its windows say nothing about actions."""
    ghosts = tuple(structs.replace(reward, ghost=True, decision={}) for reward in closed_rewards(30))
    made = taught(ghosts)
    assert made.learned == 0
    assert made.fates == {"ghost": 30}


def test_response_and_final_teach_each_outcome_once() -> None:
    """A response teaches exposure and click, the final adds the order; in either order the same labels result."""
    final = next(reward for reward in closed_rewards(1000) if reward.outcomes.ordered)
    first = learner()
    assert set(first.learn(response_of(final)).losses) == {"shown", "clicked"}
    assert set(first.learn(final).losses) == {"ordered", "refunded", "unsubscribed"}
    other = learner()
    assert "ordered" in other.learn(final).losses
    assert other.learn(response_of(final)).losses == {}
    one, two = (made.window.get(final.strategy_id) for made in (first, other))
    assert one is not None
    assert two is not None
    assert one.labels == two.labels
    assert one.margin == two.margin > 0


def test_a_shared_order_counts_by_its_part() -> None:
    """Half an order with half its margin teaches half an order of the usual margin: what is expected of both is a whole."""
    final = next(r for r in closed_rewards(1000) if r.outcomes.ordered and r.outcomes.margin_minor > 10)
    outcomes = structs.replace(final.outcomes, order_credit=0.5, margin_minor=final.outcomes.margin_minor // 2)
    half = structs.replace(final, outcomes=outcomes)
    whole, shared = taught((final,)), taught((half,))
    row = shared.window.get(final.strategy_id)
    assert row is not None
    assert row.labels[[spec.name for spec in OUTCOMES].index("ordered")] == 0.5
    alike = [made.units()[final.kind] - 1.0 for made in (whole, shared)]
    assert alike[0] * alike[1] >= 0.0
    assert abs(alike[1]) <= abs(alike[0]) + 0.01, "half an order is half the evidence about the margin of a whole one"


def test_a_correction_changes_what_changed() -> None:
    """A refund replaces the row's label; the rest of the row stays."""
    final = next(r for r in closed_rewards(1000) if r.outcomes.ordered and not r.outcomes.refunded)
    made = taught((final,))
    back = structs.replace(final.outcomes, refunded=True, refunded_margin_minor=final.outcomes.margin_minor)
    correction = structs.replace(
        final, stage="correction", reward_id=reward_id(final.strategy_id, "correction", "m1"), outcomes=back
    )
    assert made.learn(correction).fate == "amended"
    row = made.window.get(final.strategy_id)
    assert row is not None
    refunded = next(place for place, spec in enumerate(OUTCOMES) if spec.name == "refunded")
    assert [label for place, label in enumerate(row.labels) if place != refunded][:3] == [1.0, 1.0, 1.0]
    assert row.labels[refunded] == 1.0


def test_a_final_older_than_the_window_only_teaches_its_refund() -> None:
    """Its response was learned and forgotten: click and order are not learned again."""
    rewards = closed_rewards(400)
    final = next(r for r in closed_rewards(1000)[400:] if r.outcomes.ordered)
    made = learner(window=100)
    made.learn(response_of(final))
    for reward in rewards[:300]:
        made.learn(reward)
    assert made.learn(final).fate == "late"
    row = made.window.get(final.strategy_id)
    assert row is not None
    known = {spec.name for spec, label in zip(OUTCOMES, row.labels, strict=True) if not np.isnan(label)}
    assert known == {"refunded"}


def test_an_outage_of_a_channel_is_not_learned() -> None:
    """Fifty unseen in a row mean broken, not disliked: they are forgotten until somebody sees one again."""
    rewards = [reward for reward in closed_rewards(1000) if reward.decision.get("channel") == "onsite"]
    dark = [
        structs.replace(r, outcomes=structs.replace(r.outcomes, shown=False, clicked=False, ordered=False))
        for r in rewards
    ]
    made = learner(outage_after=20)
    fates = [made.learn(reward).fate for reward in dark[:40]]
    assert fates == ["learned"] * 19 + ["outage"] * 21
    assert len(made.window) == 0
    seen = next(reward for reward in rewards[40:] if reward.outcomes.shown)
    assert made.learn(seen).fate == "learned"


def test_a_channel_nobody_looks_at_gets_a_price() -> None:
    """Unseen strategies are learned: the same action through a channel that is seen less is worth less."""
    rewards = [r for r in closed_rewards(1000) if r.kind == "recommendation" and len(r.request.slots[1].values) > 1]
    dark = tuple(
        structs.replace(
            r, outcomes=structs.replace(r.outcomes, shown=False, clicked=False, ordered=False, margin_minor=0)
        )
        if r.decision["channel"] == "onsite"
        else structs.replace(r, outcomes=structs.replace(r.outcomes, shown=True))
        for r in rewards
    )
    critic = taught(dark, outage_after=10_000).snapshot()
    request = rewards[0].request
    shown = critic.probabilities(request)["shown"][0].mean(axis=(0, 2, 3))
    by_channel = dict(zip(request.slots[1].values, shown, strict=True))
    assert by_channel["onsite"] < 0.5 * min(p for channel, p in by_channel.items() if channel != "onsite")


def test_a_planted_drift_raises_forgetting_and_exploration() -> None:
    """Customers stop clicking: ADWIN sees the residuals leave zero, the half-life falls and the heads widen, for a while."""
    calm = tuple(
        structs.replace(r, outcomes=structs.replace(r.outcomes, shown=True, clicked=n % 2 == 0, ordered=False))
        for n, r in enumerate(r for r in closed_rewards(2600) if r.kind == "recommendation")
    )
    made = learner(drift_rewards=100)
    events = [made.learn(reward).drifted for reward in calm[:600]]
    assert not any(events)
    half_life, width, beta = made.half_life("recommendation"), made.width, made.snapshot().beta
    gone = [structs.replace(r, outcomes=structs.replace(r.outcomes, clicked=False)) for r in calm[600:1000]]
    when = next(number for number, reward in enumerate(gone) if made.learn(reward).drifted)
    assert made.half_life("recommendation") == half_life / KNOBS.drift_speed
    assert made.width == KNOBS.drift_width * width
    assert made.snapshot().beta == KNOBS.drift_width * beta
    for reward in gone[when + 1 : when + 101]:
        made.learn(reward)
    assert made.half_life("recommendation") == half_life
    assert made.width == width


def test_forgetting_pays_after_a_drift() -> None:
    """With a short half-life old rows weigh less: the click rate follows the new customers."""
    rewards = tuple(r for r in closed_rewards(1000) if r.kind == "recommendation")
    flipped = tuple(
        structs.replace(r, outcomes=structs.replace(r.outcomes, shown=True, clicked=n > 300, ordered=False))
        for n, r in enumerate(rewards)
    )
    request = rewards[0].request
    means = [
        float(taught(flipped, half_life=half_life).snapshot().probabilities(request)["clicked"][0].mean())
        for half_life in (50.0, 50_000.0)
    ]
    assert means[0] > means[1] + 0.1
