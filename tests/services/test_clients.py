"""Clients made from settings, on the real Kafka."""

import contextlib
import socket
import threading
from typing import Literal

import pytest
from kafka.errors import KafkaTimeoutError, SaslAuthenticationFailedError, UnknownTopicOrPartitionError

from services.clients import HUNG_UP, METADATA_AGE_MS, admin, group_consumer, topic_name
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


def hang_up_once(server: socket.socket, held: list[socket.socket]) -> None:
    """End the first connection once it has spoken, and let all others wait."""
    with contextlib.suppress(OSError):  # the test is over
        first, _ = server.accept()
        first.recv(1)
        first.shutdown(socket.SHUT_WR)
        first.recv(1 << 16)
        first.close()
        while True:
            held.append(server.accept()[0])


@pytest.mark.parametrize(
    ("mechanism", "raised"), [("", KafkaTimeoutError), ("PLAIN", SaslAuthenticationFailedError)], ids=["plain", "sasl"]
)
def test_an_attempt_cut_short_hides_no_refusal(mechanism: Literal["", "PLAIN"], raised: type[Exception]) -> None:
    """What a broker said first is the reason, though the last attempt ran out of time."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as after:
        threading.Thread(target=hang_up_once, args=(server, held), daemon=True).start()
        settings = Common(
            kafka_bootstrap=f"127.0.0.1:{server.getsockname()[1]}",
            kafka_sasl_mechanism=mechanism,
            kafka_timeout_s=2.0,
        )
        with pytest.raises(raised, match=HUNG_UP):
            admin(settings)
        for each in held:
            after.enter_context(each)
        server.shutdown(socket.SHUT_RDWR)
