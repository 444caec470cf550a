"""Somebody's record inside one of ours goes on as it came: what a newer writer said in it is not lost by an older reader. Pure."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

from streaming.contracts.strategies import Strategy

ROOM = 200
"""Levels of nesting, and calls, by which a later reader may be deeper than we are: Python's limit counts both."""


class SaidStrategy(Strategy, frozen=True):
    """A strategy in whose request or policy more was said than we know; both as they came."""

    said_request: bytes = b""
    said_policy: bytes = b""


class _Parts(Struct):
    request: Raw
    policy: Raw


_PARTS = msgspec.json.Decoder(_Parts)


def carrying(message: Struct, field: str, value: bytes) -> bytes:
    """The message as canonical JSON, with a field's value in the bytes in which it was read.

    Bytes that a strict reader could not read again give way to what we understood of them.

    Args:
        field: of the message; it holds what was decoded from `value`.
    """
    return with_parts(message, {field: value}) if _readable(value) else msgspec.json.encode(message)


def with_parts(message: Struct, parts: Mapping[str, bytes]) -> bytes:
    """The message as canonical JSON, with the values of some fields in these bytes."""
    said = {name: getattr(message, name) for name in message.__struct_fields__}
    return msgspec.json.encode(said | {name: Raw(value) for name, value in parts.items()})


def as_said(strategy: Strategy, value: bytes) -> Strategy:
    """The strategy with its request and policy as they came, where more was said in them than we know.

    Args:
        value: what the strategy was decoded from.
    """
    parts = _PARTS.decode(value)
    request, policy = bytes(parts.request), bytes(parts.policy)
    ours = request == msgspec.json.encode(strategy.request) and policy == msgspec.json.encode(strategy.policy)
    if ours or not (_readable(request) and _readable(policy)):
        return strategy
    fields = {name: getattr(strategy, name) for name in strategy.__struct_fields__}
    return SaidStrategy(**fields, said_request=request, said_policy=policy)


def _readable(value: bytes) -> bool:
    """Whether a strict reader can read it, also deep inside other records: what we do not know was skipped, not read."""
    try:
        msgspec.json.decode(b"[" * ROOM + value + b"]" * ROOM)
        value.decode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
