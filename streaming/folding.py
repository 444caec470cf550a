"""Folds the items of one batch into one bucket: states in, states and writes out. Pure."""

import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from streaming.contracts.errors import BadEvent
from streaming.contracts.tracing import said
from streaming.core import (
    Context,
    Result,
    State,
    encode_open,
    encode_state_row,
    may_want_otherwise,
    next_due_ms,
    on_record,
    timed,
    wanted,
)
from streaming.dead_letters import BUG, Deed, Origin, bug_letter, refused, tripped
from streaming.effects import Fact, Publish
from streaming.keys import fate_field
from streaming.reading import Fate, Incoming, Item
from streaming.retention import forgotten, removable
from streaming.rules import Rules
from streaming.writes import Writes

T = TypeVar("T")


class Folding:
    """What one batch changes in one bucket.

    Attributes:
        writes: for the script.
        changed: customers with their new states.
        removed: customers whose rows go.
        facts: to be reported once the writes are in Redis.
    """

    def __init__(self, states: Mapping[str, State | None]) -> None:
        """Begin with the states as read; None for a customer without a row."""
        self._before = states
        self.writes = Writes()
        self.changed: dict[str, State] = {}
        self._fields: dict[tuple[str, int, Fate], str] = {}
        self.removed: set[str] = set()
        self.facts: list[Fact] = []

    def state(self, user_id: str) -> State | None:
        """The customer's state as of now; the customer must have been read."""
        return self.changed.get(user_id) or self._before[user_id]  # who was not read must not look like a new one

    def put(self, user_id: str, result: Result) -> None:
        """Take over a new state with its effects."""
        if result.state is not (self.changed.get(user_id) or self._before[user_id]):
            self.changed[user_id] = result.state
        if result.effects:
            self.writes.outbox.extend(result.effects)
        if result.facts:
            self.facts.extend(result.facts)
        if result.ordered:
            self.writes.ordered.update(dict(result.ordered))

    def count(self, topic: str, partition: int, fate: Fate) -> None:
        """One record had this fate."""
        field = self._fields.get((topic, partition, fate))
        if field is None:
            field = self._fields[topic, partition, fate] = fate_field(topic, partition, fate)
        self.writes.counts[field] += 1

    @property
    def told(self) -> list[Fact]:
        """All facts, and how many records had which fate: one fact for each fate, because records are many."""
        counted = [
            Fact("events", {"topic": topic, "fate": fate}, float(self.writes.counts[field]))
            for (topic, _, fate), field in self._fields.items()
        ]
        return counted + self.facts

    def letter(self, letter: Publish, reason: str) -> None:
        """A record goes to the dead letters."""
        self.writes.outbox.append(letter)
        self.facts.append(Fact("dead_letters", {"reason": reason}))

    def forget(self, user_id: str, horizon_ms: int, rules: Rules) -> bool:
        """Remove what may be removed of a customer; whether there was anything."""
        state = self.state(user_id)
        if state is None or not state.open.empty or not removable(state.row, horizon_ms, rules):
            return False
        left = forgotten(state.row)
        if left == state.row:
            return False
        if left is not None:
            self.changed[user_id] = State(left)
            return True
        self.removed.add(user_id)
        self.writes.rows[user_id] = None
        self.writes.due_ms[user_id] = None
        self.writes.want(user_id, wanted(state), ())
        return True

    @property
    def states(self) -> dict[str, State | None]:
        """Everybody who is another now, for the cache."""
        return {**self.changed, **dict.fromkeys(self.removed)}

    def own_bug(self, user_id: str, deed: Deed, error: Exception) -> None:
        """Our own bug in what no record asked for goes to the dead letters, and is reported."""
        self.bug(bug_letter(user_id, deed, error), error)

    def bug(self, letter: Publish, error: Exception) -> None:
        """A letter about our own bug, and the bug as a fact."""
        self.letter(letter, BUG)
        self.facts.append(Fact("bugs", {"traceback": "".join(traceback.format_exception(error))}))

    def settle(self, context: Context) -> None:
        """Turn the changed states into writes; a part that did not change is not written."""
        for user_id in self.changed:
            before = self._before.get(user_id)
            after = self._timed(user_id, before, context)
            if before is None or after.row is not before.row:
                self.writes.rows[user_id] = encode_state_row(after)
                if before is None or may_want_otherwise(before, after):
                    self.writes.want(user_id, wanted(before), wanted(after))
            if after.open is not before.open if before is not None else not after.open.empty:
                self.writes.open[user_id] = encode_open(after)
            if user_id not in self.writes.due_ms:
                self._set_due(user_id, before, after, context)

    def _timed(self, user_id: str, before: State | None, context: Context) -> State:
        """The customer's new state, with other timers where records have changed the profile that they follow from."""
        after = self.changed[user_id]
        if before is not None and after.row.profile is before.row.profile:
            return after
        found = self._tried(user_id, "timers", context, lambda: timed(after, context.rules))
        if found is not None:
            self.changed[user_id] = found
        return self.changed[user_id]

    def _set_due(self, user_id: str, before: State | None, after: State, context: Context) -> None:
        """Move the customer in the index of due times, if anything is due at another time than before."""
        found = self._tried(
            user_id,
            "due_time",
            context,
            lambda: (next_due_ms(after, context), next_due_ms(before, context) if before is not None else None),
        )
        if found is not None and found[0] != found[1]:
            self.writes.due_ms[user_id] = found[0]

    def _tried(self, user_id: str, what: str, context: Context, act: Callable[[], T]) -> T | None:
        """What it gives; None after a second bug, which is reported: one customer must not stop the stream (law 7)."""
        for last_try in (False, True):
            try:
                return act()
            except Exception as error:  # noqa: BLE001 -- see above
                if last_try:
                    self.own_bug(user_id, Deed(what, "", context.watermark_ms or 0), error)
        return None


def fold_item(folding: Folding, item: Item, context: Context, *, topic: str, partition: int, record: Incoming) -> None:
    """One item of a customer of this bucket: folded, or dead-lettered with the reason.

    Our own bug is tried once more, alone and before any later event of the row, then dead-lettered as `bug`.
    """
    assert item.message is not None
    if record.headers and (traceparent := said(record.headers)):
        context = replace(context, traceparent=traceparent)
    for last_try in (False, True):
        try:
            result = on_record(folding.state(item.user_id), item.user_id, item.message, context)
        except BadEvent as error:
            origin = Origin(topic, partition, item.timestamp_ms)
            folding.letter(refused(record, origin, "bad_field", error), "bad_field")
            folding.count(topic, partition, "dead_lettered")
            return
        except Exception as error:  # noqa: BLE001 -- our own bug must neither stop the stream nor be swallowed (law 7)
            if last_try:
                origin = Origin(topic, partition, item.timestamp_ms)
                folding.bug(tripped(record, origin, error, "code that handles this record"), error)
                folding.count(topic, partition, "dead_lettered")
                return
        else:
            folding.put(item.user_id, result)
            folding.count(topic, partition, result.fate)
            return


def count_without_customer(folding: Folding, items: Iterable[Item], topic: str, partition: int) -> None:
    """Records that belong to nobody: ignored, clocks, and what could not be read."""
    for item in items:
        assert item.fate is not None
        folding.count(topic, partition, item.fate)
        if item.letter is not None:
            folding.letter(item.letter, item.reason)
