"""Folding one batch into one bucket: fates, our own bugs, and writing only what changed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streaming import core, folding
from streaming.contracts.errors import BadEvent
from streaming.contracts.events import Event, SearchProperties
from streaming.core import Context, Result, State
from streaming.dead_letters import Headers
from streaming.folding import Folding, fold_item
from streaming.open_state import Windows
from streaming.reading import Item
from streaming.reference import Reference
from streaming.rules import Rules
from tests.streaming.customer_samples import NOON_MS, SHOP
from tests.streaming.test_profile import histories

CONTEXT = Context(Reference(), Rules(), Windows())
AT_MS = 1_772_452_800_000


class Record:
    """A consumed record."""

    offset = 5
    key: bytes | None = b"ann"
    value: bytes | None = b"original"
    timestamp = AT_MS
    headers: Headers = ()


def search(message_id: str) -> Item:
    """A search of Ann's, read."""
    event = Event(message_id, "Products Searched", "ann", None, AT_MS, SearchProperties("tea"))
    return Item(5, AT_MS, None, message=event, user_id="ann", bucket=1)


def fold(folded: Folding, *items: Item) -> None:
    """Fold items of one partition."""
    for item in items:
        fold_item(folded, item, CONTEXT, topic="shop.events", partition=0, record=Record())


def counts(folded: Folding) -> dict[str, int]:
    """Fates counted."""
    return {field.rsplit("|", 1)[1]: count for field, count in folded.writes.counts.items()}


def test_a_message_is_folded_once() -> None:
    """The second of two equal message ids is a duplicate and changes nothing."""
    folded = Folding({"ann": None})
    fold(folded, search("m1"), search("m1"))
    folded.settle(CONTEXT)
    assert counts(folded) == {"folded": 1, "duplicate": 1}
    assert len(folded.changed["ann"].row.profile.searches) == 1
    assert folded.writes.due_ms["ann"] == folded.changed["ann"].row.due[0].at_ms


@settings(derandomize=True, deadline=None, max_examples=60)
@given(histories(), st.integers(1, 5))
def test_a_batch_gives_what_its_records_give_one_by_one(events: list[Event], size: int) -> None:
    """Row, timers, open state and messages do not depend on how records came together."""
    said = []
    for step in (1, size):
        states: dict[str, State | None] = {"u1": None}
        messages: list[bytes | None] = []
        for at in range(0, len(events), step):
            folded = Folding(states)
            context = replace(CONTEXT, reference=SHOP, watermark_ms=NOON_MS)
            for event in events[at : at + step]:
                item = Item(5, AT_MS, NOON_MS, message=event, user_id="u1", bucket=1)
                fold_item(folded, item, context, topic="shop.events", partition=0, record=Record())
            folded.settle(context)
            states |= folded.states
            messages += [entry.value for entry in folded.writes.outbox]
        after = states["u1"]
        assert after is None or core.timed(after, CONTEXT.rules) is after
        said.append((after and (core.encode_state_row(after), core.encode_open(after)), messages))
    assert said[0] == said[1]


def test_a_duplicate_writes_no_row() -> None:
    """A customer whose state did not change is not written again."""
    first = Folding({"ann": None})
    fold(first, search("m1"))
    second = Folding({"ann": first.changed["ann"]})
    fold(second, search("m1"))
    second.settle(CONTEXT)
    assert not second.writes.rows
    assert not second.writes.due_ms


def test_a_customer_who_was_not_read_is_not_taken_for_a_new_one() -> None:
    """Folding somebody whose row was not read is our bug, and never a row overwritten by an empty one."""
    with pytest.raises(KeyError):
        Folding({}).state("ann")


def test_our_own_bug_is_tried_once_more_then_dead_lettered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone and before any later event of the row; the letter names the bug and holds the traceback."""
    tries: list[str] = []
    real = core.on_record

    def buggy(state: State | None, user: str, message: Any, context: Context) -> Result:
        tries.append(message.message_id)
        if message.message_id == "m2":
            raise ZeroDivisionError("ours")
        return real(state, user, message, context)

    monkeypatch.setattr(folding, "on_record", buggy)
    folded = Folding({"ann": None})
    fold(folded, search("m1"), search("m2"), search("m3"))
    assert tries == ["m1", "m2", "m2", "m3"]
    assert counts(folded) == {"folded": 2, "dead_lettered": 1}
    letter = next(entry for entry in folded.writes.outbox if entry.topic == "dead-letters")
    headers = dict(letter.headers)
    assert (letter.value, headers["reason"], headers["blame"]) == (b"original", b"bug", b"us")
    assert b"ZeroDivisionError: ours" in headers["traceback"]
    assert [fact.name for fact in folded.facts].count("bugs") == 1


def test_a_bug_that_passes_at_the_second_try_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is folded as if nothing had been."""
    left = [RuntimeError("once")]
    real = core.on_record

    def flaky(*args: Any) -> Result:
        if left:
            raise left.pop()
        return real(*args)

    monkeypatch.setattr(folding, "on_record", flaky)
    folded = Folding({"ann": None})
    fold(folded, search("m1"))
    assert counts(folded) == {"folded": 1}


def test_what_the_core_refuses_is_the_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `BadEvent` from the fold is dead-lettered with its three facts, without a second try."""

    def refuse(*_: Any) -> Result:
        raise BadEvent("properties.products", "[]", "at least one line")

    monkeypatch.setattr(folding, "on_record", refuse)
    folded = Folding({"ann": None})
    fold(folded, search("m1"))
    headers = dict(folded.writes.outbox[0].headers)
    assert (headers["field"], headers["wanted"]) == (b"properties.products", b"at least one line")
    assert headers["blame"] == b"sender"
    assert not folded.changed
