"""Ids derived from inputs: a replay repeats ids instead of inventing new ones."""

from hashlib import blake2b


def derive(prefix: str, *parts: str) -> str:
    """A stable id: prefix and 96 bits over length-prefixed parts (so that `a|b` and `ab|` differ)."""
    said: list[bytes] = []
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        said += (len(raw).to_bytes(4, "big"), raw)
    return f"{prefix}_{blake2b(b''.join(said), digest_size=12).hexdigest()}"


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
    return int(derive("u", *parts)[2:18], 16) / 2.0**64


def stable_seed(*parts: str) -> int:
    """A stable 63-bit seed for a random generator."""
    return int(derive("s", *parts)[2:18], 16) >> 1
