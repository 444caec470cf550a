"""`stratagem topics`: creates the topics that are missing, from the one table, and checks those that exist."""

import base64
from typing import Any

from kafka.errors import KafkaError, TopicAlreadyExistsError
from msgspec import Struct

from services.clients import MAX_RECORD_BYTES, admin, topic_name
from services.settings import Common, SettingError
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import DEAD_LETTERS, INPUTS, TOPICS, TopicSpec


class Topics(Struct, frozen=True):
    """What is known of the topics once they fit.

    Args:
        ids: topic (without prefix) → the broker's id of it; a topic deleted and made again has another one.
        partitions: of the agents' inputs, all equal.
        created: names (with prefix) that were made just now.
    """

    ids: dict[str, str]
    partitions: int
    created: tuple[str, ...]


def ensure_topics(settings: Common) -> list[str]:
    """Create and check; one line per topic that exists now.

    Raises:
        SettingError: a topic that exists does not fit, in words.
        Unavailable: Kafka does not answer, or refuses to create.
    """
    found = check_topics(settings)
    return [
        f"{topic_name(settings, topic)}: {'created' if topic_name(settings, topic) in found.created else 'exists, fits'}"
        for topic in TOPICS
    ]


def check_topics(settings: Common) -> Topics:
    """Create what is missing and check what exists.

    Raises:
        SettingError: a topic that exists does not fit, in words.
        Unavailable: Kafka does not answer, or refuses to create.
    """
    try:
        client = admin(settings)
    except KafkaError as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap}: {error!r}") from error
    try:
        created = _create_missing(client, settings)
        described = {each["name"]: each for each in client.describe_topics()}
    except KafkaError as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap}: {error!r}") from error
    finally:
        client.close()
    _check(settings, described)
    counts = {len(described[topic_name(settings, topic)]["partitions"]) for topic in INPUTS}
    ids = {topic.name: _id(described[topic_name(settings, topic)]) for topic in TOPICS}
    return Topics(ids, counts.pop(), created)


def _create_missing(client: Any, settings: Common) -> tuple[str, ...]:
    existing = set(client.list_topics())
    missing = {topic_name(settings, topic): topic for topic in TOPICS if topic_name(settings, topic) not in existing}
    if not missing:
        return ()
    try:
        client.create_topics(
            {name: _options(topic, settings) for name, topic in missing.items()}, wait_for_metadata=True
        )
    except TopicAlreadyExistsError:  # another service was faster with some of them
        return _create_missing(client, settings)
    return tuple(missing)


def _options(topic: TopicSpec, settings: Common) -> dict[str, Any]:
    configs: dict[str, str] = {"cleanup.policy": topic.cleanup}
    if topic.retention_ms is not None:
        configs["retention.ms"] = str(topic.retention_ms)
    if topic in INPUTS or topic == DEAD_LETTERS:
        configs["max.message.bytes"] = str(MAX_RECORD_BYTES)
    return {
        "num_partitions": topic.partitions or settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": configs,
    }


def _check(settings: Common, described: dict[str, dict[str, Any]]) -> None:
    counts = {}
    for topic in TOPICS:
        name = topic_name(settings, topic)
        if name not in described:
            raise SettingError(f"topic {name}: does not exist and could not be created")
        counts[topic] = len(described[name]["partitions"])
        if topic.partitions is not None and counts[topic] != topic.partitions:
            raise SettingError(
                f"topic {name}: has {counts[topic]} partitions, wanted {topic.partitions}: its order is the topic's"
            )
    inputs = {topic_name(settings, topic): counts[topic] for topic in INPUTS}
    if len(set(inputs.values())) != 1:
        listed = ", ".join(f"{name} {count}" for name, count in inputs.items())
        raise SettingError(f"partitions: {listed}; wanted equal counts, so that one worker owns a customer in all")
    partitions = next(iter(inputs.values()))
    if settings.buckets % partitions:
        raise SettingError(
            f"STRATAGEM_BUCKETS={settings.buckets}: wanted a multiple of the {partitions} partitions of {next(iter(inputs))}"
        )


def _id(described: dict[str, Any]) -> str:
    """The topic's id as text; brokers before 2.8 have none."""
    found = described.get("topic_id")
    return base64.urlsafe_b64encode(found).decode() if isinstance(found, bytes) else str(found or "")
