"""Kafka and Redis clients made from settings: one place for names, security and safe defaults."""

from collections.abc import Iterable
from typing import Any

import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from services.settings import Common, kafka_options
from services.topic_configs import MAX_RECORD_BYTES
from streaming.contracts.topics import TopicSpec

COMMAND_REQUEST_MS = 10_000
"""A command waits this long for one answer, and three times as long for a record's acknowledgement."""


def topic_name(settings: Common, topic: TopicSpec) -> str:
    """The topic's name on the broker."""
    return settings.topic_prefix + topic.name


def producer(settings: Common, **options: Any) -> KafkaProducer:
    """A producer that loses nothing: idempotent, acknowledged by all replicas, murmur2 partitioner."""
    defaults: dict[str, Any] = {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 2,
        "max_request_size": MAX_RECORD_BYTES,
        "compression_type": "lz4",
    }
    return KafkaProducer(**{**kafka_options(settings), **defaults, **options})


def command_producer(settings: Common) -> KafkaProducer:
    """A producer of somebody who waits at a terminal: it says within seconds what a service would wait out."""
    patience_ms = round(settings.kafka_timeout_s * 1000)
    return producer(
        settings,
        max_block_ms=patience_ms,
        request_timeout_ms=max(patience_ms, COMMAND_REQUEST_MS),
        delivery_timeout_ms=3 * max(patience_ms, COMMAND_REQUEST_MS),
    )


def group_consumer(settings: Common, group: str, topics: Iterable[TopicSpec], **options: Any) -> KafkaConsumer:
    """A consumer in a group; commits are explicit, after the work."""
    defaults: dict[str, Any] = {
        "group_id": settings.group_prefix + group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 2_000,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
    }
    names = [topic_name(settings, topic) for topic in topics]
    return KafkaConsumer(*names, **{**kafka_options(settings), **defaults, **options})


def whole_topic_consumer(settings: Common, topic: TopicSpec, **options: Any) -> KafkaConsumer:
    """A consumer outside any group, at the beginning of every partition of one topic; of none while there is no topic."""
    defaults: dict[str, Any] = {"enable_auto_commit": False, "max_partition_fetch_bytes": MAX_RECORD_BYTES}
    consumer = KafkaConsumer(**{**kafka_options(settings), **defaults, **options})
    name = topic_name(settings, topic)
    partitions = [TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())]
    consumer.assign(partitions)
    if partitions:
        consumer.seek_to_beginning(*partitions)
    return consumer


def admin(settings: Common, **options: Any) -> KafkaAdminClient:
    """The admin client."""
    return KafkaAdminClient(**{**kafka_options(settings), **options})


def redis_client(settings: Common, *, retries: int = 2) -> "redis.Redis":
    """A Redis client with bytes in and out; short retries here, long patience in the callers."""
    retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=retries)
    return redis.Redis.from_url(
        settings.redis_url, decode_responses=False, retry=retry, socket_timeout=10.0, socket_connect_timeout=5.0
    )
