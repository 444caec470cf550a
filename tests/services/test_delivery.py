"""What a command publishes is acknowledged, or the error says what is missing: a topic, or a broker that answers."""

import pytest
from kafka.errors import KafkaError, KafkaTimeoutError
from msgspec import structs

from services.delivery import Delivery
from services.settings import Common, load
from streaming.effects import Publish
from tests.services.test_cli import environ, invoke

__all__ = ["environ"]  # a fixture


def record(topic: str) -> Publish:
    """Some record."""
    return Publish(topic, b"key", b"{}", "")


def slow(_topic: str) -> set[int]:
    """What kafka-python says of a missing topic, of a slow broker and of none."""
    raise KafkaTimeoutError("Failed to update metadata after 10.0 secs.")


@pytest.fixture
def settings(environ: dict[str, str]) -> Common:
    """Of an installation with its topics."""
    assert invoke(["topics"], environ)[0] == 0
    return load(Common, environ)


def test_a_broker_that_is_slow_to_tell_its_topics_has_them(settings: Common, monkeypatch: pytest.MonkeyPatch) -> None:
    """The topic is there: what is published arrives, asked once whether it is there."""
    asked: list[int] = []
    with Delivery(settings) as delivery:
        monkeypatch.setattr(delivery._producer, "partitions_for", slow)
        topics = delivery._topics

        def counted() -> set[str]:
            asked.append(1)
            return topics()

        monkeypatch.setattr(delivery, "_topics", counted)
        name = settings.topic_prefix + "shop.events"
        assert delivery.send([(name, record(name)), (name, record(name))]) == 2
    assert len(asked) == 1


def test_a_missing_topic_is_named(settings: Common, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the broker itself says so."""
    with Delivery(settings) as delivery:
        monkeypatch.setattr(delivery._producer, "partitions_for", slow)
        with pytest.raises(LookupError, match=r"topic 'nobodys' is not on the broker"):
            delivery.send([("nobodys", record("nobodys"))])


def test_a_broker_that_does_not_answer_is_no_missing_topic(settings: Common, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told to create a topic that nobody could look up."""
    with Delivery(settings) as delivery:
        monkeypatch.setattr(delivery._producer, "partitions_for", slow)
        monkeypatch.setattr(
            delivery, "_settings", structs.replace(settings, kafka_bootstrap="127.0.0.1:1", kafka_timeout_s=1.0)
        )
        with pytest.raises(KafkaError):
            delivery.send([(settings.topic_prefix + "shop.events", record("shop.events"))])
