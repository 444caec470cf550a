"""What an operator asks of the store: pause, resume, one profile, the books over all buckets. Synchronous."""

from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from streaming.contracts.partition import bucket_of
from streaming.keys import BUCKETS_FIELD, PAUSED_FIELD, BucketKeys, control_key


class Books(Struct, frozen=True):
    """Counts that were written in the same call as what they count, summed over all buckets.

    Args:
        fates: topic → fate → records, e.g. `{"shop.events": {"folded": 12, "duplicate": 1}}`.
        watermarks_ms: topic → partition → watermark, milliseconds of event time (of the partition's home bucket).
        offsets: topic → partition → everything before was applied (of the partition's home bucket).
        profiles: rows of customers; pointers left by merged anonymous rows are not counted.
        aliases: such pointers.
        outbox: messages not yet published.
    """

    fates: dict[str, dict[str, int]]
    watermarks_ms: dict[str, dict[int, int]]
    offsets: dict[str, dict[int, int]]
    profiles: int
    aliases: int
    outbox: int


def pause(client: Any, prefix: str) -> None:
    """No new strategies from now on; moments are recorded as suppressed (paused)."""
    client.hset(control_key(prefix), PAUSED_FIELD, 1)


def resume(client: Any, prefix: str) -> None:
    """Lift a pause."""
    client.hdel(control_key(prefix), PAUSED_FIELD)


def is_paused(client: Any, prefix: str) -> bool:
    """Whether new strategies are paused."""
    return bool(client.hexists(control_key(prefix), PAUSED_FIELD))


def bucket_count(client: Any, prefix: str) -> int | None:
    """The number of buckets that was fixed at first start; None when no agent ever started."""
    found = client.hget(control_key(prefix), BUCKETS_FIELD)
    return None if found is None else int(found)


def read_profile(client: Any, user_id: str, prefix: str = "") -> str | None:
    """The row of one customer as indented JSON, an alias followed to its customer; None when there is none."""
    buckets = bucket_count(client, prefix)
    raw, seen = None, set()
    while buckets is not None and user_id not in seen:
        seen.add(user_id)
        raw = client.hget(BucketKeys.of(prefix, bucket_of(user_id, buckets)).rows, user_id)
        user_id = (raw and msgspec.json.decode(raw).get("alias_of")) or user_id
    return None if raw is None else str(msgspec.json.format(raw, indent=2), "utf-8")


def read_books(client: Any, prefix: str = "") -> Books:
    """The books over all buckets, read from what is stored, never from a process's memory."""
    buckets = bucket_count(client, prefix) or 0
    fates: dict[str, Counter[str]] = {}
    watermarks: dict[str, dict[int, int]] = {}
    offsets: dict[str, dict[int, int]] = {}
    rows = aliases = outbox = 0
    for bucket in range(buckets):
        keys = BucketKeys.of(prefix, bucket)
        reading = client.pipeline(transaction=True)
        reading.hgetall(keys.meta).hlen(keys.rows).hlen(keys.outbox)
        meta, rows_here, outbox_here = reading.execute()
        rows, outbox = rows + rows_here, outbox + outbox_here
        for field, value in meta.items():
            what, *path = field.decode().split("|")
            if what == "f":
                fates.setdefault(path[0], Counter())[path[2]] += int(value)
            elif what in ("w", "s"):
                (watermarks if what == "w" else offsets).setdefault(path[0], {})[int(path[1])] = int(value)
            elif what == "aliases":
                aliases += int(value)
    counts = {topic: dict(by_fate) for topic, by_fate in fates.items()}
    return Books(counts, watermarks, offsets, rows - aliases, aliases, outbox)
