"""`stratagem adapters`: the announced versions and the gate's decisions, read back from their topics."""

import msgspec

from services.reading import printable, read_all
from services.settings import Common
from services.watch import adapter_line
from streaming.contracts.adapters import AdapterRecord, GateDecision, Version, decode_record
from streaming.contracts.codec import decode
from streaming.contracts.topics import ADAPTERS, DECISIONS


def standing(settings: Common) -> dict[str, AdapterRecord]:
    """The newest record of every key that has not been removed."""
    records: dict[str, AdapterRecord] = {}
    for record in read_all(settings, ADAPTERS):
        key = (record.key or b"").decode("utf-8", "backslashreplace")
        if record.value is None:
            records.pop(key, None)
        else:
            records[key] = decode_record(record.value)
    return records


def lines(settings: Common) -> list[str]:
    """One line per standing record."""
    return [printable(adapter_line(record)) for record in standing(settings).values()]


def show(settings: Common, name: str) -> str | None:
    """One version with the decisions on it as indented JSON, or None."""
    version = standing(settings).get(name)
    decided = [decode(record.value, GateDecision) for record in read_all(settings, DECISIONS) if record.value]
    about = [decision for decision in decided if decision.version == name]
    if not isinstance(version, Version) and not about:
        return None
    text = msgspec.json.encode({"version": version, "decisions": about})
    return msgspec.json.format(text, indent=2).decode()
