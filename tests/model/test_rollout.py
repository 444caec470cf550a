"""Decisions about canaries and anchors: what each takes, what a renewal leaves, and how often they are wrong."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.betting import Design, candidates
from model.cohort import Cohort, Served, close, earn, serve
from model.rollout import RENEWAL_SHARE, TrialKnobs, judge_anchor, judge_canary, spent
from model.sequential import ABOVE, BELOW, Evidence, Observation, begin, follow, interval, observe
from streaming.contracts.ids import stable_unit

DELTA = 0.1
DESIGN = Design(0.5, -1.0, 3.0, candidates(3.0, -1.0, DELTA))
KNOBS = TrialKnobs(delta=DELTA, min_customers=50, max_customers=4000, max_s=1000.0)
RUNS, CUSTOMERS, SHARE = 80, 150, 0.3


def trial(effect: float, customers: int, seed: int = 3) -> Evidence:
    """Evidence on customers who earn 0 or 1 and, if treated, the effect besides."""
    rng = np.random.default_rng(seed)
    treated = rng.random(customers) < DESIGN.share
    return follow(begin(DESIGN), treated, rng.binomial(1, 0.3, customers) + effect * treated)[0]


@pytest.mark.parametrize(
    ("effect", "customers", "age_s", "decision"),
    [
        (0.3, 2000, 0.0, "promote"),
        (-0.3, 2000, 0.0, "roll_back"),
        (0.0, 2000, 0.0, "go_on"),
        (0.0, 4000, 0.0, "time_out"),
        (0.0, 200, 1000.0, "time_out"),
        (3.0, 60, 0.0, "go_on"),
        (3.0, 60, 1000.0, "time_out"),
        (-0.3, 4000, 1000.0, "roll_back"),
    ],
)
def test_canary(effect: float, customers: int, age_s: float, decision: str) -> None:
    """Better is promoted, worse rolled back, equal ends with neither, and few customers decide nothing."""
    verdict = judge_canary(trial(effect, customers), KNOBS, age_s)
    assert verdict.decision == decision
    shown = {check.name: check.passed for check in verdict.checks}
    assert shown["better"] or decision != "promote"
    assert shown["worse"] or decision != "roll_back"
    assert verdict.numbers["lower"] <= effect <= verdict.numbers["upper"]
    assert verdict.numbers["customers_treated"] + verdict.numbers["customers_others"] == customers
    assert all(math.isfinite(number) for number in verdict.numbers.values())


def test_a_canary_that_times_out_says_whether_it_is_not_worse_by_delta() -> None:
    """An effect of nothing within 20,000 customers: neither better nor worse, but shown to be not worse by delta."""
    verdict = judge_canary(trial(0.0, 20_000), KNOBS, 0.0)
    shown = {check.name: check.passed for check in verdict.checks}
    assert verdict.decision == "time_out"
    assert (shown["better"], shown["worse"], shown["not_worse_by_delta"]) == (False, False, True)


def test_worse_goes_before_better() -> None:
    """Customers who change so much that both are shown: it is rolled back."""
    evidence = trial(0.5, 1000)
    after = follow(evidence, *worse_customers(3000))[0]
    shown = {check.name: check.passed for check in judge_canary(after, KNOBS, 0.0).checks}
    assert shown["better"]
    assert shown["worse"]
    assert judge_canary(after, KNOBS, 0.0).decision == "roll_back"


@pytest.mark.parametrize(
    ("effect", "carried", "trial_number", "decision"),
    [
        (0.4, 0.0, 1, "roll_back"),
        (0.05, 0.0, 1, "go_on"),
        (-0.3, 0.0, 1, "renew"),
        (-0.3, DELTA, 1, "renew"),
        (0.2, DELTA, 1, "roll_back"),
        (0.12, 0.0, 1, "go_on"),
        (0.12, DELTA, 10**6, "go_on"),
    ],
)
def test_anchor(effect: float, carried: float, trial_number: int, decision: str) -> None:
    """Lost by more than what is left rolls back; clearly not lost renews; former losses leave less to lose."""
    verdict = judge_anchor(trial(effect, 2000), KNOBS, 0.0, carried=carried, trial=trial_number)
    assert verdict.decision == decision
    assert verdict.numbers["rest"] == pytest.approx(DELTA - carried)


def test_anchor_times_out() -> None:
    """At the end of its time nothing is decided, and what is carried stays."""
    verdict = judge_anchor(trial(0.05, 2000), KNOBS, KNOBS.max_s, carried=0.03)
    assert (verdict.decision, verdict.carried) == ("time_out", 0.03)


def test_renewals_charge_what_the_line_may_have_lost() -> None:
    """Renewals of a line that is never shown to have gained use up at most half of what is left, and so never delta."""
    evidence = observe(begin(DESIGN), [Observation(each % 2 == 0, 0.3, expected=0.3) for each in range(5000)])
    carried: list[float] = []
    while (verdict := judge_anchor(evidence, KNOBS, 0.0, carried=sum(carried[-1:]))).decision == "renew":
        carried.append(verdict.carried)
    assert len(carried) > 1
    assert all(
        0.0 < after - before <= RENEWAL_SHARE * (DELTA - before) + 1e-12 for before, after in pairwise([0.0, *carried])
    )
    assert carried[-1] < DELTA


def test_a_line_that_gained_wins_former_losses_back() -> None:
    """A gain that is shown lowers what is carried, to 0 at most."""
    assert judge_anchor(trial(-0.05, 20_000), KNOBS, 0.0, carried=0.09).carried < 0.09
    assert judge_anchor(trial(-0.5, 20_000), KNOBS, 0.0, carried=0.09).carried == 0.0


def test_trials_of_one_anchor_share_alpha() -> None:
    """However many there are, their parts sum to alpha at most."""
    assert sum(spent(0.05, number) for number in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(-2, 5)), max_size=60))
def test_cohort_counts_each_customer_once_and_each_reward_in_its_window(told: list[tuple[int, int, int]]) -> None:
    """Sums equal those by hand, handed on in order of enrolment, each customer once, whenever it is asked."""
    told = sorted(told, key=lambda each: each[1])
    cohort, found = Cohort(window_ms=10, settle_ms=5, max_customers=7), []
    since: dict[int, int] = {}
    by_hand: dict[int, float] = {}
    for customer, at, reward in told:
        found += close(cohort, at)
        served = Served(str(customer), customer % 2 == 0, at, float(reward))
        if serve(cohort, served):
            assert customer not in since
            since[customer], by_hand[customer] = at, 0.0
        counts = customer in since and at - since[customer] < 10
        assert earn(cohort, served) == counts
        by_hand |= {customer: by_hand[customer] + reward} if counts else {}
    found += close(cohort, 1000)
    in_order = sorted(since, key=lambda customer: (since[customer], str(customer)))
    assert len(since) == min(7, len({customer for customer, _, _ in told}))
    assert [each.total for each in found] == [by_hand[customer] for customer in in_order]
    assert [each.treated for each in found] == [customer % 2 == 0 for customer in in_order]


def test_without_a_difference_decisions_are_wrong_in_alpha_of_the_runs() -> None:
    """80 trials of customers who come back, looked at after each: wrong in 5 % at most; as single rewards, far more often."""
    knobs = TrialKnobs(delta=DELTA, min_customers=20, max_customers=CUSTOMERS)
    promoted = rolled_back = by_reward = anchors = 0
    for run in range(RUNS):
        once, each = returning(np.random.default_rng([29, run]), salt=f"trial-{run}")
        decisions = {judge_canary(evidence, knobs, 0.0).decision for evidence in once}
        promoted += "promote" in decisions
        rolled_back += "roll_back" in decisions
        anchors += any(judge_anchor(evidence, knobs, 0.0, carried=DELTA).decision == "roll_back" for evidence in once)
        by_reward += bool((each[:, [ABOVE, BELOW], 0] >= -math.log(knobs.alpha)).any())
    most = RUNS * knobs.alpha + 3.0 * math.sqrt(RUNS * knobs.alpha * (1.0 - knobs.alpha))
    assert max(promoted, rolled_back, anchors) <= most
    assert by_reward > 2.0 * most


def returning(rng: np.random.Generator, salt: str) -> tuple[list[Evidence], np.ndarray]:
    """A trial of customers who are very different, without effect: the evidence after each customer, and a path by reward."""
    cohort = Cohort(window_ms=100, settle_ms=10, max_customers=CUSTOMERS)
    design = Design(SHARE, 0.0, 4.0, (0.0,))
    evidence, kept, arms, rewards = begin(design), [], [], []
    chance = rng.beta(0.1, 0.4, CUSTOMERS)
    visits = sorted(
        (float(at), customer)
        for customer in range(CUSTOMERS)
        for at in rng.uniform(0, 900) + np.concatenate(([0.0], rng.uniform(0, 300, 7)))
    )
    for at, customer in visits:
        for observation in close(cohort, int(at)):
            evidence = observe(evidence, [observation])
            kept.append(evidence)
        treated = stable_unit(salt, str(customer)) < SHARE
        served = Served(str(customer), treated, int(at), float(rng.random() < chance[customer]))
        serve(cohort, served)
        earn(cohort, served)
        arms.append(treated)
        rewards.append(served.reward)
    for observation in close(cohort, 10_000):
        evidence = observe(evidence, [observation])
        kept.append(evidence)
    assert evidence.customers == CUSTOMERS
    single = Design(SHARE, 0.0, 1.0, (0.0,))
    return kept, follow(begin(single), np.array(arms), np.array(rewards))[1]


def worse_customers(customers: int) -> tuple[np.ndarray, np.ndarray]:
    """Customers whom the treatment costs 0.9."""
    rng = np.random.default_rng(4)
    treated = rng.random(customers) < DESIGN.share
    return treated, 0.9 * ~treated + rng.binomial(1, 0.1, customers)


def test_interval_in_the_numbers_is_that_of_the_level_judged_by() -> None:
    """An anchor's later trials are judged by a smaller alpha, and say the wider bounds."""
    evidence = trial(0.1, 2000)
    first, third = (judge_anchor(evidence, KNOBS, 0.0, trial=number).numbers for number in (1, 3))
    assert (third["lower"], third["upper"]) == interval(evidence, KNOBS.alpha / 12.0)
    assert third["lower"] <= first["lower"] <= first["upper"] <= third["upper"]
