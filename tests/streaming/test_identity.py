"""Merging an anonymous row: nothing lost, nothing counted twice, whatever step a crash comes after."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming.contracts.events import Event
from streaming.core import Context, State, on_time
from streaming.effects import Merge, Publish
from streaming.identity import MAX_CONFLICTS, MAX_MERGED, absorb, freeze, join, owner_of, point, thaw
from streaming.joining import CONFLICT, joined, refused
from streaming.open_state import Windows
from streaming.profile import EMPTY
from streaming.row import Claim, Due, Row, applied_key, remember, remembers, with_applied
from streaming.triggers import with_campaign
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import DAY_MS, NOON_MS, RULES, folded, row_of
from tests.streaming.test_profile import assert_same, histories, plain

CLAIM = Claim(NOON_MS, "m-identify")

ALIAS = with_applied(
    remember(replace(row_of(shop.viewed(1, NOON_MS - 1), shop.search("tea")), user_id="anon"), "m-anon", RULES),
    applied_key("anon", "shop.events", 2),
    7,
)
USER = with_applied(
    row_of(shop.order("o1", {1: "2.00"}, NOON_MS + 1), arm="random"), applied_key("u1", "shop.events", 0), 3
)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(histories(), st.randoms(use_true_random=False))
def test_a_merged_profile_is_that_of_all_events(events: list[Event], rng: random.Random) -> None:
    """Events split over two rows and joined give the profile of one row that saw them all."""
    split = [rng.random() < 0.5 for _ in events]
    one = folded(*(event for event, mine in zip(events, split, strict=True) if mine))
    other = folded(*(event for event, mine in zip(events, split, strict=True) if not mine))
    assert_same(plain(join(one, other)), plain(folded(*events)))
    assert_same(plain(join(other, one)), plain(folded(*events)))


def merged(user: Row = USER, alias: Row = ALIAS, claim: Claim = CLAIM) -> Row:
    """The user's row after a merge."""
    return absorb(user, freeze(alias, user.user_id, claim), RULES)


def test_a_merge_keeps_guards_memory_and_the_users_arm() -> None:
    """The user's row holds both rows' offsets and message ids; its arm stays; the alias becomes a pointer."""
    frozen = freeze(ALIAS, "u1", CLAIM)
    user, pointer = absorb(USER, frozen, RULES), point(frozen)
    assert user.applied == {"u1|shop.events|0": 3, "anon|shop.events|2": 7}
    assert remembers(user, "m-anon")
    assert user.arm == "random"
    assert list(user.profile.aliases) == ["anon"]
    assert (frozen.state, pointer.state) == ("frozen", "pointer")
    assert owner_of(frozen) == owner_of(pointer) == "u1"
    assert (pointer.profile, pointer.claim) == (EMPTY, CLAIM)
    assert any(due.trigger == "search_without_click" for due in user.due)


def test_what_was_merged_is_not_merged_again() -> None:
    """After a crash at any step the same steps end in the same rows, whoever merges the user on meanwhile."""
    user, frozen = merged(), freeze(ALIAS, "u1", CLAIM)
    assert absorb(user, frozen, RULES) == user
    further = absorb(replace(USER, user_id="u2"), freeze(user, "u2", Claim(NOON_MS + 1, "m2")), RULES)
    assert further.merged.keys() == {"anon", "u1"}
    assert absorb(further, frozen, RULES) == further


def test_an_unknown_alias_becomes_a_pointer_too() -> None:
    """An alias that was never seen still points to its user, so that its late events find them."""
    frozen = freeze(Row("anon", "fused"), "u1", CLAIM)
    assert owner_of(point(frozen)) == "u1"
    user = absorb(USER, frozen, RULES)
    assert user.profile.orders == USER.profile.orders


