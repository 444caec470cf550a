"""Killed with SIGKILL at each step of merging ids into customers, agents leave what an undisturbed run leaves.

Customers begin on two devices each, log in on both, and go on under all three ids: with open strategies, timers, orders.
"""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from streaming.contracts.codec import encode
from streaming.contracts.topics import ADS_EVENTS, SHOP_EVENTS, STRATEGIES
from tests.faults import traps
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, differences
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.recorded import CLOCK_USER, HOUR_MS, MINUTE_MS, Recording, Said, event, instant
from tests.installation import PARTITIONS
from tests.streaming import attribution_samples

CUSTOMERS = 6
LOGIN_MS = 2 * HOUR_MS
PUT = ("streaming", "merging", "_put")
"""Writes one row of a merge: the frozen one, the user's, the pointer, by turns; after a kill from where it was left."""
KILLED_AT = (1, 2, 2, 2, 3, 5, 4)
"""Each process dies before so many-th writing of a row: between any two steps, of several merges."""


def said(begin_ms: int, end_ms: int) -> tuple[Said, ...]:
    """Browsing, strategies for devices, logins on both, and what comes under old ids: what is said within a time."""
    records: list[Said] = [*_clock(0)]
    for number in range(CUSTOMERS):
        records += _customer(number)
    within = [each for each in records if begin_ms <= each.at_ms < end_ms]
    return tuple(sorted(within, key=lambda each: (each.at_ms, not each.is_clock)))


def afterwards() -> tuple[Said, ...]:
    """The clock passes every horizon."""
    return tuple(each for hours in (3, 30, 90, 200) for each in _clock(hours))


def _clock(hours: int) -> Iterator[Said]:
    for topic in (SHOP_EVENTS, ADS_EVENTS):
        for partition in range(PARTITIONS):
            value = event(f"t{hours}-{topic.name}-{partition}", CLOCK_USER, "Clock Advanced", hours * HOUR_MS, {})
            yield Said(topic.name, CLOCK_USER.encode(), value, hours * HOUR_MS, partition)


def _customer(number: int) -> Iterator[Said]:
    user, devices = f"u{number}", [f"anon-{number}-{device}" for device in ("phone", "tablet")]
    for index, who in enumerate((*devices, user)):
        strategy = attribution_samples.strategy(10 * number + index)
        asked = replace(strategy.request, user_id=who, issued_at=instant(HOUR_MS))
        until = instant(24 * HOUR_MS)
        told = replace(strategy, user_id=who, issued_at=asked.issued_at, valid_until=until, request=asked)
        yield Said(STRATEGIES.name, who.encode(), encode(told), HOUR_MS)
        named = {"strategy_id": told.strategy_id}
        yield _said(who, "Promotion Viewed", HOUR_MS + MINUTE_MS, named, ads=True)
        yield _said((user, *devices)[index], "Promotion Clicked", LOGIN_MS + 9 * MINUTE_MS + index, named, ads=True)
        yield _said(who, "Products Searched", HOUR_MS + index, {"query": "tea"})
        for product, at_ms in ((index, HOUR_MS + 2 * MINUTE_MS), (3 + index, LOGIN_MS + 10 * MINUTE_MS)):
            priced = {"product_id": f"p{product}", "price": 2, "currency": "USD"}
            yield _said(who, "Product Added", at_ms + index, priced)
        lines = [{"product_id": "p1", "price": 5 + index}]
        bought = {"order_id": f"o{who}", "currency": "USD", "products": lines}
        yield _said(who, "Order Completed", LOGIN_MS + 20 * MINUTE_MS + index, bought)
    for index, device in enumerate(devices):
        yield _said(user, "identify", LOGIN_MS + index * MINUTE_MS, {}, anonymousId=device)


def _said(who: str, name: str, at_ms: int, properties: dict[str, Any], *, ads: bool = False, **more: Any) -> Said:
    topic = (ADS_EVENTS if ads else SHOP_EVENTS).name
    value = event(f"{who}-{name}-{at_ms}", who, name, at_ms, properties, **more)
    return Said(topic, who.encode(), value, at_ms)


