"""One fetch of one partition, as it is applied. Pure.

Its first record may lie behind the end of what was applied: because a transaction's marker or expired records lie between,
or because the consumer stands where Redis does not.
"""

from collections.abc import Sequence

from msgspec import Struct

from streaming.reading import Incoming


class Batch(Struct):
    """The records of one fetch of one partition; `topic` is without prefix.

    Args:
        since: from where the partition was read without a break up to the first record; None: that is not known.
    """

    topic: str
    partition: int
    records: Sequence[Incoming]
    since: int | None = None

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.records[-1].offset + 1


class Rewind(Exception):
    """Redis has applied less than Kafka delivers from: it came back older, or the topic lost records.

    Attributes:
        offset: the next one that Redis has not applied.
    """

    def __init__(self, offset: int) -> None:
        """Keep the offset to read from."""
        self.offset = offset
        super().__init__(f"Redis has applied less than offset {offset}")
