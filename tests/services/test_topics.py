"""Topics are created from the one table; those that exist are checked, and refused in words."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from services.local.stack import Endpoints
from services.settings import Common, SettingError
from services.topic_configs import CHECKED, MAX_RECORD_BYTES, notes_on, refusal_of, retention_ms
from services.topics import check_topics, ensure_topics
from streaming.contracts.topics import CATALOG, TOPICS


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


def made(stack: Endpoints, name: str, partitions: int = 2, **configs: str) -> None:
    """A topic that somebody else created."""
    client = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    options = {"num_partitions": partitions, "replication_factor": 1}
    client.create_topics({name: {**options, "configs": {key.replace("_", "."): v for key, v in configs.items()}}})
    client.close()


def configs_on_the_broker(stack: Endpoints, name: str) -> dict[str, str]:
    """What the broker says of a topic."""
    client = KafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    found = client.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name, list(CHECKED))], config_filter="all"
    )
    client.close()
    return {key: entry["value"] for key, entry in found["topic"][name].items()}


@pytest.mark.parametrize(
    ("topic", "policy", "lost"),
    [
        ("shop.catalog", "delete", "the last of its product id"),
        ("model.adapters", "compact,delete", "the last of its version name"),
        ("shop.events", "compact", "only the last record of each user id would stay"),
    ],
)
def test_a_cleanup_that_loses_data_is_refused_in_words(
    stack: Endpoints, topic_prefix: str, topic: str, policy: str, lost: str
) -> None:
    """A catalog that forgets its products, or events that only the last of survives, is no topic of ours."""
    partitions = 1 if topic == "model.adapters" else 2
    made(stack, f"{topic_prefix}{topic}", partitions, cleanup_policy=policy)
    with pytest.raises(SettingError, match=rf"{topic}: has cleanup.policy=.*{lost}"):
        check_topics(settings(stack, topic_prefix))


def test_what_may_be_meant_is_told_and_left_as_it_is(stack: Endpoints, topic_prefix: str) -> None:
    """Retention, record limit and replicas of a topic that exists: a line of words, and no change on the broker."""
    name = f"{topic_prefix}shop.events"
    made(stack, name, retention_ms="3600000", max_message_bytes="1000")
    common = settings(stack, topic_prefix, retention_events_h=48.0)
    lines = {line.partition(": ")[0]: line.partition(": ")[2] for line in ensure_topics(common)}
    assert lines[name] == (
        "exists; keeps records for 1 h, by the settings it would be for 48 h; "
        f"takes records of 1000 bytes at most, we may write {MAX_RECORD_BYTES}"
    )
    assert lines[f"{topic_prefix}ads.events"] == "created"
    found = configs_on_the_broker(stack, name)
    assert (found["retention.ms"], found["max.message.bytes"]) == ("3600000", "1000")
    copies = check_topics(msgspec.structs.replace(common, replication_factor=3)).notes
    assert "has 1 replicas, by the settings it would be 3" in copies[name]


def test_retention_of_every_topic_is_a_setting(stack: Endpoints, topic_prefix: str) -> None:
    """Topics are created with the hours of their settings, 0 for ever; compacted ones keep what stands."""
    hours = {"events": 1.0, "strategies": 2.0, "rewards": 3.0, "decisions": 0.0, "dead_letters": 5.0}
    common = settings(stack, topic_prefix, **{f"retention_{name}_h": each for name, each in hours.items()})
    ensure_topics(common)
    kept = {
        topic.name: configs_on_the_broker(stack, topic_prefix + topic.name)["retention.ms"]
        for topic in TOPICS
        if topic.cleanup == "delete"
    }
    hour_ms = 3_600_000
    assert kept == {
        "shop.events": str(hour_ms),
        "ads.events": str(hour_ms),
        "strategy.requests": str(2 * hour_ms),
        "strategy.suppressions": str(2 * hour_ms),
        "strategies": str(2 * hour_ms),
        "strategy.rewards": str(3 * hour_ms),
        "model.decisions": "-1",
        "dead-letters": str(5 * hour_ms),
    }
    assert all(retention_ms(topic, common) is None for topic in TOPICS if topic.cleanup == "compact")


def test_configs_that_may_not_be_read_are_said_not_guessed() -> None:
    """Without the right to describe them nothing is refused, and a note says that nothing was checked."""
    assert refusal_of(CATALOG, {}) is None
    assert notes_on(CATALOG, Common(), {}, copies=1) == ("its configs may not be read, so they are not checked",)


def test_services_that_start_together_create_each_topic_once(stack: Endpoints, topic_prefix: str) -> None:
    """Of several creators each topic is one's own, and all of them find everything there."""
    common = settings(stack, topic_prefix)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(check_topics, [common] * 3))
    assert sorted(name for each in found for name in each.created) == sorted(topic_prefix + t.name for t in TOPICS)
    assert found[0].ids == found[1].ids == found[2].ids
