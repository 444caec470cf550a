"""Strategies that were there when a partition was assigned, or have to be read again, are read before time goes on. Pure.

After an outage the order between topics is not given: a shop's hours could be read before the strategies that were
answered in them. Orders wait some hours of event time for their strategy and no longer, so time has to wait instead.
"""

from collections.abc import Iterable, Mapping

PATIENCE_TURNS = 30
"""Turns without any progress after which no more is expected: what is missing has expired, or was never a record."""


class Backlog:
    """Per partition the end of its strategies at the assignment, until they have been read."""

    def __init__(self) -> None:
        """Nothing is waited for."""
        self._ends: dict[int, int | None] = {}
        self._read: dict[int, tuple[int | None, int]] = {}
        self._held: set[int] = set()

    def hold(self, partitions: Iterable[int]) -> None:
        """These partitions were assigned; their ends have not been asked yet."""
        self._held = set(partitions)
        self._ends = dict.fromkeys(self._held)
        self._read = {}

    def hold_also(self, partitions: Iterable[int]) -> None:
        """These partitions matter too; those that have been held since the assignment are not held again."""
        more = set(partitions) - self._held
        self._held |= more
        self._ends |= dict.fromkeys(more)

    def owe(self, partition: int, end: int) -> None:
        """Redis came back older: the strategies before this offset are read again."""
        asked = self._ends.get(partition, 0)
        self._ends[partition] = None if asked is None else max(asked, end)
        self._read.pop(partition, None)

    @property
    def unasked(self) -> list[int]:
        """Partitions whose ends have to be asked."""
        return [partition for partition, end in self._ends.items() if end is None]

    def ask(self, ends: Mapping[int, int]) -> None:
        """The ends as they were after the assignment."""
        self._ends |= ends

    def holds(self, partition: int, next_offset: int) -> bool:
        """Whether time has to wait, `next_offset` being the next strategy to be applied."""
        if partition not in self._ends:
            return False
        end = self._ends[partition]
        if end is None or next_offset < end:
            return True
        del self._ends[partition]
        return False

    def turn(self, partition: int, next_offset: int) -> None:
        """A turn has passed; without progress patience ends."""
        if self._ends.get(partition) is None:
            return
        before, waited = self._read.get(partition, (None, 0))
        turns = waited + 1 if next_offset == before else 0
        self._read[partition] = (next_offset, turns)
        if turns >= PATIENCE_TURNS:
            del self._ends[partition]
