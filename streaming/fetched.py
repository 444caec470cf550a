"""What a fetch brought of one partition, and where a partition has nothing more to read."""

from typing import Any, NamedTuple


class Fetched(list[Any]):
    """The records of one fetch of one partition, in order.

    Attributes:
        epoch: tells whether the partition was sought since.
        since: the next offset after what was delivered before it, in the same epoch; None: it is the first.
    """

    epoch: int = 0
    since: int | None = None


class Gap(NamedTuple):
    """Offsets of a partition between which no record is left to read.

    Args:
        since: every record before it was acknowledged, now or earlier; None: there was none to begin with.
        upto: the next offset that may be a record.
        epoch: of the partition, ended by any seek.
    """

    since: int | None
    upto: int
    epoch: int
