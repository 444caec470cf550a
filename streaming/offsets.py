"""Which offset may be committed: the end of the longest acknowledged prefix of what was delivered. Pure."""

from collections import deque


class PrefixLedger:
    """Delivered batches of one partition, in order, and which of them are acknowledged.

    A commit never passes a batch that is still in flight, whatever is acknowledged behind it; and gaps between
    batches (compaction, transactions) do not stop it, because batches are counted, not offsets.
    """

    def __init__(self) -> None:
        """Nothing is delivered yet."""
        self._delivered: deque[int] = deque()
        self._acked: set[int] = set()
        self._position: int | None = None

    def deliver(self, last_offset: int) -> None:
        """A batch whose last record has this offset was handed to the stream."""
        self._delivered.append(last_offset)

    def ack(self, last_offset: int) -> None:
        """The batch with this last offset is done; one that was not delivered since the last `clear` is ignored."""
        if last_offset in self._delivered:
            self._acked.add(last_offset)

    def position(self) -> int | None:
        """The offset to commit (the next one to be read), or None while nothing can be committed."""
        while self._delivered and self._delivered[0] in self._acked:
            last = self._delivered.popleft()
            self._acked.discard(last)
            self._position = last + 1
        return self._position

    @property
    def in_flight(self) -> int:
        """Batches delivered and not yet part of the acknowledged prefix."""
        return len(self._delivered)

    @property
    def unacked(self) -> int:
        """Batches delivered and not acknowledged."""
        return len(self._delivered) - len(self._acked)

    def clear(self) -> None:
        """Forget everything: the partition was revoked or its position was moved."""
        self._delivered.clear()
        self._acked.clear()
        self._position = None