def test_timers_move_to_the_user_once() -> None:
    """A campaign's timer of the anonymous row fires in the user's, unless the user has been reached already."""
    campaign = shop.campaign("c1")
    waiting, told = (with_campaign(row, campaign, 0, NOON_MS, RULES) for row in (ALIAS, USER))
    starts = [due for due in waiting.due if due.trigger == "campaign_start"]
    frozen = freeze(waiting, "u1", CLAIM)
    context = Context(shop.SHOP, RULES, Windows(), watermark_ms=NOON_MS + DAY_MS)
    assert frozen.due == waiting.due
    assert on_time(State(frozen), context).state == State(frozen)
    fired = replace(told, due=())
    for user, wanted in (
        (USER, starts),
        (told, [due for due in told.due if due.trigger == "campaign_start"]),
        (fired, []),
    ):
        assert [due for due in absorb(user, frozen, RULES).due if due.trigger == "campaign_start"] == wanted
    gone = freeze(replace(waiting, due=()), "u1", CLAIM)
    assert [due for due in absorb(told, gone, RULES).due if due.trigger == "campaign_start"] == []
    assert isinstance(starts[0], Due)


@pytest.mark.parametrize(("arm", "mixed"), [("fused", True), ("random", False)])
def test_a_customer_of_two_arms_is_marked(arm: str, mixed: bool) -> None:  # noqa: FBT001 -- a case's value
    """Marked for good where the other row is in another arm, whatever was asked of it so far."""
    user = merged(alias=replace(ALIAS, arm=arm))
    assert user.mixed_arms == mixed
    assert merged(replace(USER, user_id="u9"), user, Claim(NOON_MS + 1, "m")).mixed_arms == mixed


def test_a_name_that_everybody_is_said_to_be_stays_small() -> None:
    """Guards of the ids claimed last are kept, with the one just merged, however early it was claimed."""
    user = USER
    for number in range(3 * MAX_MERGED):
        name = f"a|{number:03}"
        device = with_applied(Row(name, "fused"), applied_key(name, "shop.events", 0), number)
        user = merged(user, device, Claim(NOON_MS + number if number % 2 else 0, "m"))
        assert name in user.merged
        assert applied_key(name, "shop.events", 0) in user.applied
    assert len(user.merged) == MAX_MERGED
    assert len(user.applied) == MAX_MERGED + 1
    assert user.applied["u1|shop.events|0"] == 3  # the user's own


def test_a_refused_claim_is_told_once() -> None:
    """The row remembers the last refused ids; one letter each says who holds the id."""
    state = State(USER)
    letters: list[Publish] = []
    for number in (*range(MAX_CONFLICTS + 3), MAX_CONFLICTS):
        result = refused(state, Merge("u1", f"a{number}", f"m{number}", NOON_MS), "u2")
        state, letters = result.state, [*letters, *result.effects]
    assert state.row.conflicts == tuple(f"a{number}" for number in range(3, MAX_CONFLICTS + 3))
    assert len({letter.id for letter in letters}) == len(letters) == MAX_CONFLICTS + 3
    headers = dict(letters[0].headers)
    assert (headers["reason"], headers["field"], headers["value"]) == (CONFLICT.encode(), b"anonymousId", b"a0")
    assert b"merged into u2" in headers["wanted"]


def test_of_claims_in_a_circle_the_earliest_holds() -> None:
    """Whoever looks thaws the same row: the last claimed of the frozen ones, as it was before."""
    one, other = freeze(USER, "anon", Claim(NOON_MS, "m2")), freeze(ALIAS, "u1", Claim(NOON_MS, "m1"))
    assert thaw([one, other]) == thaw([other, one]) == USER
    assert thaw([one, point(other)]) == USER
    assert thaw([point(one), point(other)]) is None


def test_an_erased_user_learns_nothing() -> None:
    """The guards of an id that was being merged are kept, what it knew is not."""
    gone = replace(USER, profile=EMPTY, due=(), state="erased")
    user = joined(State(gone), State(freeze(ALIAS, "u1", CLAIM)), Context(shop.SHOP, RULES, Windows())).state.row
    assert (user.profile, user.due, user.erased) == (EMPTY, (), True)
    assert user.applied["anon|shop.events|2"] == 7


def test_memories_of_asking_join() -> None:
    """Caps and cooldowns of both rows hold for the merged one."""
    one = replace(USER, asked=replace(USER.asked, issued_ms=(5,), last_ms={"session_start": 5}, price_minor={"p1": 90}))
    other = replace(
        ALIAS, asked=replace(ALIAS.asked, issued_ms=(3,), last_ms={"session_start": 3}, price_minor={"p1": 80})
    )
    asked = merged(one, other).asked
    assert (asked.issued_ms, asked.last_ms, asked.price_minor) == ((3, 5), {"session_start": 5}, {"p1": 80})
