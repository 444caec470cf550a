"""Ten days on the real Kafka and Redis: ghosts, corrections, early and late outcomes, strangers, bugs of ours, a pause."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.letters import Choice, chosen
from services.letters_replay import Sent, replay
from services.reading import read_all
from streaming.contracts.topics import ADS_EVENTS, DEAD_LETTERS, INPUTS, PROGRESS, REQUESTS, REWARDS, SUPPRESSIONS
from tests.streaming.conftest import MakeWorld
from tests.streaming.contracts.test_schemas import validator
from tests.streaming.outcome_story import NOBODYS, SHARE_HOLDOUT, Seen, play, strategy_of


@pytest.fixture(scope="module")
def seen(make_world: MakeWorld) -> Iterator[Seen]:
    """What is left of the story; the agents have lived through it and end well."""
    world = make_world(share_holdout=SHARE_HOLDOUT)
    yield play(world)
    assert world.stop() == [0]


def stages(rewards: list[dict[str, Any]]) -> list[str]:
    """The stages of rewards, in order."""
    return [reward["stage"] for reward in rewards]


def test_the_holdout_is_not_asked_and_its_ghost_closes(seen: Seen) -> None:
    """No request, the suppression `holdout`, and at the horizon a final that carries the margin of all orders."""
    assert [each for each in seen.requests if each["user_id"] == seen.ghost] == []
    assert ("session_start", "holdout") in seen.reasons(seen.ghost)
    [final] = seen.rewards_of(seen.ghost)
    assert (final["stage"], final["ghost"], final["assigned_arm"]) == ("final", True, "holdout")
    assert (final["decision"], final["policy"], final["reward"]) == ({}, None, 0)
    assert final["outcomes"]["horizon_margin_minor"] == 600  # one unit at 10.00 that cost 4.00
    assert final["outcomes"]["horizon_orders"] == 1


def test_a_refund_after_the_horizon_is_a_correction(seen: Seen) -> None:
    """The final has the margin; the refund takes it back as a difference, in the new totals."""
    rewards = seen.rewards_of("refunded")
    assert stages(rewards) == ["response", "final", "correction"]
    _, final, correction = rewards
    assert (final["outcomes"]["margin_minor"], final["outcomes"]["refunded_margin_minor"]) == (600, 0)
    assert (correction["outcomes"]["margin_minor"], correction["outcomes"]["refunded_margin_minor"]) == (600, 600)
    assert correction["difference"] == pytest.approx(correction["reward"] - final["reward"])
    assert correction["difference"] == pytest.approx(-6.0)


def test_a_click_read_before_its_strategy_is_joined(seen: Seen) -> None:
    """The click waited for the strategy, and the response knows of both."""
    rewards = seen.rewards_of("early")
    assert stages(rewards) == ["response", "final"]
    assert rewards[0]["outcomes"]["clicked"]
    assert seen.letters_of("early") == []


def test_a_click_read_after_the_response_is_in_the_final(seen: Seen) -> None:
    """A response that was published stays; the final says what the window really held."""
    response, final = seen.rewards_of("later")
    assert (response["stage"], response["outcomes"]["clicked"]) == ("response", False)
    assert (final["stage"], final["outcomes"]["clicked"]) == ("final", True)
    assert final["outcomes"]["clicked_at"] == "2026-03-02T22:00:00Z"


def test_a_click_read_after_the_final_is_a_correction(seen: Seen) -> None:
    """It lay in the response window and was read days later: totals and difference say so."""
    rewards = seen.rewards_of("late")
    assert stages(rewards) == ["response", "final", "correction"]
    assert [reward["outcomes"]["clicked"] for reward in rewards] == [False, False, True]
    assert rewards[2]["difference"] == pytest.approx(rewards[2]["reward"] - rewards[1]["reward"])
    assert rewards[2]["difference"] > 0


def test_an_outcome_of_an_unknown_strategy_is_explained(seen: Seen) -> None:
    """Hours later a letter names field, value and event; the books count its event once, as folded."""
    [letter] = seen.letters_of("nobodys")
    assert (letter["reason"], letter["field"], letter["value"]) == (
        "unknown_strategy", "properties.strategy_id", NOBODYS,
    )  # fmt: skip
    said = json.loads(letter["original"])
    assert (said["event"], said["properties"]) == ("Promotion Clicked", {"strategy_id": NOBODYS})
    assert said["messageId"].startswith("m")
    assert seen.books.fates[ADS_EVENTS.name].keys() == {"folded", "clock"}


def test_the_books_balance(seen: Seen) -> None:
    """Every record of the inputs has one fate, letters about what was folded apart."""
    books = seen.world.books()
    for topic in INPUTS:
        assert sum(books.fates[topic.name].values()) == sum(seen.world.ends(topic).values())
    assert books.outbox == 0


def test_letters_without_a_record_are_not_sent_again(seen: Seen) -> None:
    """`stratagem dead-letters replay` leaves them alone: there is no topic that they came from."""
    settings = seen.world.settings
    for reason in ("unknown_strategy", "bug"):
        found = list(chosen(lambda: read_all(settings, DEAD_LETTERS), Choice(reason)))
        assert found
        assert replay(settings, found) == Sent(0, [], len(found))


def test_a_product_that_no_catalog_has_is_remembered_and_valued(seen: Seen) -> None:
    """Viewed, wished and bought: in the profile without category or taste; its margin is the default share."""
    profile = seen.rows["stranger"]["profile"]
    assert profile["views"][0][1:] in (["p-nowhere"], ["p-nowhere", ""])
    assert "p-nowhere" in profile["bought"]
    assert "categories" not in profile
    final = seen.rewards_of("stranger")[-1]
    assert final["outcomes"]["horizon_margin_minor"] == 250  # a quarter of 10.00
    assert seen.letters_of("stranger") == []
    assert "after-stranger" in seen.rows


def test_costs_of_an_unknown_campaign_count_for_their_strategy(seen: Seen) -> None:
    """The strategy that is named bears them, whatever the campaign is called."""
    final = seen.rewards_of("stranger")[-1]
    assert (final["strategy_id"], final["stage"]) == (strategy_of("stranger"), "final")
    assert final["outcomes"]["cost_minor"] == 30


def test_an_unknown_category_has_no_candidates(seen: Seen) -> None:
    """What is asked for and not there is recorded as such."""
    assert ("decision_requested", "no_candidates") in seen.reasons("wanting")


@pytest.mark.parametrize(
    ("who", "trigger"), [("cart", "cart_abandoned"), ("price", "price_drop"), ("camp", "campaign_start")]
)
def test_our_bug_in_what_time_brings_is_dead_lettered(seen: Seen, who: str, trigger: str) -> None:
    """The letter says what failed with whom, with the traceback; who goes without the bug is reached."""
    letter = seen.letters_of(f"bug-{who}")[0]
    assert (letter["reason"], letter["blame"], letter["field"]) == ("bug", "us", trigger)
    assert "ZeroDivisionError: injected" in letter["traceback"]
    assert json.loads(letter["original"])["userId"] == f"bug-{who}"
    assert trigger not in {due["trigger"] for due in seen.rows[f"bug-{who}"]["due"]}
    made = [*seen.requests, *seen.suppressions]
    assert trigger in {each["trigger"] for each in made if each["user_id"] == f"well-{who}"}
    assert trigger not in {each["trigger"] for each in made if each["user_id"] == f"bug-{who}"}


@pytest.mark.parametrize(
    ("who", "trigger"), [("cart", "cart_abandoned"), ("price", "price_drop"), ("camp", "campaign_start")]
)
def test_a_pause_holds_for_what_comes_by_itself(seen: Seen, who: str, trigger: str) -> None:
    """Timers, price drops and campaigns are recorded as paused, and not asked."""
    assert (trigger, "paused") in seen.reasons(f"paused-{who}")
    assert trigger not in {each["trigger"] for each in seen.requests if each["user_id"] == f"paused-{who}"}


def test_who_is_not_heard_of_is_forgotten(seen: Seen) -> None:
    """After the retention the row is gone, but for what was refused; who comes back begins anew, in the same arm."""
    before, after = seen.rows["stranger"], seen.rows_later["stranger"]
    assert len(after["profile"]["views"]) == 1
    assert "bought" not in after["profile"]
    assert after["arm"] == before["arm"]
    assert seen.rows_later["refuser"]["profile"].keys() == {"consent"}
    assert len(seen.rows_later["faithful"]["profile"]["views"]) == 2


def test_everything_published_is_valid_by_the_committed_schemas(seen: Seen) -> None:
    """Requests, suppressions, rewards, progress and the headers of dead letters, by an independent validator."""
    published = {
        REQUESTS: seen.requests,
        SUPPRESSIONS: seen.suppressions,
        REWARDS: seen.rewards,
        PROGRESS: seen.progress,
        DEAD_LETTERS: seen.letters,
    }
    for topic, messages in published.items():
        assert messages
        check = validator(topic.name)
        for message in messages:
            check.validate(message)