def dies_before_put(calls: int) -> str:
    """The process dies before the so many-th writing of a row of a merge."""
    package, module, name = PUT
    named = f"from {package} import {module}\n_doomed({module}, {name!r})\n"
    return traps.HASTY + traps.DIES.format(left=calls, after_s=0) + named


def parted(make_bench: MakeBench) -> FaultWorld:
    """A world in which every device is a customer of its own, and the logins are said and not read yet."""
    world = make_bench(said(0, LOGIN_MS))
    world.fork()
    world.wait(world.settled, "the end of what devices said before the logins")
    world.stop()
    world.say(said(LOGIN_MS, 3 * HOUR_MS))
    return world


def killed_on_the_way(world: FaultWorld, at: tuple[int, ...], unprotected: str = "") -> None:
    """One process after the other dies amid a merge."""
    for calls in at:
        assert world.fork(unprotected + dies_before_put(calls)).wait(60) == -signal.SIGKILL
        world.bury()


def finished(world: FaultWorld, recorded: Recording, unprotected: str = "") -> Outcome:
    """A process that is left alone reads everything, and then the clock goes on."""
    world.fork(unprotected)
    world.wait(world.settled, "the end of what was said before the clock went on")
    world.say(afterwards())
    return world.finish(bad_reference=recorded.bad_reference)


@pytest.fixture(scope="module")
def left_alone(make_bench: MakeBench, recorded: Recording) -> Outcome:
    """What an undisturbed run leaves: one customer of three ids each, with all that was said under them."""
    found = finished(parted(make_bench), recorded)
    assert broken(found, daily_cap=DAILY_CAP) == []
    users = {f"u{number}" for number in range(CUSTOMERS)}
    assert {who for who, each in found.customers.items() if each["state"] is None} == users
    for user in users:
        row = found.customers[user]
        assert (len(row["profile"]["orders"]), len(row["merged"]), len(row["profile"]["searches"])) == (3, 2, 3)
    finals = [each for each in found.rewards.values() if each["stage"] == "final" and not each["ghost"]]
    assert len({each["strategy_id"] for each in finals}) == len(finals) >= 3 * CUSTOMERS
    return found


def test_killed_at_each_step_of_a_merge(make_bench: MakeBench, recorded: Recording, left_alone: Outcome) -> None:
    """Each row once, each outcome once, each letter once, whatever step of whichever merge a process dies before."""
    world = parted(make_bench)
    killed_on_the_way(world, KILLED_AT)
    assert any(row.get("state") == "frozen" for row in world.rows().values())
    found = finished(world, recorded)
    assert differences(left_alone, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


MERGED_AGAIN = """
from msgspec.structs import replace
from streaming import merging as _merging

_joined = _merging.joined

def _joined_again(user, alias, context):
    merged = {each: at for each, at in user.row.merged.items() if each != alias.row.user_id}
    return _joined(replace(user, row=replace(user.row, merged=merged)), alias, context)

_merging.joined = _joined_again
"""
"""What was merged before is merged again when a merge goes on after a crash."""

INTENT_CLEARED_FIRST = """
from streaming.processor import Processor

_release_late = Processor.release

async def _forgetful(self, entries):
    await self.store.clear({n: [id_ for id_, _ in listed] for n, listed in entries.items()})
    await _release_late(self, entries)

Processor.release = _forgetful
"""
"""An intent to merge is forgotten before it is carried out."""

UNPROTECTED = {"merged again": (MERGED_AGAIN, (3, 2, 2)), "intent cleared first": (INTENT_CLEARED_FIRST, (1, 1))}


@pytest.mark.parametrize("without", UNPROTECTED)
def test_without_its_protection_a_kill_amid_a_merge_shows(
    make_bench: MakeBench, recorded: Recording, left_alone: Outcome, without: str
) -> None:
    """The same kills show in customers' profiles as soon as what protects a merge is switched off."""
    unprotected, at = UNPROTECTED[without]
    world = parted(make_bench)
    killed_on_the_way(world, at, unprotected)
    assert differences(left_alone, finished(world, recorded, unprotected), ("customers",)) != []
