"""Catalog and campaigns as an immutable `Reference`: read whole before anything else, then followed.

Read outside any consumer group, because a group would give each worker a part of them.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from msgspec import Struct

from streaming.contracts.catalog import Campaign, Product
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent, Unavailable
from streaming.contracts.topics import CAMPAIGNS, CATALOG
from streaming.dead_letters import Origin, refused
from streaming.effects import Publish
from streaming.facts import Facts
from streaming.reference import Reference

POLL_MS = 500

_log = logging.getLogger(__name__)


class BadRecord(Struct, frozen=True):
    """A reference record that cannot be read; the owner of its partition dead-letters it, once."""

    topic: str
    partition: int
    offset: int
    letter: Publish


class CatalogReader:
    """Follows `shop.catalog` and `shop.campaigns`.

    Args:
        options: connection options of aiokafka's consumer.
        prefix: of topic names.

    Attributes:
        reference: the snapshot now.
        changed_products: ids changed since they were last taken by `take_changes`.
        bad: records that could not be read, by partition of their topic.
    """

    def __init__(self, options: Mapping[str, Any], prefix: str, facts: Facts) -> None:
        """Nothing is connected yet."""
        self._options = dict(options)
        self._names = {prefix + topic.name: topic.name for topic in (CATALOG, CAMPAIGNS)}
        self._facts = facts
        self._consumer: AIOKafkaConsumer | None = None
        self.reference = Reference()
        self.changed_products: set[str] = set()
        self.bad: list[BadRecord] = []

    async def start(self) -> None:
        """Connect and read both topics to the ends they have now.

        Raises:
            Unavailable: Kafka does not answer.
        """
        try:
            self._consumer = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **self._options)
            await self._consumer.start()
            places = await self._places()
            self._consumer.assign(places)
            await self._consumer.seek_to_beginning(*places)
            ends = await self._consumer.end_offsets(places)
            while any([await self._consumer.position(place) < end for place, end in ends.items()]):
                await self._read()
        except (KafkaError, OSError) as error:
            await self.stop()
            raise Unavailable(f"Kafka: {error!r}") from error

    async def _places(self) -> list[TopicPartition]:
        assert self._consumer is not None
        places = []
        for name in self._names:
            await self._consumer._client._wait_on_metadata(name)  # noqa: SLF001 -- no public call asks for one topic
            places += [TopicPartition(name, p) for p in sorted(self._consumer.partitions_for_topic(name) or ())]
        return places

    async def follow(self) -> None:
        """Read on for ever; what is unavailable is waited for."""
        while True:
            try:
                await self._read()
            except (KafkaError, OSError) as error:
                self._facts.count("kafka_errors", service="agents")
                _log.warning("waiting for the catalog: %r", error)
                await asyncio.sleep(1.0)

    async def _read(self) -> None:
        assert self._consumer is not None
        fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
        products: dict[str, Product | None] = {}
        campaigns: dict[str, Campaign | None] = {}
        for place, records in fetched.items():
            topic = self._names[place.topic]
            for record in records:
                if topic == CATALOG.name:
                    self._take(topic, record, Product, "product_id", products)
                else:
                    self._take(topic, record, Campaign, "campaign_id", campaigns)
        if products or campaigns:
            self.reference = updated(self.reference, products, campaigns)
            self.changed_products |= products.keys()

    def _take(self, topic: str, record: Any, kind: type[Any], id_field: str, into: dict[str, Any]) -> None:
        key = (record.key or b"").decode("utf-8", "backslashreplace")
        if not record.value:
            into[key] = None
            return
        try:
            into[key] = _decoded(record.value, key, kind, id_field)
        except BadEvent as error:
            letter = refused(record, Origin(topic, record.partition, record.timestamp), "bad_reference", error)
            self.bad.append(BadRecord(topic, record.partition, record.offset, letter))

    def take_changes(self) -> set[str]:
        """Product ids changed since the last call."""
        changed, self.changed_products = self.changed_products, set()
        return changed

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()


def _decoded(value: bytes, key: str, kind: type[Any], id_field: str) -> Any:
    message = decode(value, kind)
    if getattr(message, id_field) != key:
        raise BadEvent("key", key, f"the {id_field} of the value, {getattr(message, id_field)!r}")
    return message


def updated(
    reference: Reference, products: Mapping[str, Product | None], campaigns: Mapping[str, Campaign | None]
) -> Reference:
    """The snapshot after many records at once; None removes."""
    if len(products) + len(campaigns) <= 2:  # noqa: PLR2004 -- single changes share the indexes, many rebuild them once
        for product_id, product in products.items():
            reference = reference.with_product(product_id, product)
        for campaign_id, campaign in campaigns.items():
            reference = reference.with_campaign(campaign_id, campaign)
        return reference
    all_products = {**reference.products, **products}
    all_campaigns = {**reference.campaigns, **campaigns}
    return Reference(
        {k: v for k, v in all_products.items() if v is not None},
        {k: v for k, v in all_campaigns.items() if v is not None},
        {product_id: rank for product_id in all_products if (rank := reference.popularity(product_id)) > 0},
        vectors=reference.vectors,
    )
