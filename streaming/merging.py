"""An anonymous row becomes part of a user's, across buckets, in steps that may be repeated after any crash.

Freeze the anonymous row with its guards, write the user's row, leave a pointer. The intent lies in the outbox of the
user's bucket until all of it is done. Each step is one guarded call to one bucket.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec.structs import replace

from streaming.bucket import Bucket
from streaming.contracts.partition import bucket_of
from streaming.core import Context, Result, State, known_state
from streaming.effects import Merge
from streaming.folding import Folding
from streaming.identity import freeze, thaw
from streaming.joining import claim_of, joined, pointed, refused
from streaming.row import Claim, Row, applied_key, with_applied
from streaming.store import Store

Owned = tuple[int, str]
"""Bucket and user id of the row that an anonymous id's records belong to."""

_log = logging.getLogger(__name__)


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
        if state is not None and state.row.alias_of is not None:
            owner = await _owner(edge, user)
            if owner != user:
                found[user] = (_bucket_of(edge, owner), owner)
    return found


async def merge_rows(edge: Edge, merge: Merge) -> None:
    """Make two rows one; does nothing where that was done.

    Where the alias is somebody else's already, the claim is refused and recorded.
    """
    both = (merge.user_id, merge.alias)
    user, holder = [await _owner(edge, each) for each in both]
    while (again := [await _owner(edge, each) for each in both]) != [user, holder]:
        user, holder = again  # reading the alias carried out a merge of the user
    if user == holder:
        return
    context = edge.context()
    state = known_state(await _read(edge, user), user, merge.at_ms, context.rules)
    if holder != merge.alias:
        await _put(edge, refused(state, merge, holder), state, context)
        return
    alias = known_state(await _read(edge, merge.alias), merge.alias, merge.at_ms, context.rules)
    if alias.row.erased or state.row.erased:
        return
    guarded = _with_guards(alias.row, edge.store.bucket(_bucket_of(edge, merge.alias)), edge.store)
    frozen = State(freeze(guarded, user, claim_of(merge)), alias.open)
    await _put(edge, Result(frozen, "folded"), alias, context)
    await _finish(edge, merge.alias, user)


async def _owner(edge: Edge, user_id: str) -> str:
    """The customer that an id belongs to, itself where it is nobody's alias; merges on the way are finished."""
    path = await _path(edge, user_id)
    while (again := await _path(edge, user_id)) != path:  # reading a bucket carries out what was left in its outbox
        path = again
    for alias in reversed(path[:-1]):
        await _finish(edge, alias, path[-1])
    return path[-1]


async def _path(edge: Edge, user_id: str) -> list[str]:
    """The id, whose it is, whose that is, and so on to a customer."""
    path = [user_id]
    while (state := await _read(edge, path[-1])) is not None and (owner := state.row.alias_of) is not None:
        if owner not in path:
            path.append(owner)
        elif await _thaw(edge, path[path.index(owner) :]):
            path = [user_id]
        else:
            _log.error("pointers in a circle: the last of them is taken for the customer")
            break
    return path


async def _finish(edge: Edge, alias_id: str, user_id: str) -> None:
    """The steps after the freezing; nothing where they were done."""
    alias = await _read(edge, alias_id)
    if alias is None or alias.row.state != "frozen":
        return
    context = edge.context()
    claim = alias.row.claim or Claim()
    user = known_state(await _read(edge, user_id), user_id, claim.at_ms, context.rules)
    await _put(edge, joined(user, alias, context), user, context)
    await _put(edge, Result(pointed(alias), "folded"), alias, context, pointer=True)


async def _thaw(edge: Edge, circle: Iterable[str]) -> bool:
    """Rows were claimed in a circle: the last claim is taken back, unless every merge of them was finished."""
    states = {user: await _read(edge, user) for user in circle}
    row = thaw(state.row for state in states.values() if state is not None)
    state = None if row is None else states[row.user_id]
    if row is None or state is None:
        return False
    _log.warning("two customers were each said to be the other: the earlier claim holds")
    await _put(edge, Result(replace(state, row=row), "folded"), state, edge.context())
    return True


async def _put(edge: Edge, result: Result, before: State, context: Context, *, pointer: bool = False) -> None:
    """Write one customer; nothing where nothing changed."""
    if result.state is before:
        return
    user_id = result.state.row.user_id
    number = _bucket_of(edge, user_id)
    await _read(edge, user_id)
    folding = Folding(edge.store.bucket(number).states)
    folding.put(user_id, result)
    if pointer:
        folding.writes.counts["aliases"] += 1
    await edge.finish({number: folding}, context)


async def _read(edge: Edge, user_id: str) -> State | None:
    number = _bucket_of(edge, user_id)
    await edge.load([number])
    await edge.store.read({number: [user_id]})
    return edge.store.bucket(number).states.get(user_id)


def _bucket_of(edge: Edge, user_id: str) -> int:
    return bucket_of(user_id, len(edge.store.bucket_numbers))


def _with_guards(row: Row, bucket: Bucket, store: Store) -> Row:
    """The anonymous row with what its bucket has applied of every topic: its own records below that are in it."""
    for topic, partition, offset in bucket.offsets():
        key = applied_key(row.user_id, topic, partition, store.incarnation(topic))
        row = with_applied(row, key, offset - 1)
    return row
