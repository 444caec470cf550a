"""The critic's snapshot: its values are the formula's arithmetic, it survives saving, and bad files are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from model.critic import FACTS, OUTCOMES, TENSORS, Critic, named, prior_logit
from model.critic_features import FEATURES_VERSION, encode
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs, row_of
from streaming.contracts.errors import BadEvent
from streaming.contracts.kinds import KIND_NAMES, Kind
from streaming.contracts.strategies import Slot
from streaming.reward import Formula, summed
from tests.model.sample import request_of


def critic(heads: int = 3) -> Critic:
    """Before any reward."""
    return Critic.prior(1, heads, Formula())


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_values_are_the_formula_of_the_probabilities(kind: Kind) -> None:
    """Every cell, mean and heads: computed again for one decision alone, it is the same number."""
    request = request_of(4, kind, 3)
    grid = ActionGrid.of(request)
    values = critic().values(request, grid)
    assert values.shape == (4, *grid.shape)
    for index in list(np.ndindex(grid.shape))[:: max(grid.allowed.size // 20, 1)]:
        decision = grid.decision(index)
        alone = structs.replace(request, slots=tuple(Slot(name, (value,)) for name, value in decision.items()))
        chances = {name: rows.reshape(-1) for name, rows in critic().probabilities(request, decision).items()}
        clicked = chances["shown"] * chances["clicked"]
        ordered = clicked * chances["ordered"]
        margin = ordered * float(Formula().margin_grid(alone).ravel()[0])
        left = chances["shown"] * chances["unsubscribed"]
        parts = Formula().components(
            clicked=clicked,
            ordered=ordered,
            margin=margin,
            refunded_margin=np.maximum(margin, 0.0) * chances["refunded"],
            unsubscribed=left,
            complained=0.15 * left,
            cost=Formula().cost_grid(alone).ravel()[0] * (chances["shown"] if kind == "ad" else 1.0),
            offer=float(Formula().offer_grid(alone).ravel()[0]),
        )
        assert values[(slice(None), *index)] == pytest.approx(summed(parts), abs=1e-12)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_what_is_learned_from_is_what_is_decided_by(kind: Kind) -> None:
    """The row that a closed decision is remembered as has, for each model, the very logit of its cell of the grid."""
    request, made = request_of(4, kind, 3), critic()
    grid = ActionGrid.of(request)
    decision = grid.decision(tuple(size - 1 for size in grid.shape))
    chances = made.probabilities(request, decision)
    row = row_of(request, decision)
    for spec in OUTCOMES:
        index, data = row.part(spec)
        logit = made.weights[spec.name][-1][index] @ data + prior_logit(spec)
        assert 1.0 / (1.0 + np.exp(-logit)) == pytest.approx(chances[spec.name].reshape(-1)[-1], rel=1e-5)


def test_the_values_of_two_slots_have_a_weight_together() -> None:
    """A weight of a pair moves its cells and no other."""
    request, made = request_of(4, "recommendation", 3), critic(heads=0)
    encoded = encode(request)
    pair = next(pair for pair in encoded.pairs if (pair.one, pair.other) == (1, 3))
    made.weights["clicked"][0, encoded.indices[encoded.indptr[pair.rows.start]]] = 1.0
    moved = made.probabilities(request)["clicked"][0] != critic(heads=0).probabilities(request)["clicked"][0]
    assert moved[:, 0, :, 0].all()
    assert moved.sum() == moved[:, 0, :, 0].size


def test_before_any_reward_the_models_say_their_prior() -> None:
    """The mean's weights are zero: only the offsets speak."""
    request = request_of(1)
    chances = critic().probabilities(request)
    for spec in OUTCOMES:
        assert chances[spec.name][0] == pytest.approx(spec.prior)


def test_heads_differ_and_belong_to_the_seed() -> None:
    """Exploration without dice at serving time: the same seed gives the same heads."""
    request = request_of(1)
    one, two, other = Critic.prior(1, 3, Formula()), Critic.prior(1, 3, Formula()), Critic.prior(2, 3, Formula())
    assert one.version == two.version != other.version
    assert np.array_equal(one.values(request), two.values(request))
    assert np.ptp(one.values(request)[1:], axis=0).min() > 0.0


def test_the_mean_alone_is_the_first_row() -> None:
    """Without its heads a critic values the same, to the bit."""
    rng, request = np.random.default_rng(2), request_of(4, "recommendation", 3)
    weights = {name: rng.normal(0.0, 0.3, rows.shape).astype(np.float32) for name, rows in critic().weights.items()}
    made = replace(critic(), weights=weights)
    assert np.array_equal(made.mean.values(request), made.values(request)[:1])


def test_a_learner_without_rewards_has_zero_means() -> None:
    """Its snapshot is a prior too."""
    snapshot = CriticLearner(LearnerKnobs(heads=2), Formula()).snapshot()
    assert all(not rows[0].any() for rows in snapshot.weights.values())


def test_a_grid_of_another_request_is_an_error() -> None:
    """Values would belong to other actions."""
    with pytest.raises(ValueError, match="wanted"):
        critic().values(request_of(1, candidates=3), ActionGrid.of(request_of(1, candidates=4)))


def test_it_survives_saving_exactly(tmp_path: Path) -> None:
    """Same values to the last bit, and the directory's name is its version."""
    made = critic()
    made.save(tmp_path / made.version)
    loaded = Critic.load(tmp_path / made.version, Formula())
    assert loaded.version == made.version
    assert np.array_equal(loaded.values(request_of(2)), made.values(request_of(2)))


@pytest.mark.parametrize("damage", ["torn", "not finite", "other features", "no facts"])
def test_a_damaged_snapshot_is_refused(tmp_path: Path, damage: str) -> None:
    """Each with the field that is wrong."""
    made = critic()
    if damage == "not finite":
        made.weights["clicked"][0, 5] = np.nan
    made.save(tmp_path)
    if damage == "torn":
        (tmp_path / TENSORS).write_bytes((tmp_path / TENSORS).read_bytes()[:1000])
    if damage == "other features":
        text = (tmp_path / FACTS).read_text().replace(f'"features_version":{FEATURES_VERSION}', '"features_version":0')
        (tmp_path / FACTS).write_text(text)
    if damage == "no facts":
        (tmp_path / FACTS).write_bytes(b"{")
    with pytest.raises(BadEvent):
        Critic.load(tmp_path, Formula())


def test_a_name_follows_the_content() -> None:
    """Another number, another name."""
    made = critic()
    changed = structs.replace(made.facts, beta=0.01)
    assert named(made, 3).version.startswith("critic-000003-")
    assert named(made, 3).version != named(Critic("", made.weights, changed, made.formula), 3).version
