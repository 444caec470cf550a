"""Rows and open states as older programs wrote them → as this one reads them: one pure step per version. Pure.

A row says its version first, and what attribution keeps beside it has a version of its own. Whoever changes what a row means, or adds a field whose loss would matter, raises
`VERSION` and adds a step from the version before, so that any row ever written can be read; a program that is older
than a row does not touch it, because it would write it back without what it does not know.
"""

from collections.abc import Callable
from typing import Any

from streaming.contracts.errors import Unavailable

Stored = dict[str, Any]
"""A row as decoded JSON."""
VERSION = 2
OPEN_VERSION = 2
"""Of open states."""
FIRST = 1
"""The version of rows and open states that do not say theirs."""


class NewerRow(Unavailable):
    """What a newer program wrote: waited for, not guessed at; nothing of it is lost or dead-lettered."""

    def __init__(self, found: int, known: int, what: str) -> None:
        """Say both versions; the customer is nobody's business in a log."""
        self.found = found
        super().__init__(
            f"Redis holds {what} of schema_version {found} and this program reads up to {known}: "
            "it waits until a newer program takes over"
        )


def migrated(stored: Stored) -> Stored:
    """The row in the current version.

    Raises:
        NewerRow: it is of a version that this program does not know.
    """
    return _migrated(stored, VERSION, STEPS, "a row")


def migrated_open(stored: Stored) -> Stored:
    """The open state in the current version.

    Raises:
        NewerRow: it is of a version that this program does not know.
    """
    return _migrated(stored, OPEN_VERSION, OPEN_STEPS, "an open state")


def _migrated(stored: Stored, current: int, steps: "Steps", what: str) -> Stored:
    version = stored.get("schema_version", FIRST)
    if version > current:
        raise NewerRow(version, current, what)
    while version < current:
        stored = steps[version](stored)
        version += 1
        stored = {"schema_version": version} | {key: said for key, said in stored.items() if key != "schema_version"}
    return stored


def _with_claims(stored: Stored) -> Stored:
    """Version 1 → 2: a merged id keeps when it was claimed; what was claimed before counts as the earliest.

    `merged` held the digest of the identifying message, which nothing read.
    """
    changed: Stored = {"merged": dict.fromkeys(stored.get("merged", {}), 0)}
    if stored.get("alias_of"):
        changed["claim"] = [0, ""]
    return stored | changed


Steps = dict[int, Callable[[Stored], Stored]]
"""Version → the step to the next one."""
STEPS: Steps = {1: _with_claims}
OPEN_STEPS: Steps = {1: lambda stored: stored}
"""Version 2 keeps the grammar of a declared kind, which version 1 did not admit."""
