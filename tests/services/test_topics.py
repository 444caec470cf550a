"""Topics are created from the one table; those that exist are checked, and refused in words."""

from typing import Any

import pytest
from kafka.admin import KafkaAdminClient

from services.local.stack import Endpoints
from services.settings import Common, SettingError
from services.topics import check_topics, ensure_topics
from streaming.contracts.topics import TOPICS


def settings(stack: Endpoints, prefix: str, **values: Any) -> Common:
    """Settings with a prefix of their own."""
    return Common(
        **{
            "kafka_bootstrap": stack.kafka_bootstrap,
            "redis_url": stack.redis_url,
            "topic_prefix": prefix,
            "partitions": 2,
            "buckets": 8,
            **values,
        }
    )


def test_missing_topics_are_created_and_found_again(stack: Endpoints, topic_prefix: str) -> None:
    """The second run creates nothing, and the ids stay the same."""
    common = settings(stack, topic_prefix)
    first = check_topics(common)
    assert len(first.created) == len(TOPICS)
    second = check_topics(common)
    assert second.created == ()
    assert second.ids == first.ids
    assert len(set(second.ids.values())) == len(TOPICS)
    assert second.partitions == 2
    assert all(line.endswith("exists, fits") for line in ensure_topics(common))


def test_unequal_inputs_are_refused_in_words(stack: Endpoints, topic_prefix: str) -> None:
    """An input with another number of partitions is named, with both numbers."""
    client = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    client.create_topics({f"{topic_prefix}ads.events": {"num_partitions": 3, "replication_factor": 1}})
    client.close()
    with pytest.raises(SettingError, match=r"ads\.events 3.*wanted equal counts"):
        check_topics(settings(stack, topic_prefix))


def test_the_rewards_need_one_partition(stack: Endpoints, topic_prefix: str) -> None:
    """A topic whose order is the learner's is refused with more than one partition."""
    client = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    client.create_topics({f"{topic_prefix}strategy.rewards": {"num_partitions": 2, "replication_factor": 1}})
    client.close()
    with pytest.raises(SettingError, match=r"strategy\.rewards: has 2 partitions, wanted 1"):
        ensure_topics(settings(stack, topic_prefix))


def test_buckets_must_be_a_multiple_of_the_partitions(stack: Endpoints, topic_prefix: str) -> None:
    """So that each bucket belongs to one partition."""
    with pytest.raises(SettingError, match=r"STRATAGEM_BUCKETS=7: wanted a multiple of the 2 partitions"):
        check_topics(settings(stack, topic_prefix, buckets=7))
