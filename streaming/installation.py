"""What is true of a whole installation, in one hash: how many buckets it has, whether it is paused or its records mixed."""

from typing import Any

from streaming.answering import answering
from streaming.keys import BUCKETS_FIELD, MIXED_FIELD, PAUSED_FIELD, control_key

_LATER = """
local at = math.max(tonumber(ARGV[2]), tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0))
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', at))
return at
"""
_UNLESS_LATER = """
return redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] and redis.call('HDEL', KEYS[1], ARGV[1]) or 0
"""


class Installation:
    """The control hash.

    Attributes:
        mixed_ms: until when, event time, records were seen in partitions that are not their customers', by whomever;
            None for never, or not for long. As of the last look at `paused`.
    """

    def __init__(self, redis: Any, prefix: str, buckets: int) -> None:
        """Nothing is read yet."""
        self._redis = redis
        self._prefix = prefix
        self._buckets = buckets
        self.mixed_ms: int | None = None

    @property
    def mixed(self) -> bool:
        """Whether customers' records lie in partitions that are not theirs."""
        return self.mixed_ms is not None

    async def fix_buckets(self) -> None:
        """Fix the number of buckets at first start.

        Raises:
            ValueError: another number was fixed before.
            Unavailable: Redis does not answer.
        """
        async with answering():
            await self._redis.hsetnx(control_key(self._prefix), BUCKETS_FIELD, str(self._buckets))
            fixed = await self._redis.hget(control_key(self._prefix), BUCKETS_FIELD)
        if int(fixed or 0) != self._buckets:
            message = f"STRATAGEM_BUCKETS={self._buckets}: this store was begun with {int(fixed or 0)} and keeps it"
            raise ValueError(message)

    async def paused(self) -> bool:
        """Whether an operator paused new strategies; `mixed` is looked up along with it."""
        async with answering():
            return self._told(await self._ask(self._redis))

    def _ask(self, client: Any) -> Any:
        return client.hmget(control_key(self._prefix), PAUSED_FIELD, MIXED_FIELD)

    def _told(self, answer: Any) -> bool:
        paused, mixed = answer
        self.mixed_ms = None if mixed is None else int(mixed)
        return paused is not None

    async def mark_mixed(self, at_ms: int) -> None:
        """Let every process know that customers' records lay in several partitions until this event time."""
        async with answering():
            self.mixed_ms = int(await self._redis.eval(_LATER, 1, control_key(self._prefix), MIXED_FIELD, at_ms))

    async def unmix(self) -> bool:
        """Let every process know that it is over; False where somebody has seen a later record meanwhile."""
        async with answering():
            over = await self._redis.eval(_UNLESS_LATER, 1, control_key(self._prefix), MIXED_FIELD, self.mixed_ms)
        if over:
            self.mixed_ms = None
        return bool(over)
