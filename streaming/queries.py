"""Questions to the store that need no cache: what lies in outboxes and indexes, and whether Redis keeps what it is given."""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from streaming.answering import answering, evicts
from streaming.contracts.errors import Unavailable
from streaming.effects import Publish
from streaming.installation import Installation
from streaming.keys import BucketKeys, want_prefix, wanted_by
from streaming.writes import decode_entry

MEMORY_EVERY_S = 5.0

_log = logging.getLogger(__name__)


class Queries(Installation):
    """The connection, and the keys of all buckets."""

    def __init__(self, url: str, prefix: str, buckets: int) -> None:
        """Connect lazily."""
        client = Redis.from_url(url, socket_timeout=10.0, socket_connect_timeout=5.0, redis_connect_func=self._greet)
        super().__init__(client, prefix, buckets)
        self._keys = [BucketKeys.of(prefix, bucket) for bucket in range(buckets)]
        self._memory_asked_s = 0.0
        self._run_id = ""

    async def _greet(self, connection: Any) -> None:
        """What every new connection begins with; redis-py calls it, also amid a call that it repeats by itself."""
        await connection.on_connect()

    @property
    def bucket_numbers(self) -> range:
        """All buckets."""
        return range(self._buckets)

    async def another_process(self) -> bool:
        """Whether another Redis process answers than when this was asked last; yes where that may not be asked.

        Raises:
            Unavailable: Redis does not answer.
        """
        async with answering():
            try:
                found = str((await self._redis.info("server")).get("run_id", ""))
            except NoPermissionError:
                found = ""
        known, self._run_id = self._run_id, found
        return not found or found != known

    async def evicts(self) -> str | None:
        """Why this Redis would lose rows, in words.

        Raises:
            Unavailable: Redis does not answer.
        """
        async with answering():
            try:
                return evicts(await self._redis.info("memory"))
            except NoPermissionError as error:
                _log.warning("whether Redis evicts cannot be asked: %s", error)
                return None

    async def check_memory(self) -> None:
        """Ask now and then; a Redis that evicts counts as one that does not answer.

        Raises:
            Unavailable: it would lose rows, in words.
        """
        if time.monotonic() - self._memory_asked_s < MEMORY_EVERY_S:
            return
        if refusal := await self.evicts():
            raise Unavailable(refusal)
        self._memory_asked_s = time.monotonic()

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
                left[number] = entries_of(await self._redis.hgetall(self._keys[number].outbox))
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


def entries_of(outbox: Mapping[bytes, bytes]) -> list[tuple[str, Publish]]:
    """An outbox as stored, in order of writing."""
    return [(id_.decode(), decode_entry(outbox[id_])) for id_ in sorted(outbox)]


def _users(raw: Iterable[bytes]) -> list[str]:
    return [user.decode("utf-8", "surrogatepass") for user in raw]
