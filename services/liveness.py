"""Whether a consumer still does its work: what it has applied must move while the ends of its topics grow.

Asked of Kafka itself, with clients of our own, so that a silent framework cannot vouch for itself. The same look tells
the lag, and whether the topics are still those that the process began with.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError
from msgspec import Struct
from redis.exceptions import NoPermissionError, RedisError

from services import metrics
from services.clients import admin, redis_client, topic_name
from services.health import Health
from services.lag import Lag, Place
from services.settings import Common, kafka_options
from services.topics import Topic, topics_by_name
from streaming.answering import evicts
from streaming.contracts.topics import TopicSpec
from streaming.waiting import Wait

CHECK_EVERY_S = 5.0
PATIENCE_S = 60.0
OLDEST_WAIT_S = 2.0
UNREACHABLE = (KafkaError, OSError, AssertionError)  # kafka-python asserts that a connection is still there

LOG = logging.getLogger(__name__)


class Progress:
    """Per partition: since when it has had records that nobody applied, without any movement. Pure."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._applied: dict[Place, int] = {}
        self._since_s: dict[Place, float] = {}

    def stuck(
        self, ends: Mapping[Place, int], applied: Mapping[Place, int], now_s: float, patience_s: float
    ) -> set[Place]:
        """Partitions that have not moved for longer than `patience_s` although there was something to read."""
        for place, end in ends.items():
            at = applied.get(place, 0)
            if at >= end or at != self._applied.get(place, -1):
                self._since_s[place] = now_s
            self._applied[place] = at
        return {place for place in ends if now_s - self._since_s[place] > patience_s}

    def forgive(self) -> None:
        """Begin again: there was a known reason to wait."""
        self._since_s.clear()
        self._applied.clear()


class Look(Struct, frozen=True):
    """What one look found.

    Args:
        topics: topic (without prefix) → as it is.
        ends, applied: (topic, partition) → offset.
        stuck: partitions where nothing has moved for too long.
    """

    topics: dict[str, Topic]
    ends: dict[Place, int]
    applied: dict[Place, int]
    stuck: set[Place]


