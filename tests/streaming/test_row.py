"""The row: canonical bytes, guards, memory of message ids."""

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming.profile_parts import View
from streaming.row import (
    Due,
    Row,
    applied_key,
    decode_row,
    encode_row,
    erase,
    is_replay,
    join_ids,
    remember,
    remembers,
    with_applied,
)
from streaming.rules import Rules
from streaming.stamps import Stamp, digest, newest
from tests.streaming import customer_samples as shop
from tests.streaming.test_profile import histories

ROWS = st.builds(
    lambda events, offset, name: replace(
        with_applied(remember(shop.row_of(*events), name, Rules()), applied_key("u1", "shop.events", 3), offset),
        alias_of=name or None,
    ),
    histories(), st.integers(0, 2**53), st.text(max_size=20),
)  # fmt: skip


@settings(derandomize=True, deadline=None, max_examples=80)
@given(ROWS)
def test_the_codec_returns_what_it_was_given(row: Row) -> None:
    """Any row survives its bytes, and equal rows have equal bytes."""
    assert decode_row(encode_row(row)) == row
    assert encode_row(decode_row(encode_row(row))) == encode_row(row)


def test_bytes_do_not_depend_on_the_order_of_keys() -> None:
    """Two rows that differ only in the order in which keys were set have the same bytes."""
    one = with_applied(with_applied(Row("u1", "fused"), "a", 1), "b", 2)
    other = with_applied(with_applied(Row("u1", "fused"), "b", 2), "a", 1)
    assert encode_row(one) == encode_row(other)


def test_offsets_only_grow() -> None:
    """A record at or below the applied offset is a replay; applying it again changes nothing."""
    row = with_applied(Row("u1", "fused"), "u1|shop.events|0", 5)
    assert is_replay(row, "u1|shop.events|0", 5)
    assert not is_replay(row, "u1|shop.events|0", 6)
    assert not is_replay(row, "u1|ads.events|0", 0)
    assert with_applied(row, "u1|shop.events|0", 4) is row


def test_no_more_are_kept_than_the_limit() -> None:
    """The newest, in order, for any limit; one alone as well."""
    views = tuple(View(Stamp(at_ms), f"p{at_ms}") for at_ms in range(4))
    for limit in (1, 2, 3):
        assert newest(views[:3], views[3], limit) == views[-limit:]


def test_offsets_are_those_of_one_topic() -> None:
    """What was applied of a topic says nothing of one that was made anew; what an older program noted counts for any."""
    first, second = (applied_key("an|on", "shop.events", 2, each) for each in ("first", "second"))
    row = with_applied(Row("u1", "fused"), first, 5)
    assert is_replay(row, first, 5)
    assert not is_replay(row, second, 0)
    older = with_applied(Row("u1", "fused"), applied_key("an|on", "shop.events", 2), 5)
    assert is_replay(older, first, 5)
    assert not is_replay(with_applied(older, first, 7), first, 8)
    assert is_replay(with_applied(older, first, 7), first, 7)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=60), st.integers(16, 24))
def test_the_last_message_ids_are_remembered(names: list[str], limit: int) -> None:
    """Of any ids the last `max_message_ids` are remembered, older ones forgotten."""
    row, rules = Row("u1", "fused"), Rules(max_message_ids=limit)
    unique = list(dict.fromkeys(names))
    for name in unique:
        row = remember(row, name, rules)
    assert [remembers(row, name) for name in unique] == [at >= len(unique) - limit for at in range(len(unique))]


def test_a_digest_across_two_others_is_not_remembered() -> None:
    """Eight bytes that straddle two remembered digests are no message."""
    rng = random.Random(0)
    row = Row("u1", "fused", message_ids=rng.randbytes(4) + digest("x") + rng.randbytes(4))
    assert not remembers(row, "x")


def test_memories_join_without_doubles() -> None:
    """Joined memories hold every id once, the newer ones last."""
    one, other = digest("a") + digest("b"), digest("b") + digest("c")
    assert join_ids(one, other, Rules()) == digest("a") + digest("b") + digest("c")


def test_an_erased_customer_keeps_only_guards() -> None:
    """The tombstone holds arm, offsets and message ids, and nothing that was known."""
    row = remember(with_applied(shop.row_of(shop.viewed(1)), "k", 7), "m", Rules())
    gone = erase(row)
    assert gone.erased
    assert (gone.applied, gone.message_ids, gone.arm) == (row.applied, row.message_ids, row.arm)
    assert gone.profile == Row("u1", "fused").profile
    assert gone.due == ()


def test_a_row_is_compact() -> None:
    """A busy customer's row stays below 16 kB: hundreds of thousands fit in a small Redis."""
    rng = random.Random(1)
    events = [
        shop.about(
            "Product Added" if at % 3 else "Product Viewed", rng.randrange(40), shop.NOON_MS + at * 60_000, price="2.00"
        )
        for at in range(600)
    ]
    row = shop.row_of(*events)
    for event in events:
        row = remember(row, event.message_id, Rules())
    assert len(encode_row(row)) < 16_000


def test_timers_are_ordered_by_time() -> None:
    """A timer's order is its time's."""
    assert Due(1, "cart_abandoned", "z") < Due(2, "cart_abandoned", "a")
    assert msgspec.json.decode(msgspec.json.encode(Due(1, "cart_abandoned", "z")), type=Due).at_ms == 1
