"""Where partitions end, and where they have records, asked over connections of its own.

A broker answers the requests of a connection in their order: behind a fetch that waits for records an answer would
take as long as the fetch, while whoever asks holds the turn of all batches.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streaming.contracts.errors import Unavailable

LIMIT_S = 10.0
POLL_MS = 200

Place = tuple[str, int]
"""Topic without prefix, partition."""


class EndOffsets:
    """Asks for end offsets: of committed records only, as the agents read them.

    Args:
        options: connection options of aiokafka's consumer.
        prefix: of topic names.
    """

    def __init__(self, options: Mapping[str, Any], prefix: str) -> None:
        """Nothing is connected yet."""
        self._options = dict(options)
        self._prefix = prefix
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect, unless that was done.

        Raises:
            Unavailable: Kafka does not answer.
        """
        if self._consumer is not None:
            return
        self._consumer = await self._connected()

    async def _connected(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            **self._options,
        )
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise Unavailable(f"Kafka: {error!r}") from error
        return consumer

    async def now(self, places: Iterable[Place]) -> dict[Place, int]:
        """The end offsets of these partitions now.

        Raises:
            Unavailable: Kafka does not answer.
        """
        assert self._consumer is not None
        asked = [TopicPartition(self._prefix + topic, partition) for topic, partition in places]
        try:
            found = await asyncio.wait_for(self._consumer.end_offsets(asked), LIMIT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        return {(place.topic.removeprefix(self._prefix), place.partition): end for place, end in found.items()}

    async def next_record(self, topic: str, partition: int, offset: int) -> int | None:
        """The offset of the first committed record at or after this one; None where there is none.

        Seldom asked, so for each time there is a connection: what it fetched beyond is nobody's.

        Raises:
            Unavailable: Kafka does not answer.
        """
        consumer = await self._connected()
        place = TopicPartition(self._prefix + topic, partition)
        try:
            return await asyncio.wait_for(_first_record(consumer, place, offset), LIMIT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        finally:
            await consumer.stop()

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()


async def _first_record(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> int | None:
    """What is expired is passed over by the reset to the earliest, a marker by the fetch."""
    consumer.assign([place])
    end = (await consumer.end_offsets([place]))[place]
    consumer.seek(place, offset)
    while offset < end:
        for records in (await consumer.getmany(place, timeout_ms=POLL_MS, max_records=1)).values():
            return int(records[0].offset)
        offset = await consumer.position(place)
    return None
