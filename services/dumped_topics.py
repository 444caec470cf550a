"""Topics as files of JSON lines: what `stratagem data prepare` and `stratagem evaluate` read with `--from-kafka`.

A line's number tells its offset: line n of `shop.events.p0.from120.jsonl` is offset 119 + n of partition 0; offsets that hold no record are
empty lines. Of compacted topics only the last record of each key counts, and none where that is a tombstone.
"""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from services.reading import TopicRecord, read_all
from services.settings import Common
from streaming.contracts.topics import ADS_EVENTS, CAMPAIGNS, CATALOG, REWARDS, SHOP_EVENTS, STRATEGIES, TopicSpec

MAX_GAP = 1_000
"""A larger gap of offsets begins a new file instead of so many empty lines."""
COMPLETE = ".complete"


def dump(settings: Common, folder: Path, *, resume: bool) -> Path:
    """The topics that a shop writes; see `_dumped`."""
    return _dumped(settings, folder, resume=resume, compacted=(CATALOG, CAMPAIGNS), whole=(SHOP_EVENTS, ADS_EVENTS))


def dump_loop(settings: Common, folder: Path, *, resume: bool) -> Path:
    """The topics of what was said and what came of it; see `_dumped`."""
    return _dumped(settings, folder, resume=resume, whole=(STRATEGIES, REWARDS))


def _dumped(
    settings: Common,
    folder: Path,
    *,
    resume: bool,
    whole: Sequence[TopicSpec],
    compacted: Sequence[TopicSpec] = (),
) -> Path:
    """Write all records that the topics hold at this moment.

    Args:
        resume: keep what an earlier call wrote completely.

    Raises:
        LookupError: a topic does not exist.
    """
    if resume and (folder / COMPLETE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for topic in compacted:
        write_lines(latest(read_all(settings, topic)), topic.name, folder)
    for topic in whole:
        write_lines(read_all(settings, topic), topic.name, folder)
    (folder / COMPLETE).touch()
    return folder


def latest(records: Iterable[TopicRecord]) -> list[TopicRecord]:
    """The last record of each key, in the order of partitions and offsets, tombstoned keys left out."""
    last: dict[bytes | None, TopicRecord] = {}
    for record in records:
        last[record.key] = record
    kept = [record for record in last.values() if record.value is not None]
    return sorted(kept, key=lambda record: (record.partition, record.offset))


def write_lines(records: Iterable[TopicRecord], topic: str, folder: Path) -> None:
    """Append records to a file per partition, a line each; see above."""
    files: dict[int, IO[bytes]] = {}
    following: dict[int, int] = {}
    try:
        for record in records:
            at = record.partition
            gap = record.offset - following.get(at, -MAX_GAP - 1)
            if gap > MAX_GAP:
                if at in files:
                    files[at].close()
                files[at] = (folder / f"{topic}.p{at}.from{record.offset}.jsonl").open("wb")
                gap = 0
            files[at].write(b"\n" * gap + one_line(record.value or b"") + b"\n")
            following[at] = record.offset + 1
    finally:
        for file in files.values():
            file.close()


def one_line(value: bytes) -> bytes:
    """A JSON value without line ends: they are space in JSON, and never stand inside its strings."""
    return value.replace(b"\r", b" ").replace(b"\n", b" ")
