"""What is true of a whole installation, in one hash: how many buckets it has, whether it is paused or its records mixed."""

from typing import Any

from streaming.answering import answering
from streaming.keys import BUCKETS_FIELD, MIXED_FIELD, PAUSED_FIELD, control_key


class Installation:
    """The control hash.

    Attributes:
        mixed: records were seen in partitions that are not their customers', by whomever; as of the last look at `paused`.
    """

    def __init__(self, redis: Any, prefix: str, buckets: int) -> None:
        """Nothing is read yet."""
        self._redis = redis
        self._prefix = prefix
        self._buckets = buckets
        self.mixed = False

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
            paused, mixed = await self._redis.hmget(control_key(self._prefix), PAUSED_FIELD, MIXED_FIELD)
        self.mixed = mixed is not None
        return paused is not None

    async def mark_mixed(self) -> None:
        """Let every process know that customers' records lie in several partitions."""
        async with answering():
            await self._redis.hset(control_key(self._prefix), MIXED_FIELD, 1)
        self.mixed = True
