"""The Redis store: buckets of customers, read in pipelines and written by one compare-and-set call per bucket.

A cache of a bucket's customers is good exactly as long as the bucket's version is ours: every writer changes the
version, and the call of a writer who read another one is refused as a whole.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

from redis.exceptions import RedisError

from streaming.answering import answering
from streaming.bucket import Bucket
from streaming.core import State, decode_state
from streaming.effects import Publish
from streaming.keys import incarnation_field
from streaming.queries import Queries, entries_of
from streaming.writes import Writes

_SCRIPT = files("streaming.lua").joinpath("apply.lua").read_text("utf-8")
_STAMP = files("streaming.lua").joinpath("stamp.lua").read_text("utf-8")


class Refused(Exception):
    """Another writer was faster: nothing of this bucket's call was written."""

    def __init__(self, bucket: int) -> None:
        """Keep the bucket's number."""
        self.bucket = bucket
        super().__init__(f"bucket {bucket}: the version changed since it was read")


class Reconnected(RedisError):
    """At the other end of a new connection may be a Redis that has lost what the old one was told."""


class Store(Queries):
    """Buckets in Redis.

    What is cached, and what a turn derived from it, is good for one connection. Behind the next one a Redis may have
    lost the write of one bucket and not that of another, which no bucket's version shows: a turn that began before it
    was made has to begin anew.

    Args:
        url: of Redis.
        prefix: of the installation's topics.
        buckets: number of buckets; refused when another number was fixed at first start.
        incarnations: topic → id of the topic now; offsets stored under another id mean nothing and are not read.
        max_cached: customers cached per bucket.

    Attributes:
        recreated: topics whose stored offsets were found void.
        suspect: a connection was lost, and nobody has made sure yet of who answers over the next one.
    """

    def __init__(
        self, url: str, prefix: str, buckets: int, incarnations: Mapping[str, str], max_cached: int = 4000
    ) -> None:
        """Connect lazily: nothing is read yet."""
        super().__init__(url, prefix, buckets)
        self._incarnations = dict(incarnations)
        self._max_cached = max_cached
        self._script = self._redis.register_script(_SCRIPT)
        self._stamp = self._redis.register_script(_STAMP)
        self._cache: dict[int, Bucket] = {}
        self._writer = secrets.token_hex(4)
        self.recreated: set[str] = set()
        self.suspect = False

    async def _greet(self, connection: Any) -> None:
        if self._cache:
            self.suspect = True
            message = "the connection was lost: all is read again"
            raise Reconnected(message)
        await super()._greet(connection)

    def incarnation(self, topic: str) -> str:
        """The id of the topic now; empty where Kafka gives none."""
        return self._incarnations.get(topic, "")

    def bucket(self, number: int) -> Bucket:
        """A loaded bucket."""
        return self._cache[number]

    def holds(self, number: int) -> bool:
        """Whether a bucket is loaded."""
        return number in self._cache

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        """Drop cached buckets; all of them without numbers. They are read again when next needed."""
        for number in list(self._cache) if numbers is None else list(numbers):
            self._cache.pop(number, None)

    async def load(self, numbers: Iterable[int]) -> dict[int, list[tuple[str, Publish]]]:
        """Read the buckets that are not cached, and what was left in their outboxes, in order of writing.

        What is added to the cache must belong to the same Redis: one that came back older between two readings would
        give a bucket without the records that another's seal says were applied.

        Raises:
            Refused: a cached bucket is not as it is known.
            Unavailable: Redis does not answer.
        """
        missing = [number for number in numbers if number not in self._cache]
        if not missing:
            return {}
        async with answering():
            reading = self._redis.pipeline(transaction=False)
            for number in missing:
                reading.hgetall(self._keys[number].meta)
                reading.hgetall(self._keys[number].outbox)
            known = list(self._cache.values())
            for bucket in known:
                reading.hget(self._keys[bucket.number].meta, "v")
            found = await reading.execute()
        for bucket, version in zip(known, found[2 * len(missing) :], strict=True):
            if (version or b"").decode() != bucket.version:
                raise Refused(bucket.number)
        left: dict[int, list[tuple[str, Publish]]] = {}
        for index, number in enumerate(missing):
            meta, outbox = found[2 * index], found[2 * index + 1]
            self._cache[number] = self._current(number, meta)
            if outbox:
                left[number] = entries_of(outbox)
        return left

    async def peek(self, numbers: Iterable[int]) -> dict[int, Bucket]:
        """Buckets as they are, without customers, beside the cache: others write them too.

        Raises:
            Unavailable: Redis does not answer.
        """
        listed = list(numbers)
        async with answering():
            reading = self._redis.pipeline(transaction=False)
            for number in listed:
                reading.hgetall(self._keys[number].meta)
            found = await reading.execute()
        return {n: self._current(n, meta) for n, meta in zip(listed, found, strict=True)}

    def _current(self, number: int, stored_meta: Mapping[bytes, bytes]) -> Bucket:
        """Without the offsets and watermarks of topics that were deleted and made again since."""
        meta = {k.decode(): v.decode() for k, v in stored_meta.items()}
        void: list[str] = []
        for topic, now in self._incarnations.items():
            stored = meta.get(incarnation_field(topic))
            if stored is not None and stored != now:
                self.recreated.add(topic)
                void += [k for k in meta if k.startswith((f"o|{topic}|", f"s|{topic}|", f"w|{topic}|"))]
        return Bucket(number, {k: v for k, v in meta.items() if k not in void}, void)

    async def stamp(self, numbers: Iterable[int], now_ms: int) -> bool:
        """Leave a sign of life in these cached buckets; False where one is not as it is known.

        Raises:
            Unavailable: Redis does not answer.
        """
        async with answering():
            calls = self._redis.pipeline(transaction=False)
            for number in numbers:
                await self._stamp(
                    keys=[self._keys[number].meta], args=[self._cache[number].version, now_ms], client=calls
                )
            return all(await calls.execute())

    async def read(self, wanted: Mapping[int, Iterable[str]]) -> None:
        """Read customers of loaded buckets into the cache, in one round trip.

        Raises:
            Unavailable: Redis does not answer.
        """
        if self._missing(wanted):
            await self.look(wanted)

    async def look(self, wanted: Mapping[int, Iterable[str]]) -> bool:
        """`read` and `paused` in one round trip: whether an operator paused new strategies.

        Raises:
            Unavailable: Redis does not answer.
        """
        missing = self._missing(wanted)
        if not missing:
            return await self.paused()
        async with answering():
            reading = self._redis.pipeline(transaction=False)
            self._ask(reading)
            self._ask_for(missing, reading)
            told, *found = await reading.execute()
        self._take_in(missing, found)
        return self._told(told)

    def _missing(self, wanted: Mapping[int, Iterable[str]]) -> dict[int, list[str]]:
        """Who of them is not cached."""
        missing: dict[int, list[str]] = {}
        for number, users in wanted.items():
            states = self._cache[number].states
            for user in dict.fromkeys(users):
                if user in states:
                    states.move_to_end(user)
                else:
                    missing.setdefault(number, []).append(user)
        return missing

    def _ask_for(self, missing: Mapping[int, list[str]], reading: Any) -> None:
        for number, users in missing.items():
            raw_users = [user.encode("utf-8", "surrogatepass") for user in users]
            reading.hmget(self._keys[number].rows, raw_users)
            reading.hmget(self._keys[number].open, raw_users)

    def _take_in(self, missing: Mapping[int, list[str]], found: Sequence[Any]) -> None:
        for index, (number, users) in enumerate(missing.items()):
            rows, opens = found[2 * index], found[2 * index + 1]
            states = self._cache[number].states
            for user, row, open_ in zip(users, rows, opens, strict=True):
                states[user] = decode_state(row, open_)

    async def write(self, all_writes: Mapping[int, Writes]) -> dict[int, list[tuple[str, Publish]]]:
        """One script call per bucket, pipelined; the cache then holds the new versions.

        Returns:
            per bucket the outbox entries that were added, with their ids.

        Raises:
            Refused: a bucket's version changed; other buckets of the same call may have been written.
            Unavailable: Redis does not answer; whether it wrote is unknown until the buckets are read again.
        """
        versions = {number: self._next_version(number) for number in all_writes}
        async with answering():
            calls = self._redis.pipeline(transaction=False)
            for number, writes in all_writes.items():
                for topic in {field.split("|")[1] for field in writes.meta if field.startswith(("o|", "s|", "w|"))}:
                    writes.meta[incarnation_field(topic)] = self.incarnation(topic)
                writes.void = (*writes.void, *self._cache[number].void)
                arguments = writes.arguments(self._cache[number].version, versions[number])
                await self._script(keys=self._keys[number].all, args=arguments, client=calls)
            answers = await calls.execute()
        added = {}
        refused: int | None = None
        for (number, writes), answer in zip(all_writes.items(), answers, strict=True):
            if answer[0] != 1:
                self._cache.pop(number, None)
                refused = number
                continue
            bucket = self._cache[number]
            bucket.version, bucket.void = versions[number], ()
            for field in writes.void:
                bucket.meta.pop(field, None)
            bucket.meta |= writes.meta
            added[number] = writes.entries(versions[number])
        if refused is not None:
            raise Refused(refused)
        return added

    def _next_version(self, number: int) -> str:
        """Greater than the last, and never used before by anybody, even after Redis came back older."""
        count = int(self._cache[number].version.partition(".")[0] or 0)
        return f"{count + 1:012d}.{self._writer}{secrets.token_hex(2)}"

    def keep(self, number: int, states: Mapping[str, State | None]) -> None:
        """Cache what was written."""
        self._cache[number].states.update(states)

    def trim(self) -> None:
        """Between turns: the least recently used customers make room. Never amid one, which counts on what it read."""
        for bucket in self._cache.values():
            while len(bucket.states) > self._max_cached:
                bucket.states.popitem(last=False)

    async def clear(self, published: Mapping[int, Iterable[str]]) -> None:
        """Remove published outbox entries by their ids; what another owner added meanwhile stays.

        Raises:
            Unavailable: Redis does not answer.
        """
        async with answering():
            removing = self._redis.pipeline(transaction=False)
            for number, ids in published.items():
                listed = list(ids)
                if listed:
                    removing.hdel(self._keys[number].outbox, *listed)
            await removing.execute()
