"""Clients made from settings, on the real Kafka."""

import pytest
from kafka.errors import UnknownTopicOrPartitionError

from services.clients import METADATA_AGE_MS, group_consumer, topic_name
from services.local.stack import Endpoints
from services.settings import Common
from services.topics import ensure_topics
from streaming.contracts.topics import REQUESTS


def settings_of(stack: Endpoints, prefix: str) -> Common:
    """Settings of a prefix of the test's own."""
    return Common(
        kafka_bootstrap=stack.kafka_bootstrap, redis_url=stack.redis_url, topic_prefix=prefix, group_prefix=prefix
    )


def test_a_group_joins_once_its_topics_are_known(stack: Endpoints, topic_prefix: str) -> None:
    """Without the topic there is no consumer; with it the first assignment has every partition."""
    settings = settings_of(stack, topic_prefix)
    with pytest.raises(UnknownTopicOrPartitionError):
        group_consumer(settings, "g", [REQUESTS])
    ensure_topics(settings)
    consumer = group_consumer(settings, "g", [REQUESTS])
    try:
        assert consumer.config["metadata_max_age_ms"] == METADATA_AGE_MS
        while not consumer.assignment():  # the test's time-out bounds it
            consumer.poll(timeout_ms=200)
        name = topic_name(settings, REQUESTS)
        assert {place.partition for place in consumer.assignment()} == set(range(settings.partitions))
        assert {place.topic for place in consumer.assignment()} == {name}
    finally:
        consumer.close()
