"""Failures of Redis by blame: what may pass is `Unavailable`, what we got wrong stays what it is."""

import re
from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from streaming.contracts.errors import Unavailable

_PASSING = re.compile(
    r"\b(OOM|MISCONF|READONLY|NOREPLICAS|LOADING|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|MOVED|ASK|UNKILLABLE) "
)
"""Redis' own words for a state it may leave again: full, its disk full, a replica after a failover, starting."""
_SCRIPT = re.compile(r"rror running script|on @user_script")
"""How Redis 6.2 and Redis 7 name a script in which a command failed."""


class answering:  # noqa: N801 -- reads as a phrase: `async with answering()`
    """Turns every failure of Redis into `Unavailable`, by blame."""

    async def __aenter__(self) -> None:
        """Nothing to do before."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Translate; a script's own error is ours and passes through as it is."""
        if isinstance(error, (RedisError, OSError, TimeoutError)) and not our_fault(error):
            raise Unavailable(f"Redis: {type(error).__name__}: {error}") from error


def our_fault(error: BaseException) -> bool:
    """Whether no waiting will help: a script of ours failed, or a key holds what we did not put there.

    A full or read-only Redis refuses a script's first write and words it as the script's failure, which it is not.
    """
    said = str(error)
    return ("WRONGTYPE" in said or _SCRIPT.search(said) is not None) and not _PASSING.search(said)


def evicts(memory: Mapping[str, Any]) -> str | None:
    """Why a Redis with this `INFO memory` would lose what it was given, in words; None for one that keeps it.

    `INFO`, not `CONFIG GET`, which managed services forbid.
    """
    policy, limit = str(memory.get("maxmemory_policy", "noeviction")), int(memory.get("maxmemory", 0))
    if policy == "noeviction" or not limit:
        return None
    return (
        f"Redis: maxmemory-policy is {policy} with maxmemory {limit}: it would evict profiles and stored answers; "
        "wanted noeviction (then a full Redis refuses writes, and the services wait)"
    )
