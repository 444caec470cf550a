"""Kafka and Redis clients made from settings: one place for names, security and safe defaults."""

import logging
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import redis
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import (
    AuthorizationError,
    IllegalSaslStateError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from services.settings import Common, kafka_options
from services.topic_configs import MAX_RECORD_BYTES
from streaming.contracts.topics import TopicSpec

T = TypeVar("T")
REFUSALS = (AuthorizationError, IllegalSaslStateError, SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
"""Kafka is there and does not want us: no waiting will help."""
METADATA_AGE_MS = 30_000
"""How late a group notices new partitions, or an assignment made with too little knowledge, at worst."""
HUNG_UP = "socket disconnected"
"""What kafka-python says of a broker that ends a connection by itself."""
COMMAND_REQUEST_MS = 10_000
"""A command waits this long for one answer, and three times as long for a record's acknowledgement."""


class _Reason(logging.Filter):
    """What the last attempt to connect failed of: kafka-python raises a time-out, and tells the reason to its log alone.

    An attempt that ran out of time tells nothing after one that was answered: it is often the deadline that cut it short.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        found = re.match(
            r"Bootstrap (?:connection|attempt) to \S+ failed: (.*?)(?: \(backoff .*\))?$", record.getMessage()
        )
        if found and not (self.last and RequestTimedOutError.__name__ in found[1]):
            self.last = found[1]
        return True


_reason = _Reason()
logging.getLogger("kafka.net.manager").addFilter(_reason)


def _connected(settings: Common, make: Callable[[], T]) -> T:
    """A client, or why there is none.

    Raises:
        KafkaError: one of `REFUSALS`, or a time-out whose message ends with the reason.
    """
    _reason.last = ""
    try:
        return make()
    except KafkaTimeoutError as error:
        reason = _reason.last
        # A refusal and the end of the connection arrive together, and the client may see the end alone.
        refused = any(each.__name__ in reason for each in REFUSALS) or HUNG_UP in reason
        if settings.kafka_sasl_mechanism and refused:
            said = reason.rpartition("Error: ")[2]  # without the classes that it went through
            raise SaslAuthenticationFailedError(said) from error
        raise KafkaTimeoutError(f"{error.args[0]}: {reason}") from error


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
    return _connected(settings, lambda: KafkaProducer(**{**kafka_options(settings), **defaults, **options}))


def command_producer(settings: Common) -> KafkaProducer:
    """A producer of somebody who waits at a terminal: it says within seconds what a service would wait out."""
    patience_ms = round(settings.kafka_timeout_s * 1000)
    return producer(
        settings,
        max_block_ms=patience_ms,
        request_timeout_ms=max(patience_ms, COMMAND_REQUEST_MS),
        delivery_timeout_ms=3 * max(patience_ms, COMMAND_REQUEST_MS),
    )


def group_consumer(
    settings: Common,
    group: str,
    topics: Iterable[TopicSpec],
    *,
    listener: ConsumerRebalanceListener | None = None,
    **options: Any,
) -> KafkaConsumer:
    """A consumer in a group; commits are explicit, after the work.

    Without topics it only looks at the group's offsets. With topics it joins once their partitions are known: kafka-python
    lets a leader who knew none when it subscribed assign none, or join once more at the next refresh of its metadata.

    Raises:
        KafkaError: Kafka cannot be reached, or a topic is not there yet.
    """
    defaults: dict[str, Any] = {
        "group_id": settings.group_prefix + group,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": 10_000,
        "heartbeat_interval_ms": 2_000,
        "metadata_max_age_ms": METADATA_AGE_MS,
        "max_partition_fetch_bytes": MAX_RECORD_BYTES,
    }
    names = [topic_name(settings, topic) for topic in topics]
    consumer = _connected(settings, lambda: KafkaConsumer(**{**kafka_options(settings), **defaults, **options}))
    try:
        if names:
            consumer.subscribe(names, listener=listener)
            consumer.topics()  # asks the broker, whatever is known by now
        for name in names:
            if not consumer.partitions_for_topic(name):
                raise UnknownTopicOrPartitionError(name)
    except KafkaError:
        consumer.close()
        raise
    return consumer


def whole_topic_consumer(settings: Common, topic: TopicSpec, **options: Any) -> KafkaConsumer:
    """A consumer outside any group, at the beginning of every partition of one topic; of none while there is no topic."""
    defaults: dict[str, Any] = {"enable_auto_commit": False, "max_partition_fetch_bytes": MAX_RECORD_BYTES}
    consumer = _connected(settings, lambda: KafkaConsumer(**{**kafka_options(settings), **defaults, **options}))
    name = topic_name(settings, topic)
    partitions = [TopicPartition(name, p) for p in sorted(consumer.partitions_for_topic(name) or ())]
    consumer.assign(partitions)
    if partitions:
        consumer.seek_to_beginning(*partitions)
    return consumer


def admin(settings: Common, **options: Any) -> KafkaAdminClient:
    """The admin client."""
    return _connected(settings, lambda: KafkaAdminClient(**{**kafka_options(settings), **options}))


def redis_client(settings: Common, *, retries: int = 2) -> "redis.Redis":
    """A Redis client with bytes in and out; short retries here, long patience in the callers."""
    retry = Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=retries)
    return redis.Redis.from_url(
        settings.redis_url, decode_responses=False, retry=retry, socket_timeout=10.0, socket_connect_timeout=5.0
    )
