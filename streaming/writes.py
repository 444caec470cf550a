"""One bucket's changes of one batch, as data, and their encoding for the script. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from streaming.effects import Publish
from streaming.keys import want_member

ENTRY = msgspec.msgpack.Encoder()
_ENTRY_DECODER = msgspec.msgpack.Decoder(Publish)


class Writes:
    """Everything that one call writes to one bucket; what is set twice keeps the last value.

    Rows and open states are held as bytes: a value that equals what is stored need not be written.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.rows: dict[str, bytes | None] = {}
        self.open: dict[str, bytes | None] = {}
        self.due_ms: dict[str, int | None] = {}
        self.outbox: list[Publish] = []
        self.wants: dict[bytes, bool] = {}
        self.void: tuple[str, ...] = ()
        self.meta: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.ordered: Counter[str] = Counter()

    def want(self, user_id: str, before: Iterable[str], after: Iterable[str]) -> None:
        """The products that the customer wished for or carted, before and after."""
        old, new = set(before), set(after)
        self.wants |= {want_member(product, user_id): True for product in new - old}
        self.wants |= {want_member(product, user_id): False for product in old - new}

    def entries(self, version: str) -> list[tuple[str, Publish]]:
        """The outbox entries with their ids, which sort in the order of writing."""
        return [(f"{version}.{index:06d}", entry) for index, entry in enumerate(self.outbox)]

    def arguments(self, before: str, version: str) -> list[Any]:
        """`ARGV` of the script.

        Args:
            before: the version that was read, empty for a bucket that does not exist.
            version: the new one, never used before.
        """
        arguments: list[Any] = [before, version]
        for changes in (self.rows, self.open, self.due_ms):
            _pairs(arguments, [(k, v) for k, v in changes.items() if v is not None])
            _singles(arguments, [k for k, v in changes.items() if v is None])
        _pairs(arguments, [(id_, ENTRY.encode(entry)) for id_, entry in self.entries(version)])
        _singles(arguments, [member for member, wanted in self.wants.items() if wanted])
        _singles(arguments, [member for member, wanted in self.wants.items() if not wanted])
        _singles(arguments, list(self.void))
        _pairs(arguments, list(self.meta.items()))
        _pairs(arguments, list(self.counts.items()))
        _pairs(arguments, list(self.ordered.items()))
        return arguments


def decode_entry(raw: bytes) -> Publish:
    """An outbox entry as stored."""
    return _ENTRY_DECODER.decode(raw)


def _pairs(arguments: list[Any], items: Iterable[tuple[Any, Any]]) -> None:
    flat = [part for item in items for part in item]
    arguments.append(len(flat) // 2)
    arguments.extend(flat)


def _singles(arguments: list[Any], items: list[Any]) -> None:
    arguments.append(len(items))
    arguments.extend(items)
