"""`stream.progress`: how far each input partition has been read, in event time."""

from datetime import datetime

from msgspec import Struct


class Progress(Struct, frozen=True):
    """The stored watermark of one input partition. `offset` is the next offset to be applied."""

    topic: str
    partition: int
    watermark: datetime
    offset: int
    schema_version: int = 1
