"""Reward by arm over time: what counts when, and the interval, by hand-computed values."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from services.console.arms import GROUPS, MAX_POINTS, ArmBooks, Sums, Told
from services.console.chart import specification, svg
from streaming.contracts.rewards import Outcomes
from streaming.reward import Formula

AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def told(number: int, reward: float, **more: Any) -> Told:
    """The final of a strategy of the arm `fused`."""
    values: dict[str, Any] = {
        "stage": "final", "user_id": f"u{number}", "kind": "ad", "assigned_arm": "fused", "ghost": False, "issued_at": AT,
        "closed_at": AT + timedelta(days=3), "outcomes": Outcomes("USD", horizon_margin_minor=200),
        "reward": reward, "components": {"cost": -0.5},
    }  # fmt: skip
    return Told(reward_id=f"r{number}-{more.get('stage', 'final')}", strategy_id=f"s{number}", **(values | more))


@pytest.fixture
def books() -> ArmBooks:
    """Empty ones."""
    return ArmBooks(Formula())


def test_an_interval_is_students(books: ArmBooks) -> None:
    """Of 1, 2 and 3 of three customers: mean 2, variance 1; of a single value there is none."""
    books.take(told(1, 1.0))
    assert books.totals("reward") == [("fused", (1, 1.0, None, None))]
    books.take(told(2, 2.0))
    books.take(told(3, 3.0))
    ((arm, value),) = books.totals("reward")
    half = 4.302653 * (1.0 / 3) ** 0.5  # t of two degrees of freedom
    assert (arm, value.number, value.mean) == ("fused", 3, 2.0)
    assert [value.low, value.high] == pytest.approx([2.0 - half, 2.0 + half])


def test_what_a_customer_does_again_is_no_evidence_of_its_own(books: ArmBooks) -> None:
    """Each of two customers ten times the same: as wide as of two strategies; in many draws the interval holds the truth."""
    for number in range(20):
        books.take(told(number, float(number % 2), user_id=f"u{number % 2}"))
    ((_, value),) = books.totals("reward")
    assert value.number == 20
    assert value.high == pytest.approx(0.5 + 12.706205 * 0.5)
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        sums = Sums()
        for group, taste in enumerate(rng.normal(size=GROUPS)):
            for reward in taste + rng.normal(size=rng.integers(1, 9)):
                sums.add(group, 1, float(reward))
        found = sums.interval()
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.0 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_a_record_told_twice_counts_once_and_a_response_not_at_all(books: ArmBooks) -> None:
    """Kafka may repeat; the response is a part of the final."""
    for each in (told(1, 1.0), told(1, 1.0), told(1, 0.4, stage="response")):
        books.take(each)
    assert books.totals("reward") == [("fused", (1, 1.0, None, None))]
    assert books.outcome("s1") == told(1, 0.4, stage="response")
    assert books.outcome("s2") is None


def test_a_correction_changes_the_hour_of_its_strategy(books: ArmBooks) -> None:
    """As if the corrected reward had been the final: mean and interval alike."""
    for each in (told(1, 1.0), told(2, 2.0), told(2, 5.0, stage="correction", difference=3.0)):
        books.take(each)
    straight = ArmBooks(Formula())
    straight.take(told(1, 1.0))
    straight.take(told(2, 5.0))
    assert books.totals("reward")[0][1] == pytest.approx(straight.totals("reward")[0][1])
    assert len(books.series("reward")[1]) == 1


def test_ghosts_count_by_net_margin_alone_and_mixed_customers_not(books: ArmBooks) -> None:
    """Holdout has no strategy to be rewarded; two dollars of margin less half a dollar of cost."""
    books.take(told(1, 0.0, ghost=True, assigned_arm="holdout", components={}))
    books.take(told(2, 1.0))
    books.take(told(3, 9.0, mixed_arms=True))
    assert [arm for arm, _ in books.totals("reward")] == ["fused"]
    assert [(arm, value.mean) for arm, value in books.totals("net")] == [("fused", 1.5), ("holdout", 2.0)]


def test_a_long_time_has_wide_spans(books: ArmBooks) -> None:
    """Never more points than can be told apart; nothing is lost between them."""
    for number in range(24 * 30):
        books.take(structs.replace(told(number, 1.0), issued_at=AT + timedelta(hours=number)))
    width, points = books.series("reward")
    assert (width, len(points) <= MAX_POINTS + 1) == (24, True)
    assert sum(point.value.number for point in points) == 24 * 30
    assert [point.at_ms for point in points] == sorted(point.at_ms for point in points)


def test_nothing_told_is_no_points(books: ArmBooks) -> None:
    """And no interval."""
    assert books.series("net") == (1, [])
    assert Sums().interval() == (0, 0.0, None, None)


def test_a_chart_has_each_arm_and_runs_nothing(books: ArmBooks) -> None:
    """A drawing without script or address; arms that said nothing are not in it."""
    for number, arm in enumerate(("fused", "random", "fused", "random")):
        books.take(structs.replace(told(number, float(number)), assigned_arm=arm))
    points = books.series("reward")[1]
    drawn = svg(specification(points, "reward per strategy", "dark", "narrow")).decode()
    assert "fused" in drawn
    assert "critic" not in drawn
    assert "<script" not in drawn
    assert drawn.replace("http://www.w3.org", "").count("http") == 0
