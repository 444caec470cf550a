"""`stratagem topics`: creates the topics that are missing, from the one table, and checks those that exist."""

import base64
from collections.abc import Collection, Mapping
from typing import Any

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import AuthorizationError, KafkaError, NoError, TopicAlreadyExistsError, for_code
from msgspec import Struct

from services.clients import admin, topic_name
from services.settings import Common, SettingError
from services.topic_configs import CHECKED, configs_of, notes_on, refusal_of
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import INPUTS, TOPICS, TopicSpec

CREATED, FITS = "created", "exists, fits"


class Topic(Struct, frozen=True):
    """A topic as it is now; an empty id where there is none, or the broker gives none."""

    id: str
    partitions: int


class Topics(Struct, frozen=True):
    """What is known of the topics once they fit.

    Args:
        ids: topic (without prefix) → the broker's id of it; a topic deleted and made again has another one.
        partitions: of the agents' inputs, all equal.
        created: names (with prefix) that were made just now.
        notes: name (with prefix) → what differs from what we would have created, and is left as it is.
    """

    ids: dict[str, str]
    partitions: int
    created: tuple[str, ...]
    notes: dict[str, tuple[str, ...]]


def ensure_topics(settings: Common) -> list[str]:
    """Create and check; one line per topic that exists now.

    Raises:
        SettingError: a topic that exists does not fit, in words.
        Unavailable: Kafka does not answer, or refuses to create.
    """
    found = check_topics(settings)
    lines = []
    for topic in TOPICS:
        name = topic_name(settings, topic)
        said = f"exists; {'; '.join(found.notes[name])}" if found.notes.get(name) else FITS
        lines.append(f"{name}: {CREATED if name in found.created else said}")
    return lines


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
        configs = _configs(client, settings)
    except KafkaError as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap}: {error!r}") from error
    finally:
        client.close()
    _check(settings, described)
    notes = {}
    for topic in TOPICS:
        name = topic_name(settings, topic)
        if refusal := refusal_of(topic, configs[name]):
            raise SettingError(f"topic {name}: {refusal}")
        copies = min((len(each["replica_nodes"]) for each in described[name]["partitions"]), default=0)
        notes[name] = notes_on(topic, settings, configs[name], copies)
    counts = {len(described[topic_name(settings, topic)]["partitions"]) for topic in INPUTS}
    ids = {topic.name: topic_id(described[topic_name(settings, topic)]) for topic in TOPICS}
    return Topics(ids, counts.pop(), created, notes)


def _create_missing(client: Any, settings: Common) -> tuple[str, ...]:
    existing = set(client.list_topics())
    missing = {topic_name(settings, topic): topic for topic in TOPICS if topic_name(settings, topic) not in existing}
    if not missing:
        return ()
    options = {name: _options(topic, settings) for name, topic in missing.items()}
    answer = client.create_topics(options, raise_errors=False)
    created = []
    for each in answer["topics"]:
        error = for_code(each["error_code"])
        if error is NoError:
            created.append(each["name"])
        elif error is not TopicAlreadyExistsError:  # another service may have been faster
            raise _refused(error, each["name"], each.get("error_message") or error.__name__)
    client.wait_for_topics(list(missing))
    return tuple(created)


def _refused(error: type[KafkaError], name: str, said: str) -> Exception:
    """What Kafka may do later, or lets others do, is its error; the rest asks for what this Kafka cannot give."""
    if error.retriable or issubclass(error, AuthorizationError):
        found: Exception = error(f"{name}: {said}")
        return found
    return SettingError(f"topic {name}: cannot be created as the settings want it: {said}")


def _options(topic: TopicSpec, settings: Common) -> dict[str, Any]:
    return {
        "num_partitions": topic.partitions or settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": configs_of(topic, settings),
    }


def _configs(client: Any, settings: Common) -> dict[str, dict[str, str]]:
    """Topic name → those of its configs that are checked; without them where we may not read them."""
    names = [topic_name(settings, topic) for topic in TOPICS]
    asked = [ConfigResource(ConfigResourceType.TOPIC, name, list(CHECKED)) for name in names]
    found = client.describe_configs(asked, config_filter="all").get("topic", {})
    return {name: {key: entry["value"] for key, entry in found.get(name, {}).items()} for name in names}


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


def topics_now(settings: Common, *topics: TopicSpec) -> list[Topic]:
    """The topics as they are at this moment, in this order.

    Raises:
        Unavailable: Kafka does not answer.
    """
    names = [topic_name(settings, topic) for topic in topics]
    try:
        client = admin(settings)
        try:
            found = topics_by_name(client, names)
        finally:
            client.close()
    except KafkaError as error:
        raise Unavailable(f"kafka: {error}") from error
    return [found[name] for name in names]


def topics_by_name(client: Any, names: Collection[str]) -> dict[str, Topic]:
    """What the admin client says of topics; nothing said, or an error, is a topic that is not there."""
    described = {each["name"]: each for each in client.describe_topics(list(names))}
    return {name: _as_topic(described.get(name, {})) for name in names}


def _as_topic(described: Mapping[str, Any]) -> Topic:
    there = not described.get("error_code") and described.get("partitions")
    return Topic(topic_id(described), len(described["partitions"])) if there else Topic("", 0)


def topic_id(described: Mapping[str, Any]) -> str:
    """The topic's id as text; brokers before 2.8 have none."""
    found = described.get("topic_id")
    return base64.urlsafe_b64encode(found).decode() if isinstance(found, bytes) else str(found or "")
