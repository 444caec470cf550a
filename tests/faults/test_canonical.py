"""The comparison that every fault is judged by does see differences; what it lets pass is the last digits of floats."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.faults.canonical import Outcome, both_ways, broken, by_topic, differences, letters_anywhere, over_cap

LETTER = {"headers": {"reason": "bad_key", "partition": "0", "offset": "7"}, "key": "b'k'", "value": "b'v'"}
REQUEST = {"request_id": "r1", "user_id": "u", "issued_at": "2026-03-02T12:00:00Z"}
SUPPRESSION = {"request_id": "r2", "suppression_id": "s2", "reason": "daily_cap", "by": "agents"}
WHOLE = Outcome(
    customers={"u": {"profile": {"categories": {"tea": 2.5}, "views": [[[1, 2], "p1"]]}, "state": None}},
    open={"u": {"strategies": [{"stage": "open"}]}},
    rewards={"w1": {"stage": "final", "reward": 1.5, "components": {"margin": 1.5}}},
    letters={"shop.events|0|7": LETTER},
    fates={"shop.events|0|folded": 3, "shop.events|1|folded": 4, "shop.events|1|duplicate": 1},
    contents={"strategy.requests r1": {b"one"}},
    requests=[REQUEST],
    suppressions=[SUPPRESSION],
    strategies=[{"strategy_id": "t1", "request_id": "r1"}],
)


def other(part: str, *path: Any, value: Any) -> Outcome:
    """The whole with another value at a path of one part."""
    changed = _with(getattr(WHOLE, part), path, value)
    return replace(WHOLE, **{part: changed})


def _with(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _with(tree[path[0]] if isinstance(tree, list) else tree.get(path[0], {}), path[1:], value)
    return copy


def test_equal_outcomes_do_not_differ() -> None:
    """Nothing is reported of two equal outcomes, which break no invariant."""
    assert differences(WHOLE, WHOLE) == []
    assert broken(WHOLE, daily_cap=1, answered=True) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            other("customers", "u", "profile", "categories", "tea", value=2.5000001),
            "customers.u.profile.categories.tea",
        ),
        (other("customers", "u", "profile", "views", value=[]), "customers.u.profile.views"),
        (other("customers", "v", value={"profile": {}}), "customers.v: nothing"),
        (other("customers", "u", "state", value=False), "customers.u.state"),
        (other("open", value={}), "open.u"),
        (other("rewards", "w1", "stage", value="response"), "rewards.w1.stage"),
        (other("rewards", "w1", "components", "margin", value=1.4), "rewards.w1.components.margin"),
        (other("rewards", value={}), "rewards.w1"),
        (
            other("letters", "shop.events|0|7", "headers", "reason", value="bug"),
            "letters.shop.events|0|7.headers.reason",
        ),
        (other("fates", "shop.events|1|folded", value=5), "fates.shop.events|1|folded: 4 / 5"),
        (other("fates", "shop.events|0|folded", value=3.0), ""),
        (other("rewards", "w1", "reward", value=1.5 * (1 + 1e-10)), ""),
        (other("requests", value=[]), ""),
    ],
)
def test_a_difference_is_seen_where_it_is(changed: Outcome, said: str) -> None:
    """A changed value of each part is reported with its path; last digits of floats and what was asked are not."""
    found = differences(WHOLE, changed)
    assert len(found) == bool(said)
    assert all(each.startswith(said) for each in found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (other("contents", "strategy.requests r1", value={b"one", b"two"}), "strategy.requests r1 has 2 contents"),
        (other("suppressions", 0, "request_id", value="r1"), "r1 was asked and suppressed: ['daily_cap']"),
        (other("suppressions", value=[SUPPRESSION, SUPPRESSION | {"reason": "stale"}]), "r2 was suppressed twice"),
        (other("requests", value=[REQUEST, REQUEST | {"request_id": "r3"}]), "u was asked about 2 times on 2026-03-02"),
        (other("strategies", value=[]), "r1 has 0 answers"),
        (
            other("strategies", value=[*WHOLE.strategies, WHOLE.strategies[0] | {"strategy_id": "t2"}]),
            "r1 has 2 answers",
        ),
    ],
)
def test_a_broken_invariant_is_named(changed: Outcome, said: str) -> None:
    """Two contents, two ways, too many on a day, no answer or two: each is told in words."""
    found = broken(changed, daily_cap=1, answered=True)
    assert any(each.startswith(said) for each in found)


def test_what_repeats_is_no_breach() -> None:
    """At least once: the same request and the same suppression may be published again."""
    again = replace(WHOLE, requests=[REQUEST, REQUEST], suppressions=[SUPPRESSION, SUPPRESSION])
    assert broken(again, daily_cap=1, answered=True) == []


def test_a_worker_s_suppression_is_an_answer() -> None:
    """A request that the worker did not answer with a strategy has its suppression."""
    stale = {"request_id": "r1", "suppression_id": "s1", "reason": "stale", "by": "worker"}
    answered = replace(WHOLE, strategies=[], suppressions=[stale])
    assert broken(answered, daily_cap=1, answered=True) == []
    assert both_ways(answered) == []


def test_the_cap_counts_the_customer_s_days() -> None:
    """Midnight is the customer's: two requests around noon UTC are on two days in Auckland."""
    later = REQUEST | {"request_id": "r3", "issued_at": "2026-03-02T10:00:00Z"}
    two = replace(WHOLE, requests=[REQUEST, later])
    assert over_cap(two, 1) != []
    at_home = {"u": {"profile": {"timezone": [[1, 2], "Pacific/Auckland"]}}}
    assert over_cap(replace(two, customers=at_home), 1) == []


def test_places_may_be_left_out() -> None:
    """Fates by topic, and letters without the places of their records."""
    assert by_topic(WHOLE.fates) == {"shop.events|folded": 7, "shop.events|duplicate": 1}
    moved = LETTER | {"headers": LETTER["headers"] | {"offset": "9"}}  # type: ignore[operator]
    assert letters_anywhere({"a": LETTER}) == letters_anywhere({"b": moved, "c": moved})
    assert letters_anywhere({"a": LETTER}) != letters_anywhere({"a": LETTER | {"key": "b'x'"}})
