"""The simulated shops: repeatable, hard in the ways they claim, and their truth is what their customers do."""

from collections import Counter

import msgspec
import numpy as np
import pytest

from benchmarks.worlds.deliveries import Acted, deliveries
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.world import Moment, World
from streaming.contracts.money import to_major
from streaming.contracts.strategies import PolicyRecord

POLICY = PolicyRecord("none", "none", "none", "random", "random", 1.0, 0.0, 0.0, 1.0, 1, 1)
NO_DRIFT = WorldKnobs(drift_from=0, drift_to=0, slow_drift_rad=0.0)


def moments(world: World, numbers: range) -> list[Moment]:
    """Some interactions of a world."""
    return [world.moment(number) for number in numbers]


def additive_choice(moment: Moment) -> float:
    """What the best action by the slots' own means is worth: the most that a policy without interactions could know."""
    values, axes = moment.values, range(moment.values.ndim)
    total = np.zeros(values.shape)
    for axis in axes:
        others = tuple(other for other in axes if other != axis)
        sizes = [-1 if other == axis else 1 for other in axes]
        total = total + values.mean(axis=others).reshape(sizes)
    best = np.where(moment.grid.allowed, total, -np.inf).argmax()
    return float(values.ravel()[best])


def test_a_moment_is_repeatable_in_any_order() -> None:
    """Interaction 37 is the same after 36 others and alone, bit by bit."""
    played = moments(World(11), range(38))[37]
    alone = World(11).moment(37)
    assert msgspec.json.encode(played.request) == msgspec.json.encode(alone.request)
    assert np.array_equal(played.values, alone.values)


def test_seeds_differ() -> None:
    """Two seeds are two shops."""
    assert World(11).moment(3).values.shape != World(12).moment(3).values.shape or not np.allclose(
        World(11).moment(3).values, World(12).moment(3).values
    )


@pytest.mark.parametrize("seed", [11, 12])
def test_slots_interact(seed: int) -> None:
    """The best choice by slots' own effects loses a tenth of what there is to win; without interactions hardly anything."""
    lost = {}
    for strength in (WorldKnobs().interaction, 0.0):
        found = moments(World(seed, WorldKnobs(interaction=strength)), range(0, 1500, 15))
        gained = sum(additive_choice(moment) - moment.random for moment in found)
        lost[strength] = 1.0 - gained / sum(moment.oracle - moment.random for moment in found)
    assert lost[WorldKnobs().interaction] > 0.1
    assert lost[0.0] < 0.7 * lost[WorldKnobs().interaction]


def test_expected_reward_is_the_mean_of_what_is_delivered() -> None:
    """The finals and corrections of one action average to its value, within four standard errors."""
    world = World(11, NO_DRIFT)
    gaps = []
    for number in range(1200):
        moment = world.moment(number)
        index = tuple(int(place) for place in np.unravel_index(moment.values.argmax(), moment.grid.shape))
        last = deliveries(world, moment, Acted(index, 1.0, POLICY))
        stages = {delivery.reward.stage: delivery.reward.reward for delivery in last}
        gaps.append(stages.get("correction", stages["final"]) - float(moment.values[index]))
    error = np.std(gaps) / np.sqrt(len(gaps))
    assert abs(np.mean(gaps)) < 4 * error
    assert error < 0.05


def test_outcomes_are_late_and_some_come_twice() -> None:
    """Responses close before finals, refunds come as corrections too, and some rewards are repeated as they were."""
    world = World(11)
    stages: Counter[str] = Counter()
    repeated = 0
    for number in range(1000):
        moment = world.moment(number)
        index = tuple(int(place) for place in np.unravel_index(moment.values.argmax(), moment.grid.shape))
        found = deliveries(world, moment, Acted(index, 1.0, POLICY))
        due = {delivery.reward.stage: delivery.due for delivery in reversed(found)}
        assert moment.number + world.knobs.response_delay < due["response"] <= due["final"]
        stages.update(due.keys())
        repeated += len(found) - len(due)
        for delivery in found:
            reward = delivery.reward
            assert reward.reward == pytest.approx(sum(reward.components.values()))
            refund = to_major(reward.outcomes.refunded_margin_minor, "USD")
            assert reward.components["refund"] == pytest.approx(-refund)
    assert stages["correction"] > 0
    assert 10 < repeated < 100


