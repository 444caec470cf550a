"""Samples: stable, without repeats, every item as likely as any other, for few and for very many items."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sampling import MANY, dice, drawn, shuffled


@given(st.lists(st.integers(), unique=True, max_size=300), st.integers(0, 30), st.text(max_size=5))
def test_a_sample_has_no_repeats_and_is_repeatable(items: list[int], limit: int, seed: str) -> None:
    """At most the limit, each of the items and once; the same for the same parts."""
    found = drawn(items, limit, dice(seed))
    assert len(found) == len(set(found)) <= limit
    assert set(found) <= set(items)
    assert found == drawn(items, limit, dice(seed))
    if len(items) <= MANY * limit:
        assert len(found) == min(limit, len(items))


@given(st.lists(st.integers(), unique=True, max_size=30), st.text(max_size=5))
def test_shuffling_loses_nothing(items: list[int], seed: str) -> None:
    """All items, once each."""
    assert sorted(shuffled(items, dice(seed))) == sorted(items)


@pytest.mark.parametrize(("count", "limit"), [(10, 10), (10, 4), (40, 24), (400, 24)])
def test_every_item_is_as_likely_as_any_other(count: int, limit: int) -> None:
    """Over 4,000 moments each is drawn within six standard deviations of its share, and is first as often."""
    draws = 4000
    found = [drawn(range(count), limit, dice("moment", str(at))) for at in range(draws)]
    for told, share in (
        (Counter(each for sample in found for each in sample), sum(map(len, found)) / draws / count),
        (Counter(sample[0] for sample in found), 1 / count),
    ):
        spread = (draws * share * (1 - share)) ** 0.5
        assert all(abs(told[each] - draws * share) <= 6 * spread for each in range(count))
