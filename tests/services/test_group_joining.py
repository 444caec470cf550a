"""A member whose join is cut by a short poll, on the real Kafka."""

from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import RebalanceInProgressError
from kafka.structs import MemberState, OffsetAndMetadata

from services.clients import admin, group_consumer
from services.group_joining import Joining
from services.local.stack import Endpoints
from services.settings import Common
from services.topics import ensure_topics
from streaming.contracts.topics import REQUESTS

POLL_MS = 1
"""No join ends within it, unless the machine is slow."""
FORGOTTEN_AFTER = 1000
"""Polls; the group takes its only member in within a few dozen."""


@pytest.fixture
def member(stack: Endpoints, topic_prefix: str) -> Iterator[KafkaConsumer]:
    """Has joined, alone in its group, and looks at the metadata every half second."""
    settings = Common(
        kafka_bootstrap=stack.kafka_bootstrap,
        redis_url=stack.redis_url,
        topic_prefix=topic_prefix,
        group_prefix=topic_prefix,
        partitions=2,
    )
    ensure_topics(settings)
    consumer = group_consumer(settings, "g", [REQUESTS], metadata_max_age_ms=500)
    try:
        poll_until(consumer, lambda: is_stable(consumer))
        yield consumer
    finally:
        consumer.close()


def is_stable(consumer: KafkaConsumer) -> bool:
    """Whether it takes itself for joined."""
    return bool(consumer.group_metadata().state is MemberState.STABLE)


def poll_until(consumer: KafkaConsumer, reached: Callable[[], bool], joining: Joining | None = None) -> None:
    """Poll shortly until then; the test's time-out bounds it."""
    while not reached():
        consumer.poll(timeout_ms=POLL_MS)
        if joining is not None:
            joining.polled()


def with_partitions(consumer: KafkaConsumer, stack: Endpoints, count: int) -> str:
    """Bring its topic to so many partitions; the topic."""
    (name,) = consumer.subscription()
    with_admin = admin(Common(kafka_bootstrap=stack.kafka_bootstrap, redis_url=stack.redis_url))
    try:
        with_admin.create_partitions({name: count})
    finally:
        with_admin.close()
    return str(name)


def forgotten(consumer: KafkaConsumer, stack: Endpoints) -> TopicPartition:
    """Add partitions until a join was cut and is forgotten; the last partition. A join that a slow poll sees end is none."""
    for count in range(3, 9):
        name = with_partitions(consumer, stack, count)
        rebalancing = 0
        for _ in range(4 * FORGOTTEN_AFTER):
            consumer.poll(timeout_ms=POLL_MS)
            rebalancing = 0 if is_stable(consumer) else rebalancing + 1
            if rebalancing == FORGOTTEN_AFTER:
                return TopicPartition(name, count - 1)
    pytest.fail("every join was seen to end: does the client need `Joining` any more?")


def test_a_join_cut_by_a_short_poll_is_forgotten_by_the_client(member: KafkaConsumer, stack: Endpoints) -> None:
    """What `Joining` is for: the client takes itself for rebalancing for good, and refuses every commit of its own accord."""
    place = forgotten(member, stack)
    assert member.group_metadata().state is MemberState.REBALANCING
    with pytest.raises(RebalanceInProgressError):
        member.commit({TopicPartition(place.topic, 0): OffsetAndMetadata(0, "", -1)})


def test_it_joins_anew_and_commits(member: KafkaConsumer, stack: Endpoints) -> None:
    """All partitions are its own then, the added ones too."""
    place = forgotten(member, stack)
    joining = Joining(member, None, patience_s=0.5)
    poll_until(member, lambda: is_stable(member) and place in member.assignment(), joining)
    assert len(member.assignment()) == place.partition + 1
    member.commit({place: OffsetAndMetadata(0, "", -1)})
    assert member.committed(place) == 0


def test_a_member_that_has_joined_is_left_alone(member: KafkaConsumer) -> None:
    """Without patience, and yet nothing happens."""
    joining = Joining(member, None, patience_s=0.0)
    before = member.group_metadata()
    for _ in range(50):
        member.poll(timeout_ms=POLL_MS)
        assert not joining.polled()
    assert member.group_metadata() == before