def test_waves_replace_what_they_say_and_launches_show_nothing_else() -> None:
    """After a wave 5 to 30 % of the products are new, and launch requests hold these alone, without popularity."""
    world = World(11)
    wave = world.shop.wave_at(1500)
    assert (world.shop.wave_at(1499), wave) == (0, 1)
    share = len(world.shop.latest(1)) / world.knobs.products
    assert 0.05 <= share <= 0.3
    fresh = {good.id for good in world.shop.latest(1)}
    launches = [moment for moment in moments(world, range(1500, 1900)) if moment.launch]
    assert launches
    for moment in launches:
        assert {candidate.id for candidate in moment.request.candidates} <= fresh
        assert not any(candidate.relation["popularity"] for candidate in moment.request.candidates)


def test_drift_is_abrupt_once_and_slow_always() -> None:
    """Values of one and the same interaction's setting jump at the drift, creep before it, and stand still without drift."""
    world = World(11)
    at = world.effects.drift_at
    assert at is not None
    assert world.knobs.drift_from <= at < world.knobs.drift_to
    names = [f"click:{name}" for name in ("tone", "offer_type", "emphasis", "channel", "placement", "duration")]

    def moved(one: int, other: int, of: World) -> float:
        return float(sum(np.abs(of.effects.main(n, one, 4) - of.effects.main(n, other, 4)).sum() for n in names))

    assert moved(at - 1, at, world) > 5 * moved(at - 200, at - 1, world) > 0.0
    assert moved(0, 20_000, World(11, NO_DRIFT)) == 0.0


def test_customers_are_heavy_tailed() -> None:
    """A tenth of the customers come several times as often as the rest, and buy several units at once."""
    weights = np.sort([person.weight for person in World(11).people])[::-1]
    assert weights[: len(weights) // 10].sum() > 0.25 * weights.sum()
    assert max(person.units for person in World(11).people) > 3.0


def clicks(world: World, numbers: range) -> list[tuple[str, bool, bool]]:
    """Of some interactions: who, whether a click was reported, and whether an order was."""
    found = []
    for moment in moments(world, numbers):
        index = tuple(int(place) for place in np.argwhere(moment.grid.allowed)[0])
        said = {each.reward.stage: each.reward for each in deliveries(world, moment, Acted(index, 1.0, POLICY))}
        assert said["response"].outcomes.clicked == said["final"].outcomes.clicked
        found.append((moment.request.user_id, said["final"].outcomes.clicked, said["final"].outcomes.ordered))
    return found


def test_flipped_rewards_say_the_contrary_for_a_while() -> None:
    """About as many as the knob says, and none before or after; the truth of an action is as it was."""
    usual, knobs = World(11), WorldKnobs(tampered_from=20, tampered_to=320, flipped=0.3)
    flipped = World(11, knobs)
    pairs = list(zip(clicks(usual, range(340)), clicks(flipped, range(340)), strict=True))
    differ = [one != other for one, other in pairs]
    assert not any(differ[:20]) and not any(differ[320:])  # noqa: PT018 -- one claim
    assert 0.22 < np.mean(differ[20:320]) < 0.38
    assert not any(ordered and not clicked for _, (_, clicked, ordered) in pairs)
    assert np.array_equal(usual.moment(50).values, flipped.moment(50).values)


def test_fraudulent_customers_click_on_everything_for_a_while() -> None:
    """The same ones each time, a share of all; the others do what they always did."""
    knobs = WorldKnobs(tampered_from=0, tampered_to=400, fraudulent=0.2)
    pairs = list(zip(clicks(World(11), range(400)), clicks(World(11, knobs), range(400)), strict=True))
    frauds = {user for (user, before, _), (_, after, _) in pairs if after and not before}
    assert all(after for _, (user, after, _) in pairs if user in frauds)
    assert all(one == other for one, other in pairs if one[0] not in frauds)
    assert 0.1 < len(frauds) / len({user for (user, _, _), _ in pairs}) < 0.3
