"""Somebody's record inside one of ours goes on as it came: what a newer writer said in it is not lost by an older reader. Pure."""

import msgspec
from msgspec import Raw, Struct


def carrying(message: Struct, field: str, value: bytes) -> bytes:
    """The message as canonical JSON, with a field's value in the bytes in which it was read.

    Bytes that a strict reader could not read again give way to what we understood of them.

    Args:
        field: of the message; it holds what was decoded from `value`.
    """
    try:
        msgspec.json.decode(value)  # what we do not know has been skipped over, not read
        value.decode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.encode(message)
    said = {name: getattr(message, name) for name in message.__struct_fields__}
    return msgspec.json.encode(said | {field: Raw(value)})
