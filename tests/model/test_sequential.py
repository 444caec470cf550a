"""The confidence sequence by betting: laws of its interval, and what it holds under peeking at returning customers."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from model.betting import Design, candidates, restarts
from model.sequential import (
    ABOVE,
    BELOW,
    Evidence,
    Observation,
    begin,
    follow,
    interval,
    log_e_above,
    log_e_below,
    observe,
)

DESIGN = Design(0.3, -1.0, 5.0, candidates(5.0, -1.0, 0.1, steps=6))
ANEW = structs.replace(DESIGN, restarts=(3, 17, 18, 40))
ALPHA = 0.05
designs = st.sampled_from([DESIGN, ANEW])
totals = st.floats(-20.0, 20.0) | st.sampled_from([0.0, -1.0, 5.0])
customers = st.builds(Observation, st.booleans(), totals, st.none() | st.floats(-3.0, 9.0))


@given(designs, st.lists(customers, max_size=60))
def test_interval_never_widens_and_stays_within_what_is_possible(design: Design, told: list[Observation]) -> None:
    """Whatever customers do, each look is at most as wide as the one before, and within the largest difference."""
    evidence, before = begin(design), interval(begin(design), ALPHA)
    assert before == (-DESIGN.spread, DESIGN.spread)
    for each in told:
        evidence = observe(evidence, [each])
        found = interval(evidence, ALPHA)
        assert -DESIGN.spread <= before.lower <= found.lower
        assert found.upper <= before.upper <= DESIGN.spread
        assert interval(evidence, 0.01).lower <= found.lower
        before = found


@given(designs, st.lists(customers, max_size=60))
def test_one_at_a_time_is_as_all_at_once(design: Design, told: list[Observation]) -> None:
    """How customers are batched decides nothing."""
    one = begin(design)
    for each in told:
        one = observe(one, [each])
    assert_same(one, observe(begin(design), told))


@given(customers, st.integers(1, 30), st.integers(1, 30), st.lists(customers, max_size=10))
def test_order_of_equal_customers_decides_nothing(
    one: Observation, some: int, more: int, after: list[Observation]
) -> None:
    """Equal observations may change places."""
    assert_same(
        observe(begin(DESIGN), [one] * some + [one] * more + after),
        observe(begin(DESIGN), [*[one] * (some + more), *after]),
    )


@given(designs, st.lists(customers, max_size=40))
def test_kept_evidence_goes_on_as_if_it_had_never_been_put_away(design: Design, told: list[Observation]) -> None:
    """Encoding and decoding lose nothing, to the bit."""
    evidence = observe(begin(design), told)
    again = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)
    assert again == evidence
    assert observe(again, told) == observe(evidence, told)


@given(designs, st.lists(customers, max_size=60))
def test_what_is_ruled_out_is_everything_up_to_a_bound(design: Design, told: list[Observation]) -> None:
    """Capital against a smaller difference is never below that against a larger one, and the other way round."""
    _, path = follow(begin(design), *arrays(told))
    assert (np.diff(path[:, ABOVE], axis=-1) <= 1e-9).all()
    assert (np.diff(path[:, BELOW], axis=-1) >= -1e-9).all()


@given(st.lists(customers, min_size=1, max_size=60), st.floats(-6.0, 6.0))
def test_between_candidates_the_cautious_one_speaks(told: list[Observation], difference: float) -> None:
    """No more is claimed of a difference between two candidates than of the next that claims less."""
    evidence = observe(begin(DESIGN), told)
    grid = np.array(DESIGN.candidates)
    above, below = grid[grid >= difference], grid[grid <= difference]
    assert log_e_above(evidence, difference) == (log_e_above(evidence, above[0]) if len(above) else 0.0)
    assert log_e_below(evidence, difference) == (log_e_below(evidence, below[-1]) if len(below) else 0.0)


def test_two_customers_by_hand() -> None:
    """Capital after a treated customer who earns 1 and another who earns 0, both arms alike in share, one bet each."""
    design = Design(0.5, 0.0, 1.0, (0.0,))
    evidence, path = follow(begin(design), np.array([True, False]), np.array([1.0, 0.0]))
    # c = 0, then 1 (the mean so far): Z = 2 (1 - 0) = 2, then -2 (0 - 1) = 2; stakes are 2^-k of 0.5 / 1, cut at 0.5 / 2.
    bets = np.minimum(0.5 * 2.0 ** -np.arange(8.0), 0.25)
    assert path[0, ABOVE, 0] == pytest.approx(math.log(np.mean(1.0 + 2.0 * bets)))
    assert path[1, ABOVE, 0] == pytest.approx(math.log(np.mean((1.0 + 2.0 * bets) ** 2)))
    assert path[1, BELOW, 0] == 0.0
    assert (evidence.treated, evidence.others, evidence.estimate) == (1, 1, 1.0)


def test_a_restart_by_hand() -> None:
    """Half of the capital begins after the first of the two customers above: it gains by the second alone."""
    design = Design(0.5, 0.0, 1.0, (0.0,), restarts=(1,))
    evidence, path = follow(begin(design), np.array([True, False]), np.array([1.0, 0.0]))
    bets = np.minimum(0.5 * 2.0 ** -np.arange(8.0), 0.25)
    once, twice = np.mean(1.0 + 2.0 * bets), np.mean((1.0 + 2.0 * bets) ** 2)
    assert path[0, ABOVE, 0] == pytest.approx(math.log(0.5 * once + 0.5))
    assert path[1, ABOVE, 0] == pytest.approx(math.log(0.5 * twice + 0.5 * once))
    assert np.frombuffer(evidence.at_restarts, "<f8")[: len(bets)] == pytest.approx(np.log1p(2.0 * bets))


def test_restarts_double_below_a_trials_end() -> None:
    """The last lies in the last half of the trial; a trial as short as the first has none."""
    assert restarts(100_000) == (2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
    assert restarts(2_000) == ()
    assert restarts(2_001) == (2_000,)


def test_what_begins_late_is_shown_sooner_with_restarts() -> None:
    """10,000 customers without a difference, then one of .1: with restarts it is shown within two thirds of the customers."""
    rng = np.random.default_rng(7)
    n, calm = 40_000, 10_000
    treated = rng.random(n) < 0.5
    earned = rng.binomial(1, 0.15, n) * rng.uniform(0.0, 3.0, n) + 0.1 * (treated & (np.arange(n) >= calm))
    shown = []
    for anew in ((), restarts(n)):
        _, path = follow(begin(Design(0.5, -1.0, 4.0, (0.05,), anew)), treated, earned)
        shown.append(int(np.argmax(path[:, ABOVE, 0] >= -math.log(ALPHA))))
    assert calm < shown[1] < 2 * shown[0] / 3


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.5, 0.8]))
def test_each_bet_is_fair_where_it_should_be(seed: int, share: float) -> None:
    """Over both arms of any customer, capital on "above" m keeps its mean where the effect is m, falls where it is less."""
    rng = np.random.default_rng(seed)
    low, high = 0.0, 4.0
    if_not, effect = rng.uniform(low, 2.0), rng.uniform(0.0, 2.0)
    expected = np.array([rng.uniform(low, high)])
    design = Design(share, low, high, (effect, effect + 0.1))
    outcomes = {
        arm: follow(begin(design), np.array([arm]), np.array([if_not + effect * arm]), expected)[0]
        for arm in (True, False)
    }
    from_capital = {arm: np.exp(np.frombuffer(e.log_capital, "<f8").reshape(2, 2, -1)) for arm, e in outcomes.items()}
    mean = share * from_capital[True] + (1.0 - share) * from_capital[False]
    assert mean[:, 0] == pytest.approx(1.0)
    assert (mean[ABOVE, 1] < 1.0).all()
    assert (mean[BELOW, 1] > 1.0).all()


@pytest.mark.parametrize(
    ("low", "high", "grid"),
    [(1.0, 1.0, (0.0,)), (0.0, math.inf, (0.0,)), (0.0, 1.0, ()), (0.0, 1.0, (0.1, 0.0)), (0.0, 1.0, (1.0,))],
)
def test_what_cannot_be_tested_is_refused(low: float, high: float, grid: tuple[float, ...]) -> None:
    """Bounds without a range, candidates out of order or out of reach."""
    with pytest.raises(ValueError, match=r"candidates|low < high"):
        Design(0.5, low, high, grid)


@pytest.mark.parametrize("anew", [(0,), (2, 1), (3, 3)])
def test_restarts_that_cannot_be_are_refused(anew: tuple[int, ...]) -> None:
    """Before the first customer, out of order, twice."""
    with pytest.raises(ValueError, match="restarts"):
        Design(0.5, 0.0, 1.0, (0.0,), restarts=anew)


@pytest.mark.parametrize("total", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused(total: float) -> None:
    """A total must be finite: a bound on what is not known would be none."""
    with pytest.raises(ValueError, match="finite"):
        observe(begin(DESIGN), [Observation(treated=True, total=total)])


def test_a_true_difference_is_found_and_covered() -> None:
    """With 20,000 customers the interval excludes no difference and holds the true one."""
    rng = np.random.default_rng(5)
    design = Design(0.3, -1.0, 5.0, candidates(5.0, -1.0, 0.1, steps=40))
    treated = rng.random(20_000) < design.share
    earned = rng.binomial(1, 0.1, 20_000) * rng.uniform(0.0, 4.0, 20_000) + 0.3 * treated
    evidence, _ = follow(begin(design), treated, earned)
    found = interval(evidence, ALPHA)
    assert 0.0 < found.lower <= 0.3 <= found.upper < 0.5
    assert evidence.estimate == pytest.approx(0.3, abs=0.05)


def test_share_of_runs_that_ever_rule_out_the_truth_is_at_most_alpha() -> None:
    """300 trials of 1,500 customers, looked at after each: true differences 0 and 0.3 are ruled out in 5 % at most."""
    rng = np.random.default_rng(17)
    runs, n = 300, 1500
    for share, effect, anew in ((0.5, 0.0, ()), (0.1, 0.0, ()), (0.2, 0.3, ()), (0.5, 0.0, (200, 400, 800))):
        design = Design(share, -1.0, 4.0, (effect,), anew)
        wrong = np.zeros(2)
        for _ in range(runs):
            treated = rng.random(n) < share
            earned = rng.binomial(1, 0.15, n) * rng.uniform(0.0, 3.0, n) + effect * treated
            wrong += follow(begin(design), treated, earned)[1][-1, :, 0] >= -math.log(ALPHA)
        assert (wrong <= runs * ALPHA + 3.0 * math.sqrt(runs * ALPHA * (1.0 - ALPHA))).all()


def arrays(told: list[Observation]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Customers as columns."""
    expected = [math.nan if each.expected is None else each.expected for each in told]
    return np.array([e.treated for e in told], bool), np.array([e.total for e in told]), np.array(expected)


def assert_same(one: Evidence, other: Evidence) -> None:
    """Assert that two evidences are equal but for the order of sums in floating point."""
    assert (one.treated, one.others) == (other.treated, other.others)
    for name in ("log_capital", "log_peak", "at_restarts"):
        assert np.frombuffer(getattr(one, name)) == pytest.approx(np.frombuffer(getattr(other, name)), abs=1e-9)
