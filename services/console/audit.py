"""Who did what by console or gateway, and why: a bounded stream in Redis, and a line in the log."""

import logging
from typing import Any

from msgspec import Struct

from services.gateway_keys import Key
from services.reading import printable
from streaming.keys import namespace

LOG = logging.getLogger(__name__)
KEPT = 10_000
"""Entries, about: Redis cuts the oldest in blocks."""
MAX_CHARACTERS = 500


class Entry(Struct, frozen=True):
    """One act.

    Args:
        by: the key's name; names may repeat, `key_id` does not.
        what: e.g. `promote`; with ` failed` behind it where it was begun and could not be done.
        on: what it was done to, e.g. a version.
        why: the operator's words, or what went wrong.
    """

    by: str
    key_id: str
    what: str
    on: str = ""
    why: str = ""


class Kept(Struct, frozen=True):
    """An entry and when it was written, epoch milliseconds of Redis' clock."""

    at_ms: int
    entry: Entry


def audit_key(prefix: str) -> str:
    """Stream of entries."""
    return f"{namespace(prefix)}audit"


def entry_of(key: Key, what: str, on: str = "", why: str = "") -> Entry:
    """An act of a key's holder."""
    return Entry(key.name, key.key_id, what, on[:MAX_CHARACTERS], why[:MAX_CHARACTERS])


def write(client: Any, prefix: str, entry: Entry) -> None:
    """Keep an entry. An act is written before it is done, so that none is done without a word."""
    fields = {name: getattr(entry, name).encode("utf-8", "replace") for name in Entry.__struct_fields__}
    client.xadd(audit_key(prefix), fields, maxlen=KEPT, approximate=True)
    LOG.warning("%s", printable(f"{entry.what} {entry.on} by {entry.by} ({entry.key_id}): {entry.why}"))


def newest(client: Any, prefix: str, count: int, before: str = "+") -> list[tuple[str, Kept]]:
    """The last entries, newest first, each with its id; `before`: older than this id."""
    top = before if before == "+" else f"({before}"
    found = []
    for identity, fields in client.xrevrange(audit_key(prefix), max=top, count=count):
        told = {name.decode(): value.decode("utf-8", "replace") for name, value in fields.items()}
        known = {name: told.get(name, "") for name in Entry.__struct_fields__}
        found.append((identity.decode(), Kept(int(identity.partition(b"-")[0]), Entry(**known))))
    return found
