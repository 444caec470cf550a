"""What was said already although Redis no longer knows it: the first message of an id in its topic is its content.

A Redis that came back older makes the agents read inputs again. What they derive from them has the same ids, but may
have other contents, because the order between topics is another this time. So the tails of the outputs are read back.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS, REWARDS, SUPPRESSIONS
from streaming.effects import Publish

SLACK_MS = 120_000
"""Read from so long before the last sign of life in Redis: clocks differ, and a record may wait for its broker."""
ASKED = "asked"
"""The fate of a moment whose request was published; of others it is their suppression's reason."""
POLL_MS = 500

_log = logging.getLogger(__name__)


class _Said(Struct):
    """The fields that tell which message it is."""

    request_id: str = ""
    suppression_id: str = ""
    reward_id: str = ""
    reason: str = ""
    by: str = ""


_DECODER = msgspec.json.Decoder(_Said)
TOPICS = (REQUESTS, SUPPRESSIONS, REWARDS)


class Recall:
    """The ids that were published since Redis' last sign of life.

    Attributes:
        fates: request id → `ASKED`, or the reason of the suppression.
        ids: of requests, suppressions and rewards: none of them is published again.
    """

    def __init__(self, options: Callable[[], Mapping[str, Any]], prefix: str) -> None:
        """Nothing was asked for yet; `options` gives those of aiokafka's consumer."""
        self._options = options
        self._prefix = prefix
        self.fates: dict[str, str] = {}
        self.ids: set[str] = set()

    def said(self, message: Publish) -> bool:
        """Whether a message of this id was published before."""
        return message.id in self.ids

    async def read_back(self, since_ms: int) -> None:
        """Read the tails of the outputs from about this time of the wall clock on; 0: all of them.

        Raises:
            Unavailable: Kafka does not answer.
        """
        since_ms = max(0, since_ms - SLACK_MS)
        _log.warning("Redis may have come back older: reading back what was said since its last sign of life")
        consumer = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **self._options())
        try:
            await consumer.start()
            await self._read(consumer, since_ms)
        except (KafkaError, OSError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error
        finally:
            await consumer.stop()
        _log.warning("%d requests, suppressions and rewards were said already and keep their content", len(self.ids))

    async def _read(self, consumer: AIOKafkaConsumer, since_ms: int) -> None:
        places = []
        for topic in TOPICS:
            name = self._prefix + topic.name
            await consumer._client._wait_on_metadata(name)  # noqa: SLF001 -- no public call asks for one topic
            places += [TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        begins = await consumer.offsets_for_times(dict.fromkeys(places, since_ms))
        for place in places:
            found = begins.get(place)
            consumer.seek(place, ends[place] if found is None else found.offset)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    self._take(record.value)

    def _take(self, value: bytes | None) -> None:
        try:
            said = _DECODER.decode(value or b"{}")
        except (msgspec.DecodeError, UnicodeError):
            return  # not ours: nothing of ours is written like that
        if said.suppression_id:
            self.ids.add(said.suppression_id)
            if said.by == "agents":
                self.fates.setdefault(said.request_id, said.reason)
        elif said.reward_id:
            self.ids.add(said.reward_id)
        elif said.request_id:
            self.ids.add(said.request_id)
            self.fates.setdefault(said.request_id, ASKED)
