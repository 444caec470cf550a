"""Topics that lag each other, whole days said twice, events shuffled and doubled: all of it folds to the same."""

import os
from collections.abc import Callable, Sequence
from random import Random

import pytest

from streaming.contracts.topics import ADS_EVENTS
from tests.faults import traps
from tests.faults.canonical import Outcome, broken, by_topic, differences, letters_anywhere, totals, unlike
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.orders import lagging, shuffled, twice, wholly_after, with_duplicates
from tests.faults.recorded import HOUR_MS, MINUTE_MS, Recording, Said

FOLDED = ("customers", "open", "rewards")
"""What an input leaves whatever its order; its letters and fates tell where records lay, and are compared apart."""


def left_by(make_bench: MakeBench, stages: Sequence[Sequence[Said]], trap: str = "", bad_reference: int = 0) -> Outcome:
    """What agents leave of an input in stages, each of which is said once the last has been read."""
    world = make_bench(stages[0])
    world.fork(trap, MAX_POLL_RECORDS="100")
    for stage in stages[1:]:
        world.wait(world.settled, "a stage")
        world.say(stage)
    return world.finish(bad_reference=bad_reference)


Disorder = Callable[[Sequence[Said]], Sequence[Sequence[Said]]]
SEEDS = range(1, 11) if os.environ.get("STRATAGEM_SOAK") else (1,)


def by_turns(seed: int) -> Disorder:
    """Now this topic, now that one lags by an hour."""
    return lambda said: lagging(said, HOUR_MS, Random(seed))


LAGS: dict[str, Disorder] = {
    **{f"each by an hour, by turns ({seed})": by_turns(seed) for seed in SEEDS},
    "ads by everything": lambda said: wholly_after(said, ADS_EVENTS.name),
}


@pytest.mark.parametrize("lag", LAGS)
def test_topics_that_lag(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, lag: str) -> None:
    """Whichever topic is behind, windows wait for it: nothing differs, no invariant breaks."""
    found = left_by(make_bench, LAGS[lag](recorded.said), bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found) == []
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_a_day_said_twice(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome) -> None:
    """The second time every event is a duplicate, and counted as one; nothing else changes."""
    found = left_by(make_bench, [twice(recorded.said)], bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found, FOLDED) == []
    assert letters_anywhere(found.letters) == letters_anywhere(undisturbed.letters)
    once, both = by_topic(undisturbed.fates), by_topic(found.fates)
    for topic in {each.topic for each in recorded.said}:
        folded, duplicates = once[f"{topic}|folded"], once.get(f"{topic}|duplicate", 0)
        assert both[f"{topic}|folded"] == folded
        assert both[f"{topic}|duplicate"] == folded + 2 * duplicates
        for fate in ("ignored", "dead_lettered", "clock"):
            assert both.get(f"{topic}|{fate}", 0) == 2 * once.get(f"{topic}|{fate}", 0)


def test_a_fifth_said_again(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome) -> None:
    """Duplicates of a fifth of everything are counted, and nothing else changes."""
    said = with_duplicates(recorded.said, 0.2, Random(2))
    found = left_by(make_bench, [said], bad_reference=recorded.bad_reference)
    assert differences(undisturbed, found, FOLDED) == []
    assert letters_anywhere(found.letters) == letters_anywhere(undisturbed.letters)
    once, more = by_topic(undisturbed.fates), by_topic(found.fates)
    assert {name: count for name, count in more.items() if name.endswith("|folded")} == {
        name: count for name, count in once.items() if name.endswith("|folded")
    }
    assert sum(more.values()) - sum(once.values()) == len(said) - len(recorded.said) > 300


@pytest.mark.parametrize("seed", SEEDS)
def test_events_shuffled_within_ten_minutes(
    make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, seed: int
) -> None:
    """Out of order by minutes, the same is folded: profiles, open states, rewards and fates."""
    found = left_by(make_bench, [shuffled(recorded.said, 10 * MINUTE_MS, Random(seed))])
    assert differences(undisturbed, found, FOLDED) == []
    assert letters_anywhere(found.letters) == letters_anywhere(undisturbed.letters)
    assert by_topic(found.fates) == by_topic(undisturbed.fates)
    assert broken(found, daily_cap=DAILY_CAP) == []


def test_what_is_said_too_late_comes_to_the_same(make_bench: MakeBench, recorded: Recording) -> None:
    """A click after its final corrects it, one read before the final is in it: the sums and the profiles are the same."""
    early = left_by(make_bench, [(*recorded.late, *recorded.said)], bad_reference=recorded.bad_reference)
    late = left_by(make_bench, [recorded.said, recorded.late], bad_reference=recorded.bad_reference)
    assert len(late.rewards) == len(early.rewards) + len({each.value for each in recorded.late}) > len(early.rewards)
    assert unlike(totals(early.rewards), totals(late.rewards), "totals") == []
    assert differences(early, late, ("customers",)) == []


UNPROTECTED: dict[str, tuple[str, Disorder, str]] = {
    "windows that wait for nobody": (traps.HORIZON_OF_THE_FASTEST, LAGS["ads by everything"], "rewards"),
    "ids that are forgotten": (traps.NO_MEMORY_OF_IDS, lambda said: [twice(said)], "customers"),
    "a fold by arrival": (
        traps.FOLDS_BY_ARRIVAL,
        lambda said: [shuffled(said, 10 * MINUTE_MS, Random(3))],
        "customers",
    ),
}


@pytest.mark.parametrize("without", UNPROTECTED)
def test_without_its_protection_disorder_shows(
    make_bench: MakeBench, recorded: Recording, undisturbed: Outcome, without: str
) -> None:
    """The same disorder shows as soon as what protects against it is switched off."""
    trap, disorder, part = UNPROTECTED[without]
    found = left_by(make_bench, disorder(recorded.said), trap)
    assert differences(undisturbed, found, (part,)) != []
