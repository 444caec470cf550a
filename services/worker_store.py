"""Answers under their ids in Redis: the first one stored is the answer for ever (law 1).

A second decoding after a crash may give other words, but what is published is what is stored. Suppressions are stored the
same way, so that a request redelivered after `resume` cannot have both a suppression and a strategy.
"""

from collections.abc import Sequence
from typing import Any

import redis

from services.clients import redis_client
from services.settings import WorkerSettings
from services.settings_gateway import GatewaySettings
from streaming.answering import evicts, our_fault
from streaming.contracts.errors import Unavailable
from streaming.keys import PAUSED_FIELD, control_key, namespace

SUPPRESSED = b'{"suppression_id"'
"""What the bytes of a suppression begin with."""
DEFAULTED = b'{"defaulted":true}'
"""What lies under the id of a request whose caller was told, before any agent had spoken, to do without us."""
_FIRST_WINS = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return ARGV[1] end
return redis.call('GET', KEYS[1])
"""


def answer_key(topic_prefix: str, strategy_id: str) -> str:
    """Where the answer to a request lies: the bytes of a `Strategy`, or of a `Suppression`, or `DEFAULTED`."""
    return f"{namespace(topic_prefix)}strategy:{strategy_id}"


class AnswerStore:
    """First-wins storage of answers, a batch in one round trip."""

    def __init__(self, settings: WorkerSettings | GatewaySettings) -> None:
        """Connect when first used."""
        self._redis = redis_client(settings)
        self._prefix, self._ttl_s = settings.topic_prefix, settings.strategy_ttl_s
        self._first_wins = self._redis.register_script(_FIRST_WINS)

    def look(self, strategy_ids: Sequence[str]) -> tuple[bool, list[bytes | None]]:
        """Whether new strategies are paused, and the answers that exist already.

        Raises:
            Unavailable: Redis does not answer now.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hexists(control_key(self._prefix), PAUSED_FIELD)
            for identity in strategy_ids:
                pipe.get(answer_key(self._prefix, identity))
            found = self._run(pipe)
        return bool(found[0]), found[1:]

    def keep(self, answers: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Store answers under their ids where there is none yet.

        Returns:
            What is stored now, in order: the given answer or an earlier one.

        Raises:
            Unavailable: Redis does not answer now.
        """
        with self._redis.pipeline(transaction=False) as pipe:
            for identity, answer in answers:
                self._first_wins(keys=[answer_key(self._prefix, identity)], args=[answer, self._ttl_s], client=pipe)
            return self._run(pipe)

    def evicts(self) -> str | None:
        """Why this Redis would lose answers, in words.

        Raises:
            Unavailable: Redis does not answer now.
        """
        try:
            return evicts(self._redis.info("memory"))
        except redis.exceptions.NoPermissionError:
            return None
        except redis.RedisError as error:
            raise Unavailable(f"redis: {error}") from error

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    @staticmethod
    def _run(pipe: "redis.client.Pipeline") -> list[Any]:
        try:
            return pipe.execute()
        except redis.RedisError as error:
            # A full or starting server refuses writes for a while; that is the world's fault, not the request's.
            if our_fault(error):
                raise
            raise Unavailable(f"redis: {error}") from error
