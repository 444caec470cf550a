"""What is served after each decision."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from model.roles import anchored, by_hand, changed, former, on_trial, refreshed, rolled_back, without_canary
from streaming.contracts.adapters import BASE_ALONE, Serving, Version
from streaming.contracts.errors import BadEvent

AT = datetime(2026, 3, 1, tzinfo=UTC)
FIRST = Serving(0, 0, BASE_ALONE, BASE_ALONE, "", "critic-1", {}, 0.0, AT)


def test_a_line_is_tried_beside_where_it_began_and_keeps_its_anchor() -> None:
    """The first step begins the trial of the base; later ones change neither anchor nor salt."""
    one = refreshed(FIRST, "a1", 0.1)
    assert (one.champion, one.anchor, one.anchor_share, one.anchor_trial) == ("a1", BASE_ALONE, 0.1, 1)
    two = refreshed(one, "a2", 0.1)
    assert (two.champion, two.anchor, two.salts) == ("a2", BASE_ALONE, one.salts)


def test_every_trial_has_a_salt_of_its_own() -> None:
    """Renewed, tried again, rolled back, a canary twice: never the same customers by construction."""
    serving, salts = refreshed(FIRST, "a1", 0.1), set()
    for sequence in range(1, 9):
        serving = anchored(replace(serving, sequence=sequence), "a1", 0.1, trial=sequence)
        serving = on_trial(serving, "c", 0.2)
        salts |= set(serving.salts.values())
    assert len(salts) == 16
    assert (serving.canary, serving.canary_share) == ("c", 0.2)
    assert without_canary(serving).salts.keys() == {"anchor"}


def test_a_change_that_is_promoted_begins_a_line() -> None:
    """It is champion and anchor, owes nothing, and nothing is on trial any more."""
    serving = anchored(on_trial(refreshed(FIRST, "a1", 0.1), "c", 0.2), "a1", 0.1, trial=3, carried=0.02)
    after = changed(serving, "c", 0.1)
    assert (after.champion, after.anchor, after.canary, after.canary_share) == ("c", "c", "", 0.0)
    assert (after.anchor_trial, after.anchor_carried) == (1, 0.0)
    assert after.salts["anchor"] != serving.salts["anchor"]


def test_a_line_that_is_rolled_back_owes_what_it_owed() -> None:
    """Its anchor is served, its next trial has a smaller part of alpha, and the loss carried stays."""
    serving = anchored(refreshed(FIRST, "a5", 0.1), "a2", 0.1, trial=2, carried=0.01)
    after = rolled_back(serving, 0.1)
    assert (after.champion, after.anchor, after.anchor_trial, after.anchor_carried) == ("a2", "a2", 3, 0.01)


def test_an_operator_acts_in_an_epoch_of_its_own() -> None:
    """Promote, take a canary off, withdraw a champion: each raises the epoch; what has no such role is refused."""
    serving = on_trial(refreshed(FIRST, "a1", 0.1), "c", 0.2)
    promoted = by_hand(serving, 0.1, promote="x")
    assert (promoted.epoch, promoted.champion, promoted.anchor, promoted.canary) == (1, "x", "x", "c")
    assert by_hand(serving, 0.1, promote="c").canary == ""
    assert by_hand(serving, 0.1, withdraw="c").champion == "a1"
    back = by_hand(serving, 0.1, withdraw="a1", to=BASE_ALONE)
    assert (back.epoch, back.champion, back.canary) == (1, BASE_ALONE, "c")
    for wrong in ({"withdraw": "nobody"}, {"withdraw": "a1"}, {"withdraw": "a1", "to": "a1"}, {"withdraw": ""}):
        with pytest.raises(BadEvent):
            by_hand(without_canary(serving), 0.1, **wrong)


def test_a_champion_goes_back_to_its_anchor_or_to_its_parent() -> None:
    """To what still stands; the base always does; from the base there is no way back."""
    versions = {
        name: Version(name, "adapter", "", "", "", "", parent, AT, {}, {})
        for name, parent in (("a2", "a1"), ("a1", "base"))
    }
    served = refreshed(FIRST, "a2", 0.1)
    assert former(served, versions) == BASE_ALONE
    assert former(anchored(served, "a1", 0.1), versions) == "a1"
    assert former(anchored(served, "a2", 0.1), versions) == "a1"
    assert former(anchored(served, "a2", 0.1), {"a2": versions["a2"]}) == BASE_ALONE
    assert former(FIRST, versions) == ""
