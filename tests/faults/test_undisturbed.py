"""The reference itself: what the recorded input holds, and that two undisturbed runs of it are alike."""

from collections import Counter

import pytest
from msgspec import structs

from services.settings import AgentsSettings, load
from streaming.control import Books
from streaming.keys import BUCKETS_FIELD, BucketKeys, control_key
from tests.faults.canonical import Outcome, differences
from tests.faults.conftest import EARLY_H, MakeBench
from tests.faults.recorded import Recording, recording


def test_a_seed_makes_one_recording() -> None:
    """The same seed makes the same bytes, another seed others."""
    assert recording(5) == recording(5)
    assert recording(5) != recording(6)


def test_the_reference_holds_everything_that_is_compared(undisturbed: Outcome) -> None:
    """Every stage of rewards, every fate, letters of each reason, merged customers, open strategies, requests."""
    assert Counter(each["stage"] for each in undisturbed.rewards.values()).keys() == {"response", "final", "correction"}
    assert {name.split("|")[2] for name in undisturbed.fates} == {
        "folded", "duplicate", "ignored", "dead_lettered", "clock",
    }  # fmt: skip
    reasons = {each["headers"]["reason"] for each in undisturbed.letters.values()}
    assert reasons == {"undecodable", "bad_field", "bad_key", "bad_timestamp", "unknown_strategy", "bad_reference"}
    assert any(each["state"] == "pointer" for each in undisturbed.customers.values())
    stages = {each["stage"] for state in undisturbed.open.values() for each in state["strategies"]}
    assert stages == {"open", "responded", "closed"}
    assert undisturbed.requests
    assert undisturbed.suppressions


def test_the_agents_have_the_settings_of_their_world(make_bench: MakeBench) -> None:
    """Every one that a test gives, and those of the faults' own: nothing that was asked for is left out."""
    world = make_bench([], allowed_lateness_s=7.5)
    agents = load(AgentsSettings, world.environ())
    assert agents == structs.replace(world.settings, session_timeout_s=6.0, share_holdout=0.0)
    assert (agents.early_outcome_h, agents.allowed_lateness_s) == (EARLY_H, 7.5)


def test_what_was_fired_and_not_published_is_waited_for(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that moves into the outbox between two looks has not settled: its reward would be missing in an outcome."""
    world = make_bench([])
    keys = BucketKeys.of(world.settings.topic_prefix, 0)
    world.client.hset(control_key(world.settings.topic_prefix), BUCKETS_FIELD, world.settings.buckets)
    world.client.zadd(keys.due, {"c0": 0})
    looked = world.books

    def fires_meanwhile() -> Books:
        found = looked()
        if world.client.zrem(keys.due, "c0"):
            world.client.hset(keys.outbox, "1", b"a response")
        return found

    world.ends_of.clear()  # the reference, which no agents have read
    assert not world.settled()
    monkeypatch.setattr(world, "books", fires_meanwhile)
    assert not world.settled()
    world.client.delete(keys.outbox)
    assert world.settled()


def test_two_undisturbed_runs_are_alike(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome) -> None:
    """Another run of the same input, its fetches small: nothing differs."""
    world = make_bench()
    world.fork(MAX_POLL_RECORDS="50")
    assert differences(undisturbed, world.finish(bad_reference=recorded.bad_reference)) == []


def test_what_happens_is_counted(make_bench: MakeBench, recorded: Recording, undisturbed: Outcome) -> None:
    """The process's metrics say what its books say: records by fate, dead letters; nothing refused, nothing skipped."""
    world = make_bench()
    process = world.fork()
    world.wait(world.settled, "the end of the input")
    world.wait(lambda: world.metrics(process)["dead_letters_total"] == len(undisturbed.letters), "every letter")
    counted = world.metrics(process)
    records = sum(count for name, count in undisturbed.fates.items() if not name.startswith("shop.catalog"))
    assert counted["events_total"] == records == len(recorded.said)
    assert counted["refused_writes_total"] == counted["replays_skipped_total"] == 0
