"""Estimates: intervals cover what is true, customers are the unit, corrections are Holm's, lift is found where it is."""

import numpy as np
import pytest
from msgspec import structs

from model.evaluation.contrasts import Contrast, contrasts, holm
from model.evaluation.estimates import clopper_pearson, proportion, ratio
from model.evaluation.rows import Books, row_of
from model.evaluation.table import Table, measure
from tests.model.closed import response_of
from tests.model.evaluation.samples import Log, logged, repeated


def test_a_ratio_by_hand() -> None:
    """3 customers: sums (y, x) = (2, 2), (1, 2), (0, 2): R = .5, residuals 1, 0, -1, variance 3/2 * 2 / 36 = 1/12."""
    found = ratio(np.array([1.0, 1, 1, 0, 0]), np.array([1.0, 1, 2, 1, 1]), np.array([0, 0, 1, 2, 2]))
    assert found is not None
    assert found.standard_error is not None
    assert (found.value, found.of, found.customers) == (0.5, 6.0, 3)
    assert found.standard_error == pytest.approx(np.sqrt(1 / 12))
    assert found.high == pytest.approx(0.5 + 4.302652729911275 * np.sqrt(1 / 12))  # t of 2 degrees of freedom, 97.5 %


def test_nothing_has_no_ratio_and_one_customer_no_interval() -> None:
    """A denominator of zero gives None; a single customer says nothing of how customers differ."""
    nobody = np.array([0, 0])
    assert ratio(np.zeros(2), np.zeros(2), nobody) is None
    one = ratio(np.array([1.0, 0.0]), np.ones(2), nobody)
    assert one is not None
    assert (one.value, one.low, one.high) == (0.5, None, None)


def test_a_share_of_nothing_is_bounded_by_customers() -> None:
    """0 of 50 exposures of 10 customers: the exact bound for 10 observations, 1 - .025^(1/10), not an empty interval."""
    found = proportion(np.zeros(50), np.ones(50), np.repeat(np.arange(10), 5))
    assert found is not None
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 10))
    assert clopper_pearson(5, 5)[1] == 1.0


@pytest.mark.parametrize("form", ["share", "money"])
def test_intervals_cover_although_customers_differ(form: str) -> None:
    """Of 400 worlds of 60 customers with 1 to 15 strategies each and rates of their own, 95 % intervals cover in 92 to 98 %.

    Intervals that took strategies for independent would cover in far fewer: that is checked too.
    """
    covered = naive = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(60), rng.integers(1, 16, 60))
        rates = rng.beta(1, 3, 60)[codes]
        drawn = (rng.random(len(codes)) < rates).astype(float)
        y = drawn if form == "share" else drawn * rng.lognormal(0, 0.5, len(codes))
        true = 0.25 if form == "share" else 0.25 * np.exp(0.125)
        found = (proportion if form == "share" else ratio)(y, np.ones(len(y)), codes)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= true <= found.high
        half = 1.96 * y.std() / np.sqrt(len(y))
        naive += abs(y.mean() - true) <= half
    assert 368 <= covered <= 392
    assert naive < 340


def test_holm_by_hand() -> None:
    """.01, .04, .03 of three: 3 * .01, then 2 * .03, then 1 * .04 raised to .06; in their places."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def table_of(log: Log) -> Table:
    """All of a log."""
    rows = [row_of(reward) for reward in log.rewards]
    return Table(rows, ["all"] * len(rows))


def overall(log: Log) -> dict[tuple[str, str], Contrast]:
    """Comparisons of whole arms."""
    return {(c.arm, c.against): c for c in contrasts(table_of(log)) if c.dimension == "overall"}


def test_lift_over_chance_covers_the_truth_and_is_found() -> None:
    """The better arm's interval holds the true difference; no contact has no rewards to compare but its net margin."""
    log = logged(3000)
    found = overall(log)["critic", "random"]
    assert found.low <= log.truth("critic") - log.truth("random") <= found.high
    assert found.found
    assert found.difference > found.detectable
    assert found.relative is not None
    assert {measure for _, measure in ((c.arm, c.measure) for c in overall(log).values())} == {"reward", "net margin"}


def test_no_difference_is_not_found_and_says_what_would_have_been() -> None:
    """Two halves of one arm: not beyond chance, and a detectable difference above what was seen."""
    log = logged(3000)
    halves = [
        structs.replace(r, assigned_arm="fused" if hash_of(r.user_id) else "random")
        for r in log.rewards
        if r.assigned_arm == "random"
    ]
    found = overall(Log(tuple(halves), (), ()))["fused", "random"]
    assert not found.found
    assert abs(found.difference) < found.detectable


def hash_of(user: str) -> int:
    """0 or 1 by the name alone."""
    return sum(user.encode()) % 2


def test_customers_of_two_arms_are_in_no_comparison() -> None:
    """Rewards that say `mixed_arms` change no contrast, but they are in the figures."""
    log = logged(1500)
    strange = tuple(
        structs.replace(r, mixed_arms=True, reward=100.0, strategy_id=f"{r.strategy_id}x", user_id=f"{r.user_id}x")
        for r in log.rewards
        if not r.ghost
    )
    together = table_of(Log((*log.rewards, *strange), (), ()))
    assert {c.difference for c in contrasts(together)} == {c.difference for c in contrasts(table_of(log))}
    reward = measure(together, together.contacted, "USD")["reward"]
    assert reward is not None
    assert reward.value > 40


def test_figures_are_those_of_the_rewards() -> None:
    """Each figure equals its plain formula over the rewards."""
    log = logged(1500)
    table = table_of(log)
    figures = measure(table, table.contacted, "USD")
    told = [r for r in log.rewards if not r.ghost]
    shown = sum(r.outcomes.shown for r in told)
    margin = sum(r.outcomes.margin_minor - r.outcomes.refunded_margin_minor for r in told) / 100
    cost = -sum(r.components["cost"] for r in told)
    ordered = sum(r.outcomes.ordered for r in told)
    wanted = {
        "ctr": sum(r.outcomes.clicked for r in told) / shown,
        "cvr": ordered / shown,
        "cvr_of_clicks": ordered / sum(r.outcomes.clicked for r in told),
        "revenue_per_mille": 1000 * sum(r.outcomes.revenue_minor for r in told) / 100 / shown,
        "margin_per_mille": 1000 * margin / shown,
        "roi": (margin - cost) / cost,
        "refund_rate": sum(r.outcomes.refunded for r in told) / ordered,
        "unsubscribe_rate": sum(r.outcomes.unsubscribed for r in told) / shown,
        "complaint_rate": 0.0,
        "reward": sum(r.reward for r in told) / len(told),
        "seen": shown / len(told),
    }
    assert {name: each.value for name, each in figures.items() if each} == pytest.approx(wanted)
    other = measure(table, table.contacted, "EUR")
    assert other["roi"] is None
    assert other["ctr"] == figures["ctr"]


def test_the_last_word_counts_in_any_order() -> None:
    """A correction replaces the final, a response leaves it; duplicates say nothing; a response alone is open."""
    reward = next(r for r in logged(1500).rewards if r.outcomes.ordered)
    final, early = row_of(reward), row_of(response_of(reward))
    later = structs.replace(row_of(repeated(reward)), refunded=True)
    for order in ([early, final, later, final], [later, final, early], [final, later, later]):
        books = Books()
        for row in order:
            books.take(row)
        assert books.closed == [later]
    alone = Books()
    alone.take(early)
    assert (alone.closed, alone.open) == ([], 1)
