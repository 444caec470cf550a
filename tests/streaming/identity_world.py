"""Customers' states by id and nothing else: what the agents do with records and merges, without Kafka and Redis. Pure."""

from collections.abc import Iterable

from msgspec import Struct, field

from streaming.contracts.events import Event
from streaming.contracts.strategies import Strategy
from streaming.core import Context, Result, State, known_state, on_record, on_time, timed
from streaming.effects import MERGE, Merge, Publish, merge_of
from streaming.identity import freeze
from streaming.joining import claim_of, joined, pointed, refused


class Customers(Struct):
    """Every customer's state, and all that was published."""

    context: Context
    states: dict[str, State] = field(default_factory=dict)
    told: list[Publish] = field(default_factory=list)

    def owner(self, user_id: str) -> str:
        """Whose an id is."""
        while (state := self.states.get(user_id)) is not None and state.row.alias_of is not None:
            user_id = state.row.alias_of
        return user_id

    def read(self, records: Iterable[Event | Strategy]) -> None:
        """Records in the order in which they are read."""
        for record in records:
            owner = self.owner(record.user_id)
            self._take(on_record(self.states.get(owner), owner, record, self.context))

    def close(self, at_ms: int) -> None:
        """The clock passes a time."""
        for state in [state for state in self.states.values() if state.row.alias_of is None]:
            self._take(on_time(state, Context(self.context.reference, self.context.rules, self.context.windows, at_ms)))

    def _take(self, result: Result) -> None:
        self.states[result.state.row.user_id] = timed(result.state, self.context.rules)
        for effect in result.effects:
            if effect.topic == MERGE:
                self._merge(merge_of(effect))
            else:
                self.told.append(effect)

    def _merge(self, merge: Merge) -> None:
        user, holder = self.owner(merge.user_id), self.owner(merge.alias)
        if user == holder:
            return
        if holder != merge.alias:
            self._take(refused(self.states[user], merge, holder))
            return
        alias = known_state(self.states.get(merge.alias), merge.alias, merge.at_ms, self.context.rules)
        frozen = State(freeze(alias.row, user, claim_of(merge)), alias.open)
        self._take(joined(self.states[user], frozen, self.context))
        self.states[merge.alias] = pointed(frozen)
