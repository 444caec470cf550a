"""What may not differ between a disturbed run and an undisturbed one of the same recorded input, and how it is compared.

Compared exactly, floats up to their last digits: profiles, open states, rewards, dead letters, fates per partition. What was
asked follows the order between topics, which is not given: of it the invariants are checked. All of this is pure.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

RELATIVE = 1e-9
ABSOLUTE = 1e-12
"""Of sums whose terms cancel: a thousandth of a millionth of a cent."""
SHOWN = 12
"""Differences that are listed; the rest are counted."""


class Outcome(Struct, frozen=True, kw_only=True):
    """Everything that a run leaves, decoded from JSON.

    Args:
        customers: id → arm, profile, and whose row it is; what was asked of them is no part of it.
        open: id → open strategies, orders, early echoes.
        rewards: reward id → reward.
        letters: `topic|partition|offset` (or `ID` of what is no record) → headers, key and value.
        fates: `topic|partition|fate` → records.
        contents: `topic id` of every message → its different contents; one each, for ever.
        requests, suppressions, strategies: messages in the topics' orders.
    """

    customers: dict[str, Any] = {}
    open: dict[str, Any] = {}
    rewards: dict[str, Any] = {}
    letters: dict[str, Any] = {}
    fates: dict[str, int] = {}
    contents: dict[str, set[bytes]] = {}
    requests: list[dict[str, Any]] = []
    suppressions: list[dict[str, Any]] = []
    strategies: list[dict[str, Any]] = []


PARTS = ("customers", "open", "rewards", "letters", "fates")
"""The parts of an outcome that may not differ."""


def differences(expected: Outcome, found: Outcome, parts: Iterable[str] = PARTS) -> list[str]:
    """Where two outcomes differ, as `path: expected / found`; empty when they are equal."""
    listed: list[str] = []
    for part in parts:
        listed += unlike(getattr(expected, part), getattr(found, part), part)
    more = len(listed) - SHOWN
    return [*listed[:SHOWN], f"... and {more} more"] if more > 0 else listed


def unlike(expected: Any, found: Any, path: str) -> list[str]:
    """Where two JSON values differ; floats (and integers beside them) up to 1e-9 of the larger."""
    if isinstance(expected, dict) and isinstance(found, dict):
        listed = []
        for key in sorted(expected.keys() | found.keys()):
            listed += unlike(expected.get(key, _Nothing), found.get(key, _Nothing), f"{path}.{key}")
        return listed
    if isinstance(expected, list | tuple) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            return [f"{path}: {_short(expected)} / {_short(found)}"]
        pairs = enumerate(zip(expected, found, strict=True))
        return [each for at, (one, other) in pairs for each in unlike(one, other, f"{path}[{at}]")]
    if _close(expected, found):
        return []
    return [f"{path}: {_short(expected)} / {_short(found)}"]


class _Nothing:
    """Stands for what one side does not have."""


def _close(one: Any, other: Any) -> bool:
    numbers = not isinstance(one, bool) and not isinstance(other, bool)
    if numbers and isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or (
            isinstance(one, float) | isinstance(other, float)
            and math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
        )
    return type(one) is type(other) and bool(one == other)


def _short(value: Any) -> str:
    said = "nothing" if value is _Nothing else repr(value)
    return said if len(said) <= 200 else said[:200] + "…"


def by_topic(fates: Mapping[str, int]) -> dict[str, int]:
    """`topic|partition|fate` counts as `topic|fate`: where the same records lie in other partitions."""
    summed: Counter[str] = Counter()
    for name, count in fates.items():
        topic, _, fate = name.split("|")
        summed[f"{topic}|{fate}"] += count
    return dict(summed)


PLACES = ("partition", "offset", "at")
"""Headers that tell where a dead-lettered record lay."""


def letters_anywhere(letters: Mapping[str, Any]) -> list[Any]:
    """The different letters without the places of their records, in an order of their own."""
    bare = []
    for letter in letters.values():
        headers = {name: value for name, value in letter["headers"].items() if name not in PLACES}
        bare.append({**letter, "headers": headers})
    different = {repr(sorted(each.items(), key=repr)): each for each in bare}
    return [different[name] for name in sorted(different)]


def totals(rewards: Mapping[str, Any]) -> dict[str, Any]:
    """Per strategy what its final and its corrections come to, and the outcomes that were published last."""
    summed: dict[str, Any] = {}
    closed = [each for each in rewards.values() if each["stage"] != "response"]
    for each in sorted(closed, key=lambda each: (each["stage"] == "correction", each["closed_at"])):
        before = summed.get(each["strategy_id"], {"reward": 0.0})
        change = each["reward"] if each["stage"] == "final" else each["difference"]
        summed[each["strategy_id"]] = {"reward": before["reward"] + change, "outcomes": each["outcomes"]}
    return summed


# -- invariants of what was asked


def broken(outcome: Outcome, *, daily_cap: int, answered: bool = False) -> list[str]:
    """Every invariant of what was asked that an outcome breaks, in words.

    Args:
        daily_cap: requests per customer and local day.
        answered: a model worker ran: each request has exactly one strategy or one suppression.
    """
    return [
        *twofold(outcome),
        *both_ways(outcome),
        *over_cap(outcome, daily_cap),
        *(unanswered(outcome) if answered else ()),
    ]


def twofold(outcome: Outcome) -> list[str]:
    """Ids that have had more than one content."""
    return [f"{id_} has {len(each)} contents" for id_, each in outcome.contents.items() if len(each) > 1]


def both_ways(outcome: Outcome) -> list[str]:
    """Moments that were asked about and suppressed by the agents, or suppressed for two reasons."""
    asked = {each["request_id"] for each in outcome.requests}
    reasons: defaultdict[str, set[str]] = defaultdict(set)
    for each in outcome.suppressions:
        if each["by"] == "agents":
            reasons[each["request_id"]].add(each["reason"])
    listed = [f"{id_} was asked and suppressed: {sorted(reasons[id_])}" for id_ in sorted(asked & reasons.keys())]
    return listed + [f"{id_} was suppressed twice: {sorted(each)}" for id_, each in reasons.items() if len(each) > 1]


def over_cap(outcome: Outcome, daily_cap: int) -> list[str]:
    """Customers who were asked about more often than their cap on a day of theirs."""
    asked: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for each in outcome.requests:
        day = datetime.fromisoformat(each["issued_at"]).astimezone(_zone(outcome, each["user_id"])).date()
        asked[each["user_id"], day.isoformat()].add(each["request_id"])
    return [
        f"{user} was asked about {len(ids)} times on {day}, at most {daily_cap}"
        for (user, day), ids in asked.items()
        if len(ids) > daily_cap
    ]


def _zone(outcome: Outcome, user: str) -> ZoneInfo:
    """The customer's last known time zone, whose days the cap counts."""
    profile = outcome.customers.get(user, {}).get("profile") or {}
    said = profile.get("timezone")  # [stamp, name]
    return ZoneInfo(said[1] if said else "UTC")


def unanswered(outcome: Outcome) -> list[str]:
    """Requests that have not exactly one answer: a strategy, or a suppression by the worker."""
    answers: Counter[str] = Counter()
    for each in {each["strategy_id"]: each for each in outcome.strategies}.values():
        answers[each["request_id"]] += 1
    for each in {each["suppression_id"]: each for each in outcome.suppressions if each["by"] == "worker"}.values():
        answers[each["request_id"]] += 1
    asked = {each["request_id"] for each in outcome.requests}
    return [f"{id_} has {answers[id_]} answers" for id_ in sorted(asked) if answers[id_] != 1]
