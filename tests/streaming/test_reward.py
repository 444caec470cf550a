"""The one formula of reward."""

import itertools
from collections.abc import Iterable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.contracts.kinds import KIND_NAMES, Kind
from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import Slot, StrategyRequest
from streaming.reward import Formula, Value, Weights
from tests.streaming.attribution_samples import DECISIONS, request

FORMULA = Formula()
unit = st.floats(0, 1)


def total(outcomes: Iterable[Value], offer: float) -> Value:
    """The formula's reward of its seven outcomes in order, and an offer."""
    values = (*outcomes, offer)
    return FORMULA.total(*values)


def with_values(kind: Kind, **values: tuple[str, ...]) -> StrategyRequest:
    """A request whose named slots allow the given values."""
    asked = request(1, kind)
    slots = tuple(Slot(slot.name, values.get(slot.name, slot.values)) for slot in asked.slots)
    return msgspec.structs.replace(asked, slots=slots)


@pytest.mark.parametrize(
    ("kind", "decision", "cost"),
    [
        ("recommendation", {"channel": "onsite"}, 0.0),
        ("recommendation", {"channel": "email"}, 0.002),
        ("promotion", {"channel": "push"}, 0.001),
        ("promotion", {"channel": "sms"}, 0.03),
        ("ad", {"bid_tier": "low", "placement": "home"}, 0.003),
        ("ad", {"bid_tier": "high", "placement": "search"}, 0.03),
        ("ranking", {"category": "coffee"}, 0.0),
    ],
)
def test_contacts_cost_what_the_price_list_says(kind: Kind, decision: dict[str, str], cost: float) -> None:
    """Channels cost their message, ads their exposure by tier and place, rankings nothing."""
    assert FORMULA.cost_major(kind, decision) == pytest.approx(cost)


def test_margin_after_discount() -> None:
    """5.00 that earns 2.00 earns 1.50 at ten percent off; in yen minor units are major units."""
    product = request(1).candidates[0]
    assert FORMULA.margin_major(product, {"discount": "10"}, "USD") == pytest.approx(1.50)
    assert FORMULA.margin_major(product, {}, "JPY") == pytest.approx(200.0)


def test_components_sum_to_the_total_by_hand() -> None:
    """.05 click + 2.00 margin - .50 refund - .20 offer - 1 unsubscribed - .002 cost."""
    parts = FORMULA.components(1, 1, 2.0, 0.5, 1, 0, 0.002, offer=0.2)
    assert sum(parts.values()) == pytest.approx(0.05 + 2.0 - 0.5 - 0.2 - 1.0 - 0.002)
    assert FORMULA.total(1, 1, 2.0, 0.5, 1, 0, 0.002, 0.2) == sum(parts.values())


@settings(derandomize=True, deadline=None)
@given(p=unit, left=st.tuples(*[unit] * 7), right=st.tuples(*[unit] * 7))
def test_the_formula_is_linear_in_outcomes(p: float, left: tuple[float, ...], right: tuple[float, ...]) -> None:
    """The reward of expected outcomes is the expected reward, so that a critic may pass probabilities."""
    mixed = [p * a + (1 - p) * b for a, b in zip(left, right, strict=True)]
    expected = p * total(left, offer=0.3) + (1 - p) * total(right, offer=0.3)
    assert total(mixed, offer=0.3) == pytest.approx(expected, abs=1e-9)


def test_arrays_give_what_floats_give() -> None:
    """Element by element the array's reward is the float's."""
    rng = np.random.default_rng(0)
    outcomes = rng.random((7, 5))
    together = total(outcomes, offer=0.1)
    assert isinstance(together, np.ndarray)
    for column in range(5):
        assert together[column] == total((float(x) for x in outcomes[:, column]), offer=0.1)


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_grids_agree_with_single_decisions(kind: Kind) -> None:
    """Cell by cell, the grids say what the functions of one decision say."""
    asked = with_values(
        kind,
        channel=("onsite", "email", "sms"),
        discount=("0", "20"),
        offer_type=("percent_off", "free_shipping"),
        bid_tier=("low", "high"),
        placement=("home", "search"),
        product=("p1", "p3"),
    )
    by_id = {candidate.id: candidate for candidate in asked.candidates}
    pointed = {"ranking": ("category", "pinned_product"), "ad": ("campaign",)}.get(kind, ("product",))
    margins, costs, offers = FORMULA.margin_grid(asked), FORMULA.cost_grid(asked), FORMULA.offer_grid(asked)
    assert margins.shape == costs.shape == offers.shape == tuple(len(slot.values) for slot in asked.slots)
    for index in itertools.product(*(range(n) for n in margins.shape)):
        decision = {slot.name: slot.values[i] for slot, i in zip(asked.slots, index, strict=True)}
        mean = np.mean([FORMULA.margin_major(by_id[decision[name]], decision, "USD") for name in pointed])
        assert margins[index] == pytest.approx(mean)
        assert costs[index] == pytest.approx(FORMULA.cost_major(kind, decision))
        assert offers[index] == pytest.approx(FORMULA.offer_major(decision))


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_what_a_contact_is_expected_to_cost_is_what_attribution_charges(kind: Kind) -> None:
    """Seen and unseen by hand: an ad that nobody saw is free, a message is not; between them it is linear."""
    asked = with_values(kind, channel=("email", "sms"), bid_tier=("low", "high"), placement=("home", "search"))
    charged = {}
    for shown in (False, True):
        expected = FORMULA.expected_cost_grid(asked, np.float64(shown))
        for index in np.ndindex(expected.shape):
            decision = {slot.name: slot.values[i] for slot, i in zip(asked.slots, index, strict=True)}
            parts = FORMULA.of_outcomes(decision, kind, "final", Outcomes("USD", shown=shown))
            assert expected[index] == pytest.approx(-parts["cost"])
            charged[shown, index] = expected[index]
    half = FORMULA.expected_cost_grid(asked, np.full(expected.shape, 0.5))
    for index in np.ndindex(half.shape):
        assert half[index] == pytest.approx((charged[False, index] + charged[True, index]) / 2)
    assert (charged[False, (0,) * half.ndim] == 0.0) == (kind == "ad" or not charged[True, (0,) * half.ndim])


def test_weights_are_a_settings_matter() -> None:
    """Another shop's weights change the reward, and survive the wire."""
    dear = Weights(click_major=0.5)
    assert Formula(dear).total(1, 0, 0, 0, 0, 0, 0) == 0.5
    assert msgspec.json.decode(msgspec.json.encode(Formula(dear)), type=Formula) == Formula(dear)
    assert set(DECISIONS) == set(KIND_NAMES)
