"""One bucket of customers as last read or written by us. Pure data."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from streaming.core import State
from streaming.keys import STAMP_FIELD, offset_field, seal_field, watermark_field


class Bucket:
    """One bucket as last read or written by us.

    Attributes:
        version: as stored; empty for a bucket that was never written.
        states: customers read so far; None for one who has no row. Least recently used first.
        void: stored fields that mean nothing any more, because their topic was deleted and made again.
    """

    def __init__(self, number: int, meta: Mapping[str, str], void: Sequence[str] = ()) -> None:
        """A bucket without cached customers."""
        self.void = tuple(void)
        self.number = number
        self.version = meta.get("v", "")
        self.meta = dict(meta)
        self.states: OrderedDict[str, State | None] = OrderedDict()

    @property
    def stamp_ms(self) -> int:
        """Of a home bucket: the wall clock at its owner's last sign of life; 0 for none."""
        return int(self.meta.get(STAMP_FIELD, 0))

    def applied(self, topic: str, partition: int) -> int:
        """The next offset to be applied to this bucket; 0 when nothing was."""
        return int(self.meta.get(offset_field(topic, partition), 0))

    def offsets(self) -> list[tuple[str, int, int]]:
        """Topic, partition and the next offset to be applied to this bucket, of all that were applied."""
        fields = [(field.split("|"), value) for field, value in self.meta.items() if field.startswith("o|")]
        return [(path[1], int(path[2]), int(value)) for path, value in fields]

    def sealed(self, topic: str, partition: int) -> int:
        """Of a home bucket: everything before this offset was applied to every bucket."""
        return int(self.meta.get(seal_field(topic, partition), 0))

    def watermark_ms(self, topic: str, partition: int) -> int | None:
        """The stored watermark; None when none was stored."""
        found = self.meta.get(watermark_field(topic, partition))
        return None if found is None else int(found)
