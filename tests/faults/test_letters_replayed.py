"""A decoder of ours was broken and is mended: what it refused is sent again, and the end is that of a clean run.

Every window of the first day has closed by then, and none is forgotten yet: what the letters held comes as corrections.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import Struct

from services.letters import Choice, Letter, chosen
from services.reading import read_all
from streaming.contracts.topics import ADS_EVENTS, DEAD_LETTERS, INPUTS, SHOP_EVENTS
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken, by_topic, differences, unlike
from tests.faults.conftest import DAILY_CAP, MakeBench
from tests.faults.recorded import HOUR_MS, Recording
from tests.services.test_cli import invoke

BROKEN = """
import zlib
from streaming import reading
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Event

_real = reading.decode_event

def _broken(value, now_ms):
    found = _real(value, now_ms)
    clock = isinstance(found, Event) and found.name == "Clock Advanced"
    if isinstance(found, Event) and not clock and zlib.crc32(found.message_id.encode()) % 3 == 0:
        raise BadEvent("properties.broken", found.name, "what a broken decoder takes")
    return found

reading.decode_event = _broken
"""
"""A third of all good events is refused, whatever they say."""
UNTIL_MS = 90 * HOUR_MS
"""The last horizon of the first day has passed, and the grace of the first one has not."""


class Replayed(Struct):
    """Both lives.

    Args:
        amid: what the broken decoder left.
        replay: exit code and output of the command.
        letters: those that were offered.
        again: those that came after.
    """

    amid: Outcome
    letters: list[Letter]
    replay: tuple[int, str]
    again: list[Letter]
    end: Outcome


def open_letters(world: FaultWorld) -> list[Letter]:
    """The letters about records that were not sent again."""
    return [each for each in chosen(lambda: read_all(world.settings, DEAD_LETTERS), Choice()) if each.topic]


@pytest.fixture(scope="module")
def replayed(make_bench: MakeBench, recorded: Recording) -> Replayed:
    """The broken decoder until the first day's horizons; the mended one, to which the letters are sent again; the rest."""
    world = make_bench([said for said in recorded.said if said.at_ms <= UNTIL_MS])
    world.fork(BROKEN)
    amid = world.finish(bad_reference=recorded.bad_reference)
    letters = open_letters(world)
    world.fork()
    environ = {
        "STRATAGEM_KAFKA_BOOTSTRAP": world.settings.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": world.settings.redis_url,
        "STRATAGEM_TOPIC_PREFIX": world.settings.topic_prefix,
    }
    replay = invoke(["dead-letters", "replay", "--yes"], environ)
    for topic in INPUTS:
        world.ends_of |= world.ends(topic)
    world.wait(world.settled, "what was sent again")
    world.say(said for said in recorded.said if said.at_ms > UNTIL_MS)
    end = world.finish(bad_reference=2 * recorded.bad_reference)
    return Replayed(amid, letters, replay, open_letters(world), end)


def test_the_broken_decoder_does_harm(undisturbed: Outcome, replayed: Replayed) -> None:
    """Shown once: without the replay, profiles and rewards are others than those of the clean run."""
    assert differences(undisturbed, replayed.amid, ["customers"])
    assert differences(undisturbed, replayed.amid, ["rewards"])
    assert len(replayed.letters) > 100


def test_profiles_are_those_of_a_clean_run(undisturbed: Outcome, replayed: Replayed) -> None:
    """Every field of every profile, arms, and who was merged into whom."""
    assert replayed.replay[0] == 0, replayed.replay[1]
    assert differences(undisturbed, replayed.end, ["customers"]) == []


def test_what_came_too_late_comes_as_corrections(undisturbed: Outcome, replayed: Replayed) -> None:
    """Each strategy ends with the outcomes and the value of the clean run; finals that were told stay, corrections follow."""
    for id_, told in replayed.amid.rewards.items():
        assert replayed.end.rewards[id_] == told
    assert unlike(last_words(undisturbed), last_words(replayed.end), "last") == []
    later = [each for id_, each in replayed.end.rewards.items() if id_ not in replayed.amid.rewards]
    assert Counter(each["stage"] for each in later)["correction"] > 20
    assert unlike(totals(undisturbed), totals(replayed.end), "total") == []


def last_words(outcome: Outcome) -> dict[str, Any]:
    """Strategy → outcomes as told last; the margin of the horizon stays that of the final in every run."""
    found: dict[str, Any] = {}
    for reward in sorted(closed(outcome.rewards), key=lambda each: (each["stage"] == "correction", each["closed_at"])):
        told = without_horizon(reward["outcomes"])
        others = [without_horizon(money) for money in told["other_currencies"]]
        told["other_currencies"] = [
            money for money in others if any(money[name] for name in money.keys() - {"currency"})
        ]
        found[reward["strategy_id"]] = told
    return found


def without_horizon(told: Mapping[str, Any]) -> dict[str, Any]:
    """Outcomes, or one currency's money, without what is of all the customer's orders."""
    return {name: value for name, value in told.items() if not name.startswith("horizon_")}


def totals(outcome: Outcome) -> dict[str, float]:
    """Strategy → its final and the differences of its corrections, summed."""
    found: defaultdict[str, float] = defaultdict(float)
    for reward in closed(outcome.rewards):
        found[reward["strategy_id"]] += reward["reward"] if reward["stage"] == "final" else reward["difference"]
    return dict(found)


def closed(rewards: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Finals and corrections."""
    return [each for each in rewards.values() if each["stage"] != "response"]


def test_every_letter_was_sent_once_and_what_is_bad_fails_again(undisturbed: Outcome, replayed: Replayed) -> None:
    """Good ones are folded as in the clean run; bad ones make new letters, each naming the one before; nothing is left over."""
    assert replayed.replay[1].splitlines()[-1].startswith(f"{len(replayed.letters)} sent again, 0 cannot be")
    assert len(replayed.again) == sum(1 for each in undisturbed.letters.values() if each["headers"]["topic"])
    assert {each.replay_of for each in replayed.again} < {each.id for each in replayed.letters}
    assert len({each.replay_of for each in replayed.again}) == len(replayed.again)
    assert {each.attempt for each in replayed.again} == {2}
    clean, found = by_topic(undisturbed.fates), by_topic(replayed.end.fates)
    for topic in (SHOP_EVENTS.name, ADS_EVENTS.name):
        for fate in ("folded", "duplicate", "ignored", "clock"):
            assert found.get(f"{topic}|{fate}", 0) == clean.get(f"{topic}|{fate}", 0), (topic, fate)
    # A letter and the marker that it was sent again tell of one place.
    assert [each for each in broken(replayed.end, daily_cap=DAILY_CAP) if not each.startswith("dead-letters ")] == []
