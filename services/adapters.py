"""`stratagem adapters`: the announced versions and the decisions on them, read back from their topics; an operator's acts.

An act is one record `serving` of a higher epoch, which every worker and the updater take over, and one decision with the
operator's name and words. It needs no service to be running.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from model import roles
from services.delivery import Delivery
from services.reading import TopicRecord, read_all
from services.settings import Common, UpdaterSettings
from services.watch import describe
from streaming.contracts.adapters import (
    BASE_ALONE,
    SERVING_KEY,
    AdapterRecord,
    Decided,
    GateDecision,
    Serving,
    Version,
    decode_record,
)
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import derive
from streaming.contracts.strategies import Check
from streaming.contracts.topics import ADAPTERS, DECISIONS
from streaming.effects import publish


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
    about = [decision for decision in decisions(settings) if decision.version == name]
    if version is None and not about:
        return None
    text = msgspec.json.encode({"version": version, "decisions": about})
    return msgspec.json.format(text, indent=2).decode()


class Act(msgspec.Struct, frozen=True):
    """Who does something, and why, in their own words."""

    by: str
    reason: str


def promote(settings: UpdaterSettings, name: str, act: Act) -> GateDecision:
    """Serve a version to everybody; it begins a line of its own, whose anchor it is.

    Raises:
        BadEvent: the version is not announced, or is of another base than the champion.
    """
    serving, versions = _served(settings)
    _must_stand(name, versions, serving)
    after = roles.by_hand(serving, settings.anchor_share, promote=name)
    return _announce(settings, serving, after, name, "promoted", act)


def roll_back(settings: UpdaterSettings, name: str, act: Act, to: str = "") -> GateDecision:
    """Take the canary off trial, or the champion from its place.

    Args:
        name: which of the two, by its version, so that nobody rolls back what has changed meanwhile.
        to: what is served instead of the champion; empty: its anchor, or what it was trained from.

    Raises:
        BadEvent: the version is neither, or there is nothing to go back to.
    """
    serving, versions = _served(settings)
    if to:
        _must_stand(to, versions, serving)
    back = to or roles.former(serving, versions)
    after = roles.by_hand(serving, settings.anchor_share, withdraw=name, to=back)
    return _announce(settings, serving, after, name, "rolled_back", act)


def _served(settings: Common) -> tuple[Serving, dict[str, Version]]:
    records = [found for record in standing(settings).values() if (found := _record(record)) is not None]
    serving = max((r for r in records if isinstance(r, Serving)), key=lambda r: (r.epoch, r.sequence), default=None)
    if serving is None:
        raise BadEvent("serving", None, "a running updater to have announced what is served")
    return serving, {record.name: record for record in records if isinstance(record, Version)}


def _must_stand(name: str, versions: dict[str, Version], serving: Serving) -> None:
    version, champion = versions.get(name), versions.get(serving.champion)
    if name == BASE_ALONE:
        return
    if version is None or version.what != "adapter":
        raise BadEvent("version", name, "an adapter that `stratagem adapters list` names")
    if champion is not None and champion.base_sha256 != version.base_sha256:
        raise BadEvent("base_sha256", version.base_sha256, f"the champion's, {champion.base_sha256}")


def _announce(
    settings: Common, before: Serving, after: Serving, name: str, decision: Decided, act: Act
) -> GateDecision:
    now = datetime.now(UTC)
    served = msgspec.structs.replace(after, sequence=before.sequence + 1, decided_at=now)
    detail = (
        f"epoch {served.epoch}: champion {before.champion} → {served.champion}, "
        f"canary {before.canary or 'none'} → {served.canary or 'none'}"
    )
    checks = (Check("operator", passed=True, detail=detail),)
    told = GateDecision(
        derive("dec", name, decision, now.isoformat()), name, "adapter", decision, act.reason, checks, {}, now, act.by
    )
    with Delivery(settings) as delivery:
        delivery.effects(
            [
                publish(ADAPTERS, SERVING_KEY, served, f"{served.epoch}.{served.sequence}"),
                publish(DECISIONS, name, told, told.decision_id),
            ]
        )
    return told


def _record(record: TopicRecord) -> AdapterRecord | None:
    """None for one that nobody can read: `list` says that."""
    try:
        return decode_record(record.value or b"")
    except BadEvent:
        return None


def _version(record: TopicRecord) -> Version | None:
    """None for the record `serving`, and for one that nobody can read."""
    found = _record(record)
    return found if isinstance(found, Version) else None


def decisions(settings: Common) -> Iterator[GateDecision]:
    """Every decision that can be read, in the topic's order."""
    for record in read_all(settings, DECISIONS):
        try:
            yield decode(record.value or b"", GateDecision)
        except BadEvent:  # `watch decisions` shows it
            continue
