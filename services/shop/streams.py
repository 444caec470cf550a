"""The shop's side of Kafka: publishes events and the clock, reads strategies, requests, suppressions and progress.

Edge, kafka-python. Nothing here decides; `replay.py` does.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.producer.future import FutureRecordMetadata

from services.settings import ShopSettings, kafka_options
from services.shop.pace import Ledger
from services.shop.wire import clock_record
from streaming.contracts.partition import partition_of
from streaming.contracts.progress import Progress
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import ADS_EVENTS, PROGRESS, REQUESTS, SHOP_EVENTS, STRATEGIES, SUPPRESSIONS

READ = (REQUESTS, STRATEGIES, SUPPRESSIONS, PROGRESS)
CLOCKED = (SHOP_EVENTS, ADS_EVENTS)
POLL_MS = 50
BATCH_BYTES = 131_072
FLUSH_S = 30.0


class _Asked(msgspec.Struct):
    """The one field the ledger needs of a request or a suppression."""

    request_id: str


_ASKED = msgspec.json.Decoder(_Asked)
_STRATEGY = msgspec.json.Decoder(Strategy)
_PROGRESS = msgspec.json.Decoder(Progress)


def clock_key(partition: int, partitions: int) -> str:
    """A key that murmur2 puts into the partition, so that the clock is where its key belongs."""
    number = 0
    while partition_of(f"shop-clock-{number}".encode(), partitions) != partition:
        number += 1
    return f"shop-clock-{number}"


class Streams:
    """Producer and consumer of the shop, with the ledger of what is outstanding."""

    def __init__(self, settings: ShopSettings) -> None:
        """Connect, and read from the present ends on."""
        self.prefix = settings.topic_prefix
        self.ledger = Ledger()
        self.published = 0
        self._producer = KafkaProducer(
            **{
                **kafka_options(settings),
                "acks": "all",
                "enable_idempotence": True,
                "linger_ms": 5,
                "batch_size": BATCH_BYTES,
                "compression_type": "lz4",
            }
        )
        self._consumer = KafkaConsumer(
            **{
                **kafka_options(settings),
                "enable_auto_commit": False,
                "fetch_max_wait_ms": 100,
                "max_poll_records": 2000,
            }
        )
        places = [TopicPartition(name, p) for name in self._names() for p in self._partitions(name)]
        self._consumer.assign(places)
        self._consumer.seek_to_end(*places)
        for place in places:
            self._consumer.position(place)  # seeking is lazy; a record sent before the first poll would be missed
        self._requests = [place for place in places if place.topic == self.prefix + REQUESTS.name]
        self._clock_keys = {
            (topic.name, p): clock_key(p, len(partitions))
            for topic in CLOCKED
            for partitions in [self._partitions(self.prefix + topic.name)]
            for p in partitions
        }

    def _names(self) -> list[str]:
        return [self.prefix + topic.name for topic in READ]

    def _partitions(self, name: str) -> list[int]:
        partitions = self._consumer.partitions_for_topic(name)
        if not partitions:
            message = f"topic {name!r} does not exist; create it with `stratagem topics`"
            raise LookupError(message)
        return sorted(partitions)

    def __enter__(self) -> Self:
        """Use as a context: clients are closed on leaving."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what is pending and close."""
        self._producer.close(timeout=FLUSH_S)
        self._consumer.close()

    def publish(self, topic: str, key: str, value: bytes | None) -> FutureRecordMetadata:
        """Send a record; it is acknowledged by the next `flush` or `advance`."""
        self.published += 1
        return self._producer.send(self.prefix + topic, key=key.encode(), value=value)

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        self._producer.flush(timeout=FLUSH_S)

    def advance(self, clock_ms: int) -> dict[tuple[str, int], int]:
        """Publish the clock to every partition of both event topics, after all that was sent.

        Returns:
            (topic without prefix, partition) → offset of the clock's record.
        """
        sent = {
            place: self._producer.send(
                self.prefix + place[0],
                key=key.encode(),
                value=clock_record(place[0], place[1], clock_ms, key),
                partition=place[1],
            )
            for place, key in self._clock_keys.items()
        }
        self.published += len(sent)
        self.flush()
        return {place: future.get(timeout=FLUSH_S).offset for place, future in sent.items()}

    def pull(self, on_strategy: Callable[[Strategy], None]) -> None:
        """Read once: note requests, answers and progress; hand each new strategy over."""
        for place, records in self._consumer.poll(timeout_ms=POLL_MS).items():
            topic = place.topic.removeprefix(self.prefix)
            for record in records:
                if record.value:
                    self._note(topic, record.value, on_strategy)

    def _note(self, topic: str, value: bytes, on_strategy: Callable[[Strategy], None]) -> None:
        if topic == REQUESTS.name:
            self.ledger.asked(_ASKED.decode(value).request_id)
        elif topic == SUPPRESSIONS.name:
            self.ledger.answered(_ASKED.decode(value).request_id)
        elif topic == PROGRESS.name:
            progress = _PROGRESS.decode(value)
            self.ledger.read[progress.topic, progress.partition] = progress.offset
        else:
            strategy = _STRATEGY.decode(value)
            if self.ledger.answered(strategy.request_id):
                on_strategy(strategy)

    def caught_up(self) -> bool:
        """Whether every request on the broker has been read here."""
        ends = self._consumer.end_offsets(self._requests)
        return all(self._consumer.position(place) >= end for place, end in ends.items())

    def waiting_for(self, marks: dict[tuple[str, int], int]) -> str:
        """What is outstanding, in words."""
        behind = [
            f"{topic}/{p}" for (topic, p), offset in marks.items() if self.ledger.read.get((topic, p), 0) <= offset
        ]
        return f"{len(self.ledger.open)} requests without an answer; not yet read: {', '.join(behind) or 'nothing'}"
