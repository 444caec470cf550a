"""Which version lies in which resident slot, and who still uses it. Pure bookkeeping, without tensors.

A request keeps from admission to its end the slot it started with (law 3), so a slot is overwritten only when no
request holds it and nothing served needs its version.
"""

from collections.abc import Collection, Sequence

from streaming.contracts.adapters import BASE_ALONE


class Residency:
    """Slots with their versions and reference counts."""

    def __init__(self, slots: Sequence[str]) -> None:
        """Start with empty slots; the bare base needs none."""
        self._versions: dict[str, str | None] = dict.fromkeys(slots)
        self._users: dict[str, int] = dict.fromkeys(slots, 0)

    def slot_of(self, version: str) -> str | None:
        """The slot that holds a version; None for the bare base.

        Raises:
            KeyError: when it is not resident.
        """
        if version == BASE_ALONE:
            return None
        for slot, held in self._versions.items():
            if held == version:
                return slot
        raise KeyError(version)

    def holds(self, version: str) -> bool:
        """Whether a version can be served now."""
        return version == BASE_ALONE or version in self._versions.values()

    def admit(self, version: str) -> str | None:
        """A request starts with a version: its slot, kept until `release`."""
        slot = self.slot_of(version)
        if slot is not None:
            self._users[slot] += 1
        return slot

    def release(self, slot: str | None) -> None:
        """A request that was admitted to `slot` has ended."""
        if slot is None:
            return
        if self._users[slot] <= 0:
            message = f"{slot} is released more often than it was admitted to"
            raise ValueError(message)
        self._users[slot] -= 1

    def free(self, needed: Collection[str]) -> str | None:
        """A slot that may be overwritten: unused, and its version not among `needed`; empty slots first.

        Returns:
            None when every slot is taken: try again after the next batch.
        """
        idle = [slot for slot, users in self._users.items() if not users and self._versions[slot] not in needed]
        return min(idle, key=lambda slot: self._versions[slot] is not None, default=None)

    def fill(self, slot: str, version: str) -> None:
        """A version's tensors now lie in `slot`.

        Raises:
            ValueError: when requests still use what was there.
        """
        if self._users[slot]:
            message = f"{slot} holds {self._versions[slot]}, which {self._users[slot]} requests still use"
            raise ValueError(message)
        self._versions[slot] = version

    def resident(self) -> dict[str, str]:
        """Slot → version of every filled slot."""
        return {slot: version for slot, version in self._versions.items() if version is not None}
