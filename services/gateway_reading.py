"""What the gateway reads of customers and strategies in Redis; synchronous, as an operator's commands."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import redis
from msgspec import Raw, Struct

from services.gateway_outcomes import Said
from services.gateway_problems import Refused, refusal
from services.worker_store import answer_key
from streaming.answering import our_fault
from streaming.contracts.errors import Unavailable
from streaming.contracts.partition import bucket_of
from streaming.control import bucket_count, read_profile
from streaming.keys import BucketKeys
from streaming.open_state import decode_open

T = TypeVar("T")


class _Row(Struct):
    """The part of a row that says whose it is, once aliases are followed."""

    user_id: str


def asked(read: Callable[[], T]) -> T:
    """What is read.

    Raises:
        Unavailable: Redis does not answer now.
    """
    try:
        return read()
    except (redis.RedisError, OSError) as error:
        if our_fault(error):
            raise
        raise Unavailable(f"Redis: {error}") from error


def profile_of(client: Any, prefix: str, user_id: str) -> str:
    """The customer's row as JSON.

    Raises:
        Refused: there is none.
    """
    row = read_profile(client, user_id, prefix)
    if row is None:
        raise _unknown()
    return row


def strategies_of(client: Any, prefix: str, user_id: str, now_ms: int) -> list[Raw]:
    """The strategies of a customer that may still be shown, as they were published, newest first.

    They are those that agents have read; a strategy is there a moment after it was published.

    Raises:
        Refused: nobody knows the customer.
        Unavailable: a newer program wrote what attribution keeps.
    """
    owner = msgspec.json.decode(profile_of(client, prefix, user_id), type=_Row).user_id
    buckets = bucket_count(client, prefix) or 1
    stored = client.hget(BucketKeys.of(prefix, bucket_of(owner, buckets)).open, owner)
    if stored is None:
        return []
    valid = [each for each in decode_open(stored).strategies if not each.ghost and each.valid_until_ms > now_ms]
    newest = sorted(valid, key=lambda each: (each.issued_ms, each.strategy_id), reverse=True)
    with client.pipeline(transaction=False) as pipe:
        for each in newest:
            pipe.get(answer_key(prefix, each.strategy_id))
        return [Raw(value) for value in pipe.execute() if value]


def owner_of(client: Any, prefix: str, user_id: str) -> str:
    """The customer that an id stands for: itself, unless it was merged into another's."""
    row = read_profile(client, user_id, prefix)
    return user_id if row is None else msgspec.json.decode(row, type=_Row).user_id


def stored_of(client: Any, prefix: str, strategy_id: str) -> bytes | None:
    """The bytes of the `Strategy` or of the worker's `Suppression` under an id; None before there are any."""
    found = client.get(answer_key(prefix, strategy_id))
    return found if isinstance(found, bytes) else None


def said(client: Any, prefix: str, strategy_id: str) -> Said:
    """Whose the strategy is, and of which kind.

    Raises:
        Refused: there is none, or its request was suppressed.
    """
    stored = stored_of(client, prefix, strategy_id)
    found = None if stored is None else msgspec.json.decode(stored, type=Said)
    if found is None or not found.strategy_id:
        raise refusal("not-found", "no strategy has this id, or it is long over")
    return found


def _unknown() -> Refused:
    return refusal("not-found", "no event of this customer was applied")
