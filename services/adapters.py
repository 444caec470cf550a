"""`stratagem adapters`: the announced versions and the gate's decisions, read back from their topics."""

from collections.abc import Iterator

import msgspec

from services.reading import TopicRecord, read_all
from services.settings import Common
from services.watch import describe
from streaming.contracts.adapters import GateDecision, Version, decode_record
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.topics import ADAPTERS, DECISIONS


def standing(settings: Common) -> dict[str, TopicRecord]:
    """The newest record of every key that has not been removed."""
    records: dict[str, TopicRecord] = {}
    for record in read_all(settings, ADAPTERS):
        key = (record.key or b"").decode("utf-8", "backslashreplace")
        records.pop(key, None)  # so that the newest stands last
        if record.value is not None:
            records[key] = record
    return records


def lines(settings: Common) -> list[str]:
    """One line per standing record."""
    return [describe("adapters", record) for record in standing(settings).values()]


def show(settings: Common, name: str) -> str | None:
    """One version with the decisions on it as indented JSON, or None."""
    record = standing(settings).get(name)
    version = _version(record) if record is not None else None
    about = [decision for decision in _decisions(settings) if decision.version == name]
    if version is None and not about:
        return None
    text = msgspec.json.encode({"version": version, "decisions": about})
    return msgspec.json.format(text, indent=2).decode()


def _version(record: TopicRecord) -> Version | None:
    """None for the record `serving`, and for one that nobody can read: `list` says that."""
    try:
        found = decode_record(record.value or b"")
    except BadEvent:
        return None
    return found if isinstance(found, Version) else None


def _decisions(settings: Common) -> Iterator[GateDecision]:
    for record in read_all(settings, DECISIONS):
        try:
            yield decode(record.value or b"", GateDecision)
        except BadEvent:  # `watch decisions` shows it
            continue