class Watch:
    """Looks at a consumer from outside.

    Args:
        group: whose committed offsets count (with its prefix); None where only `applied` does.
        applied: the next offset that the process has not applied, if it knows; what is committed counts up to there.
        redis: whether readiness needs a Redis that answers and evicts nothing.
    """

    def __init__(
        self,
        settings: Common,
        service: str,
        topics: Iterable[TopicSpec],
        *,
        group: str | None,
        applied: Callable[[str, int], int | None],
        health: Health,
        redis: bool = True,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Connect at the first look."""
        self._redis = redis_client(settings, retries=0) if redis else None
        self._settings, self._service = settings, service
        self._topics = {topic_name(settings, topic): topic.name for topic in topics}
        self._group, self._applied = group, applied
        self._health = health
        self._patience_s = patience_s
        self._admin: Any = None
        self._consumer: Any = None
        self._progress, self._lag, self._wait = Progress(), Lag(), Wait()
        self._looked_s = 0.0

    def look(self, *, waiting: bool) -> Look | None:
        """Look once, and export the lag; None when Kafka does not answer.

        Args:
            waiting: whether something we depend on is known not to answer: then standing still is right.
        """
        self._look_at_redis()
        try:
            found = self._look()
        except UNREACHABLE as error:
            self._unreachable(error)
            found = None
        else:
            self._reached()
        for topic, seconds in self._lag.seconds(self._looked_s if found else time.time()).items():
            metrics.LAG.labels(self._service, topic).set(max(0.0, seconds))
        if found is None or waiting:
            self._progress.forgive()
        return found

    def close(self) -> None:
        """Disconnect."""
        for client in (self._admin, self._consumer, self._redis):
            if client is not None:
                client.close()
        self._admin = self._consumer = None

    def _look_at_redis(self) -> None:
        if self._redis is None:
            return
        try:
            refusal = evicts(self._redis.info("memory"))
        except NoPermissionError:
            refusal = None  # it answers
        except (RedisError, OSError) as error:
            refusal = f"does not answer: {error}"
        if refusal:
            self._health.unmet("redis", refusal)
        else:
            self._health.met("redis")

    def _unreachable(self, error: BaseException) -> None:
        self.close()  # a client that lost its broker may know addresses that are gone
        self._health.unmet("kafka", "does not answer")
        metrics.WAITING.labels(self._service, "kafka").set(1)
        if said := self._wait.failed("kafka", repr(error), time.monotonic()):
            LOG.warning("%s", said)

    def _reached(self) -> None:
        self._health.met("kafka")
        if said := self._wait.over(time.monotonic()):
            metrics.WAITING.labels(self._service, "kafka").set(0)
            LOG.warning("%s", said)

    def _look(self) -> Look:
        if self._admin is None:
            self._admin = admin(self._settings)
        topics = self._described()
        places = [
            TopicPartition(name, partition)
            for name, topic in self._topics.items()
            for partition in range(topics[topic].partitions)
        ]
        found = self._admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
        ends = {(self._topics[place.topic], place.partition): each.offset for place, each in found.items()}
        applied = self._all_applied(places)
        oldest = self._oldest(ends, applied)
        queued = dict.fromkeys(topics, 0)
        for (topic, partition), end in ends.items():
            queued[topic] += max(0, end - applied[topic, partition])
        for topic, count in queued.items():
            metrics.QUEUED.labels(self._service, topic).set(count)
        self._looked_s = time.time()
        self._lag.seen(oldest, self._looked_s)
        stuck = self._progress.stuck(ends, applied, time.monotonic(), self._patience_s)
        return Look(topics, ends, applied, stuck)

    def _described(self) -> dict[str, Topic]:
        return {self._topics[name]: now for name, now in topics_by_name(self._admin, self._topics).items()}

    def _all_applied(self, places: list[TopicPartition]) -> dict[Place, int]:
        committed: Mapping[Any, Any] = {}
        if self._group is not None:
            committed = self._admin.list_group_offsets({self._group: places})[self._group]
        applied = {}
        for place in places:
            topic = self._topics[place.topic]
            known = self._applied(topic, place.partition)
            said = committed.get(place)
            offset = max(0, said.offset) if said is not None else 0
            if self._group is None:
                offset = known or 0
            applied[topic, place.partition] = offset if known is None else min(offset, known)
        return applied

    def _oldest(self, ends: Mapping[Place, int], applied: Mapping[Place, int]) -> dict[Place, float | None]:
        """The Kafka timestamp of the first record of each partition that was not applied."""
        oldest: dict[Place, float | None] = dict.fromkeys(ends)
        names = {topic: name for name, topic in self._topics.items()}
        behind = {TopicPartition(names[t], p): applied[t, p] for (t, p), end in ends.items() if applied[t, p] < end}
        if not behind:
            return oldest
        now_s = time.time()
        for place in behind:
            key = (self._topics[place.topic], place.partition)
            oldest[key] = self._lag.since_s(key) or now_s  # unless its record can be read
        for place, timestamp_ms in self._first_records(behind).items():
            oldest[self._topics[place.topic], place.partition] = timestamp_ms / 1000
        return oldest

    def _first_records(self, at: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        if self._consumer is None:
            self._consumer = KafkaConsumer(
                **kafka_options(self._settings), enable_auto_commit=False, max_partition_fetch_bytes=16_384
            )
        self._consumer.assign(list(at))
        for place, offset in at.items():
            self._consumer.seek(place, offset)
        found: dict[TopicPartition, int] = {}
        give_up_s = time.monotonic() + OLDEST_WAIT_S
        while len(found) < len(at) and time.monotonic() < give_up_s:
            for place, records in self._consumer.poll(200).items():
                found.setdefault(place, records[0].timestamp)
                self._consumer.pause(place)
        self._consumer.assign([])
        return found


def standing(stuck: Iterable[Place]) -> str:
    """In words, which partitions stand still."""
    listed = ", ".join(f"{topic} {partition}" for topic, partition in sorted(stuck))
    return f"nothing was applied of {listed} for so long that something must be wrong"
