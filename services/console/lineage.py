"""Adapters as their topics tell of them: versions, what each came from, what is served, what was decided and why."""

from typing import NamedTuple

from msgspec import Struct

from services.adapters import decisions, standing
from services.settings import Common
from streaming.contracts.adapters import BASE_ALONE, GateDecision, Serving, Version, decode_record
from streaming.contracts.errors import BadEvent

MOST_DECISIONS = 50


class Standing(Struct, frozen=True):
    """What is announced and served, and every decision, newest first.

    Args:
        versions: of adapters and critics, newest first.
        unreadable: records that cannot be read, by key.
    """

    serving: Serving | None
    versions: dict[str, Version]
    decisions: list[GateDecision]
    unreadable: list[str]


class Step(NamedTuple):
    """One version of a line, and whether it is announced still."""

    name: str
    known: bool


def read(settings: Common) -> Standing:
    """Both topics, from their beginning."""
    serving: Serving | None = None
    versions: dict[str, Version] = {}
    unreadable = []
    for key, record in standing(settings).items():
        try:
            found = decode_record(record.value or b"")
        except BadEvent:
            unreadable.append(key)
            continue
        if isinstance(found, Version):
            versions[found.name] = found
        elif serving is None or (found.epoch, found.sequence) >= (serving.epoch, serving.sequence):
            serving = found
    newest = dict(sorted(versions.items(), key=lambda each: each[1].created_at, reverse=True))
    return Standing(serving, newest, _decisions(settings), unreadable)


def roles(serving: Serving | None, name: str) -> list[str]:
    """What a version is served as."""
    if serving is None or not name:
        return []
    found = {
        "champion": serving.champion,
        f"canary, {serving.canary_share:.0%} of customers": serving.canary,
        f"anchor, {serving.anchor_share:.0%} of customers": serving.anchor,
        "critic": serving.critic,
    }
    return [role for role, served in found.items() if served == name]


def line(versions: dict[str, Version], name: str) -> list[Step]:
    """A version and what it came from, back to the base; bounded, should two name each other."""
    steps: list[Step] = []
    while name and name not in (step.name for step in steps):
        steps.append(Step(name, name in versions or name == BASE_ALONE))
        found = versions.get(name)
        name = found.parent if found else ""
    return steps


def acts(serving: Serving | None, version: Version) -> list[str]:
    """What an operator may do to a version now."""
    if serving is None or version.what != "adapter":
        return []
    champion = [] if version.name == serving.champion else ["promote"]
    return champion + (["rollback"] if version.name in (serving.champion, serving.canary) else [])


def _decisions(settings: Common) -> list[GateDecision]:
    return sorted(decisions(settings), key=lambda decision: decision.decided_at, reverse=True)
