"""The Redis store: buckets of customers, read in pipelines and written by one compare-and-set call per bucket.

A cache of a bucket's customers is good exactly as long as the bucket's version is ours: every writer changes the
version, and the call of a writer who read another one is refused as a whole.
"""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files

from redis.asyncio import Redis

from streaming.answering import answering
from streaming.bucket import Bucket
from streaming.core import State, decode_state
from streaming.effects import Publish
from streaming.installation import Installation
from streaming.keys import (
    BucketKeys,
    incarnation_field,
    want_prefix,
    wanted_by,
)
from streaming.writes import Writes, decode_entry

_SCRIPT = files("streaming.lua").joinpath("apply.lua").read_text("utf-8")


class Refused(Exception):
    """Another writer was faster: nothing of this bucket's call was written."""

    def __init__(self, bucket: int) -> None:
        """Keep the bucket's number."""
        self.bucket = bucket
        super().__init__(f"bucket {bucket}: the version changed since it was read")


class Store(Installation):
    """Buckets in Redis.

    Args:
        url: of Redis.
        prefix: of the installation's topics.
        buckets: number of buckets; refused when another number was fixed at first start.
        incarnations: topic → id of the topic now; offsets stored under another id mean nothing and are not read.
        max_cached: customers cached per bucket.
    """

    def __init__(
        self, url: str, prefix: str, buckets: int, incarnations: Mapping[str, str], max_cached: int = 4000
    ) -> None:
        """Connect lazily: nothing is read yet."""
        super().__init__(Redis.from_url(url, socket_timeout=10.0, socket_connect_timeout=5.0), prefix, buckets)
        self._incarnations = dict(incarnations)
        self._max_cached = max_cached
        self._keys = [BucketKeys.of(prefix, bucket) for bucket in range(buckets)]
        self._script = self._redis.register_script(_SCRIPT)
        self._cache: dict[int, Bucket] = {}
        self._writer = secrets.token_hex(4)
        self.recreated: set[str] = set()

    @property
    def bucket_numbers(self) -> range:
        """All buckets."""
        return range(self._buckets)

    def bucket(self, number: int) -> Bucket:
        """A loaded bucket."""
        return self._cache[number]

    def forget(self, numbers: Iterable[int] | None = None) -> None:
        """Drop cached buckets; all of them without numbers. They are read again when next needed."""
        for number in list(self._cache) if numbers is None else list(numbers):
            self._cache.pop(number, None)

    async def load(self, numbers: Iterable[int]) -> dict[int, list[tuple[str, Publish]]]:
        """Read the buckets that are not cached, and what was left in their outboxes, in order of writing.

        Raises:
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
            found = await reading.execute()
        left: dict[int, list[tuple[str, Publish]]] = {}
        for number, meta, outbox in zip(missing, found[::2], found[1::2], strict=True):
            self._cache[number] = Bucket(number, self._current({k.decode(): v.decode() for k, v in meta.items()}))
            if outbox:
                left[number] = _entries(outbox)
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
        decoded = [{k.decode(): v.decode() for k, v in meta.items()} for meta in found]
        return {n: Bucket(n, self._current(meta)) for n, meta in zip(listed, decoded, strict=True)}

    def _current(self, meta: dict[str, str]) -> dict[str, str]:
        """Without the offsets and watermarks of topics that were deleted and made again since."""
        for topic, now in self._incarnations.items():
            stored = meta.get(incarnation_field(topic))
            if stored is not None and stored != now:
                self.recreated.add(topic)
                meta = {
                    k: v for k, v in meta.items() if not k.startswith((f"o|{topic}|", f"s|{topic}|", f"w|{topic}|"))
                }
        return meta

    async def read(self, wanted: Mapping[int, Iterable[str]]) -> None:
        """Read customers of loaded buckets into the cache, in one round trip.

        Raises:
            Unavailable: Redis does not answer.
        """
        missing: dict[int, list[str]] = {}
        for number, users in wanted.items():
            states = self._cache[number].states
            absent = []
            for user in dict.fromkeys(users):
                if user in states:
                    states.move_to_end(user)
                else:
                    absent.append(user)
            if absent:
                missing[number] = absent
        if not missing:
            return
        async with answering():
            reading = self._redis.pipeline(transaction=False)
            for number, users in missing.items():
                raw_users = [user.encode("utf-8", "surrogatepass") for user in users]
                reading.hmget(self._keys[number].rows, raw_users)
                reading.hmget(self._keys[number].open, raw_users)
            found = await reading.execute()
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
                    writes.meta[incarnation_field(topic)] = self._incarnations.get(topic, "")
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
            bucket.version = versions[number]
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

    async def leftovers(self, numbers: Iterable[int]) -> dict[int, list[tuple[str, Publish]]]:
        """What lies in these buckets' outboxes, in order of writing."""
        listed = list(numbers)
        async with answering():
            counting = self._redis.pipeline(transaction=False)
            for number in listed:
                counting.hlen(self._keys[number].outbox)
            full = [number for number, count in zip(listed, await counting.execute(), strict=True) if count]
            left = {}
            for number in full:
                left[number] = _entries(await self._redis.hgetall(self._keys[number].outbox))
        return left

    async def due(self, numbers: Iterable[int], until_ms: int, limit: int) -> dict[int, list[str]]:
        """Per bucket the customers with a due time at or before `until_ms`, earliest first, at most `limit` each."""
        listed = list(numbers)
        async with answering():
            asking = self._redis.pipeline(transaction=False)
            for number in listed:
                asking.zrangebyscore(self._keys[number].due, "-inf", until_ms, start=0, num=limit)
            found = await asking.execute()
        return {number: _users(users) for number, users in zip(listed, found, strict=True) if users}

    async def wanting(self, number: int, product_id: str) -> list[str]:
        """Customers of one bucket who wished for or carted the product."""
        begin = want_prefix(product_id)
        async with answering():
            found = await self._redis.zrangebylex(self._keys[number].wants, b"[" + begin, b"[" + begin + b"\xff")
        return [wanted_by(member)[1] for member in found]

    async def customers(self, number: int, cursor: int, count: int) -> tuple[int, list[str]]:
        """Some customers of a bucket and the cursor to go on with; 0 ends. Each is seen at least once."""
        async with answering():
            cursor, found = await self._redis.hscan(self._keys[number].rows, cursor, count=count)
        return int(cursor), _users(found)

    async def wants(self, number: int) -> list[tuple[str, str]]:
        """Every product and customer of a bucket's index of wished or carted products."""
        async with answering():
            found = await self._redis.zrange(self._keys[number].wants, 0, -1)
        return [wanted_by(member) for member in found]

    async def orders(self, most: int) -> Counter[str]:
        """Units ordered per product over all buckets, of the `most` ordered of each."""
        async with answering():
            asking = self._redis.pipeline(transaction=False)
            for keys in self._keys:
                asking.zrevrange(keys.orders, 0, most - 1, withscores=True)
            found = await asking.execute()
        total: Counter[str] = Counter()
        for bucket in found:
            total.update({product.decode("utf-8", "surrogatepass"): int(units) for product, units in bucket})
        return total

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _entries(outbox: Mapping[bytes, bytes]) -> list[tuple[str, Publish]]:
    return [(id_.decode(), decode_entry(outbox[id_])) for id_ in sorted(outbox)]


def _users(raw: Iterable[bytes]) -> list[str]:
    return [user.decode("utf-8", "surrogatepass") for user in raw]
