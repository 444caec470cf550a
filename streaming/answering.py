"""Failures of Redis by blame: what may pass is `Unavailable`, what we got wrong stays what it is."""

from redis.exceptions import RedisError

from streaming.contracts.errors import Unavailable


class answering:  # noqa: N801 -- reads as a phrase: `async with answering()`
    """Turns every failure of Redis into `Unavailable`, by blame."""

    async def __aenter__(self) -> None:
        """Nothing to do before."""

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Translate; a script's own error is ours and passes through as it is."""
        if isinstance(error, (RedisError, OSError, TimeoutError)) and not _our_fault(error):
            raise Unavailable(f"Redis: {error!r}") from error


def _our_fault(error: BaseException) -> bool:
    return "WRONGTYPE" in str(error) or "Error running script" in str(error)
