"""Merging an anonymous row: nothing lost, nothing counted twice, whatever step a crash comes after."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming.contracts.events import Event
from streaming.identity import absorb, freeze, join, owner_of, plan, point
from streaming.profile import EMPTY
from streaming.row import Row, applied_key, remember, remembers, with_applied
from tests.streaming import customer_samples as shop
from tests.streaming.customer_samples import NOON_MS, RULES, folded, row_of
from tests.streaming.test_profile import assert_same, histories, plain

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


def test_a_merge_keeps_guards_memory_and_the_users_arm() -> None:
    """The user's row holds both rows' offsets and message ids; its arm stays; the alias becomes a pointer."""
    merge = plan(USER, ALIAS, "m-identify", NOON_MS, RULES)
    assert merge is not None
    assert merge.user.applied == {"u1|shop.events|0": 3, "anon|shop.events|2": 7}
    assert remembers(merge.user, "m-anon")
    assert merge.user.arm == "random"
    assert list(merge.user.profile.aliases) == ["anon"]
    assert (merge.frozen.state, merge.pointer.state) == ("frozen", "pointer")
    assert owner_of(merge.frozen) == owner_of(merge.pointer) == "u1"
    assert merge.pointer.profile == EMPTY
    assert merge.frozen.due == ()
    assert any(due.trigger == "search_without_click" for due in merge.user.due)


def test_every_step_may_be_repeated() -> None:
    """After a crash at any step the same call ends in the same rows; once done there is nothing to do."""
    merge = plan(USER, ALIAS, "m", NOON_MS, RULES)
    assert merge is not None
    for user, alias in ((USER, merge.frozen), (merge.user, merge.frozen)):
        assert plan(user, alias, "m", NOON_MS, RULES) == merge
    assert plan(merge.user, merge.pointer, "m", NOON_MS, RULES) is None
    assert absorb(merge.user, ALIAS, "another", NOON_MS, RULES) == merge.user
    assert freeze(merge.pointer, "u1") == point(merge.pointer) == merge.pointer


def test_the_first_claim_holds() -> None:
    """An anonymous id that is another user's, a row that is an alias itself, and an erased row are not merged."""
    taken = freeze(ALIAS, "u2")
    assert plan(USER, taken, "m", NOON_MS, RULES) is None
    assert plan(replace(USER, alias_of="u9", state="pointer"), ALIAS, "m", NOON_MS, RULES) is None
    assert plan(USER, replace(ALIAS, state="erased"), "m", NOON_MS, RULES) is None
    assert plan(USER, USER, "m", NOON_MS, RULES) is None


def test_an_unknown_alias_becomes_a_pointer_too() -> None:
    """An alias that was never seen still points to its user, so that its late events find them."""
    merge = plan(USER, Row("anon", "fused"), "m", NOON_MS, RULES)
    assert merge is not None
    assert owner_of(merge.pointer) == "u1"
    assert merge.user.profile.orders == USER.profile.orders


def test_memories_of_asking_join() -> None:
    """Caps and cooldowns of both rows hold for the merged one."""
    one = replace(USER, asked=replace(USER.asked, issued_ms=(5,), last_ms={"session_start": 5}, price_minor={"p1": 90}))
    other = replace(
        ALIAS, asked=replace(ALIAS.asked, issued_ms=(3,), last_ms={"session_start": 3}, price_minor={"p1": 80})
    )
    asked = absorb(one, other, "m", NOON_MS, RULES).asked
    assert (asked.issued_ms, asked.last_ms, asked.price_minor) == ((3, 5), {"session_start": 5}, {"p1": 80})
