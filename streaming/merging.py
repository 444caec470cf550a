"""An anonymous row becomes part of a user's, across buckets, in steps that may be repeated after any crash.

Freeze the anonymous row with its guards, write the user's row, leave a pointer. The intent lies in the outbox of the
user's bucket until all of it is done. Each step is one guarded call to one bucket.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec.structs import replace

from streaming import attribution, identity
from streaming.bucket import Bucket
from streaming.closing import told
from streaming.contracts.partition import bucket_of
from streaming.core import Context, Result, State, known_state
from streaming.effects import Merge
from streaming.folding import Folding
from streaming.open_state import OpenState
from streaming.row import Row, applied_key, with_applied
from streaming.store import Store

Owned = tuple[int, str]
"""Bucket and user id of the row that an anonymous id's records belong to."""
MAX_HOPS = 4
"""An anonymous id points at a user, who points nowhere; more hops would be a bug."""


class Edge(Protocol):
    """The processor, as far as it is used here."""

    store: Store

    def context(self) -> Context:
        """The context of decisions."""
        ...

    async def load(self, numbers: Iterable[int]) -> None:
        """Load buckets."""
        ...

    async def finish(self, foldings: dict[int, Folding], context: Context) -> None:
        """Write, cache, report, publish."""
        ...


async def owners(edge: Edge, users: Mapping[str, int]) -> dict[str, Owned]:
    """Of these customers (id → bucket, read before) those whose records belong to another row, which is read too.

    A merge that was begun and not finished is finished first. Reading an owner's bucket carries out what was left in
    its outbox, by which a customer who was looked at before may have got another owner: all are looked at again.
    """
    found = await _followed(edge, users)
    while found and (again := await _followed(edge, users)) != found:
        found = again
    return found


async def _followed(edge: Edge, users: Mapping[str, int]) -> dict[str, Owned]:
    found: dict[str, Owned] = {}
    for user, number in users.items():
        state = edge.store.bucket(number).states.get(user)
        at, owner = number, user
        for _ in range(MAX_HOPS):
            if state is None or state.row.alias_of is None:
                break
            if state.row.state == "frozen":
                await merge_rows(edge, Merge(state.row.alias_of, owner, _cause(state.row), 0))
            owner = state.row.alias_of
            at = bucket_of(owner, len(edge.store.bucket_numbers))
            await edge.load([at])
            await edge.store.read({at: [owner]})
            state = edge.store.bucket(at).states.get(owner)
        if owner != user:
            found[user] = (at, owner)
    return found


async def merge_rows(edge: Edge, merge: Merge) -> None:
    """Make two rows one; does nothing where that was done, or where the alias is somebody else's."""
    buckets = len(edge.store.bucket_numbers)
    context = edge.context()
    alias_at, user_at = bucket_of(merge.alias, buckets), bucket_of(merge.user_id, buckets)
    await edge.load([alias_at, user_at])
    await edge.store.read({alias_at: [merge.alias]})
    await edge.store.read({user_at: [merge.user_id]})
    alias = known_state(_state(edge.store, alias_at, merge.alias), merge.alias, merge.at_ms, context.rules)
    user = known_state(_state(edge.store, user_at, merge.user_id), merge.user_id, merge.at_ms, context.rules)
    guarded = alias.row if alias.row.alias_of else _with_guards(alias.row, edge.store.bucket(alias_at))
    planned = identity.plan(user.row, guarded, merge.message_id, merge.at_ms, context.rules)
    if planned is None:
        return
    await _put(edge, alias_at, State(planned.frozen, alias.open), context)
    if merge.alias not in user.row.merged:
        step = attribution.on_merge(user.open, alias.open, merge.message_id, context.windows)
        closed = told(step, merge.user_id, context.windows)
        result = Result(user, "folded", closed.effects, closed.facts)
        await _put(edge, user_at, State(planned.user, step.state), context, result)
    await _put(edge, alias_at, State(planned.pointer, OpenState()), context, pointer=True)


async def _put(
    edge: Edge, number: int, state: State, context: Context, result: Result | None = None, *, pointer: bool = False
) -> None:
    await edge.load([number])
    user_id = state.row.user_id
    await edge.store.read({number: [user_id]})
    folding = Folding(edge.store.bucket(number).states)
    folding.put(user_id, replace(result, state=state) if result else Result(state, "folded"))
    if pointer:
        folding.writes.counts["aliases"] += 1
    await edge.finish({number: folding}, context)


def _state(store: Store, number: int, user_id: str) -> State | None:
    return store.bucket(number).states.get(user_id)


def _with_guards(row: Row, bucket: Bucket) -> Row:
    """The anonymous row with what its bucket has applied of every topic: its own records below that are in it."""
    for topic, partition, offset in bucket.offsets():
        row = with_applied(row, applied_key(row.user_id, topic, partition), offset - 1)
    return row


def _cause(row: Row) -> str:
    """A message id for a merge whose intent is being carried out by another owner: ties are broken by it alone."""
    return f"merge of {row.user_id}"
