"""Ids derived from inputs: a replay repeats ids instead of inventing new ones."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import count
from struct import Struct

_BYTES = 12
_DRAWS = Struct(">16I")


def derive(prefix: str, *parts: str) -> str:
    """A stable id: prefix and 96 bits over length-prefixed parts (so that `a|b` and `ab|` differ)."""
    return f"{prefix}_{blake2b(_joined(parts), digest_size=_BYTES).hexdigest()}"


def request_id(user_id: str, trigger: str, kind: str, cause: str) -> str:
    """`cause` is the causing messageId, or the due time of a timer in ISO 8601."""
    return derive("req", user_id, trigger, kind, cause)


def strategy_id(request: str) -> str:
    """One strategy per request, for ever."""
    return derive("str", request)


def reward_id(strategy: str, stage: str, cause: str = "") -> str:
    """`cause` is the causing messageId of a correction, empty for response and final."""
    return derive("rew", strategy, stage, cause)


def stable_unit(*parts: str) -> float:
    """A stable hash in [0, 1): arms, canaries and quiet sampling hash with a salt as first part."""
    return _number(blake2b(_joined(parts), digest_size=_BYTES).digest()) / 2.0**64


def stable_seed(*parts: str) -> int:
    """A stable 63-bit seed for a random generator."""
    return _number(blake2b(_joined(parts), digest_size=_BYTES).digest()) >> 1


def stable_draws(*parts: str) -> Iterator[int]:
    """Endless uniform numbers in [0, 2**32): cheaper to begin than a seeded generator, for a few dozen draws."""
    begun = blake2b(_joined(parts))
    for block in count():
        hashed = begun.copy()
        hashed.update(block.to_bytes(4, "big"))
        yield from _DRAWS.unpack(hashed.digest())


def _joined(parts: Iterable[str]) -> bytes:
    """Each part with its length in front."""
    joined = b""
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        joined += len(raw).to_bytes(4, "big") + raw
    return joined


def _number(digest: bytes) -> int:
    """The first 64 bits."""
    return int.from_bytes(digest[:8], "big")
