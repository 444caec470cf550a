"""Dead letters sent again, once their cause is mended: the same key, the same bytes, to the topic they came from.

At least once: a letter's marker is written after its record was acknowledged, so that a replay which ends amid its work
offers the rest again, and perhaps a little twice. Every reader knows a message by its id (messageId, request id, reward id).
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from msgspec import Struct

from services.clients import whole_topic_consumer
from services.delivery import Delivery
from services.letters import Letter
from services.reading import read_all
from services.settings import Common
from streaming.contracts.topics import DEAD_LETTERS, TOPICS, TopicSpec
from streaming.dead_letters import ATTEMPT_HEADER, KEEP_WHOLE_BYTES, LETTER_HEADER, replay_marker
from streaming.effects import Publish

ROUND_LETTERS, ROUND_BYTES = 500, 16 * 1024 * 1024
"""Sent and marked together, at most."""
POLL_MS, POLLS = 500, 20
KNOWN = {topic.name: topic for topic in TOPICS if topic != DEAD_LETTERS}


class CannotGo(Exception):
    """A letter that cannot be sent again; the message says why."""


class Sent(Struct):
    """What became of a replay.

    Args:
        left: letters that could not be sent again, each with the reason in words.
        recordless: letters that tell of no record; there is nothing to send.
    """

    sent: int
    left: list[tuple[Letter, str]]
    recordless: int


def replay(settings: Common, letters: Iterable[Letter], *, dry: bool = False) -> Sent:
    """Send letters again, round by round; `dry`: only look which could be.

    Raises:
        LookupError: a topic does not exist.
        KafkaError: Kafka does not take or give something; what was sent and marked by then stays so.
    """
    done = Sent(0, [], 0)
    with ExitStack() as held:
        origins = held.enter_context(closing(Origins(settings)))
        delivery = None if dry else held.enter_context(Delivery(settings))
        for ready in _rounds(_prepared(letters, origins, done)):
            if delivery is not None:
                delivery.effects(effect for _, effect in ready)
                delivery.effects(_marker(letter) for letter, _ in ready)
            done.sent += len(ready)
    return done


def _prepared(letters: Iterable[Letter], origins: "Origins", done: Sent) -> Iterator[tuple[Letter, Publish]]:
    for letter in letters:
        if not letter.topic:
            done.recordless += 1
            continue
        try:
            yield letter, _again(letter, origins)
        except CannotGo as error:
            done.left.append((letter, str(error)))


def _rounds(ready: Iterable[tuple[Letter, Publish]]) -> Iterator[list[tuple[Letter, Publish]]]:
    batch: list[tuple[Letter, Publish]] = []
    size = 0
    for pair in ready:
        batch.append(pair)
        size += len(pair[1].value or b"")
        if len(batch) >= ROUND_LETTERS or size >= ROUND_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _again(letter: Letter, origins: "Origins") -> Publish:
    """The record to send; its headers name the letter, so that a second failure says so.

    Raises:
        CannotGo: in words.
    """
    topic = KNOWN.get(letter.topic)
    if topic is None:
        raise CannotGo(f"{letter.topic!r} is no topic of ours")
    key, value = origins.whole(letter, topic) if letter.truncated else (letter.key, letter.original)
    if value is None:
        raise CannotGo("it holds nothing")
    if topic.cleanup == "compact":
        origins.check_newest(letter, topic, key)
    headers = ((LETTER_HEADER, letter.id.encode()), (ATTEMPT_HEADER, str(letter.attempt).encode()))
    return Publish(topic.name, key, value, letter.id, headers)


def _marker(letter: Letter) -> Publish:
    origin = {
        "topic": letter.topic, "partition": str(letter.partition), "offset": str(letter.offset), "at": letter.at,
    }  # fmt: skip
    return replay_marker(letter.id, letter.key, origin)


class Origins:
    """The topics that letters came from."""

    def __init__(self, settings: Common) -> None:
        """Connect with the first question."""
        self._settings = settings
        self._consumers: dict[str, KafkaConsumer] = {}
        self._newest: dict[str, dict[bytes | None, tuple[int, int]]] = {}

    def whole(self, letter: Letter, topic: TopicSpec) -> tuple[bytes | None, bytes | None]:
        """Key and value of a record that was too large for its letter, as long as its topic keeps it.

        Raises:
            CannotGo: it is gone, or another record stands there.
        """
        kept = (
            f"only the first {KEEP_WHOLE_BYTES} bytes were kept" if letter.sha256 else "only a part of its key was kept"
        )
        place = TopicPartition(self._settings.topic_prefix + topic.name, letter.partition)
        found = self._record(topic, place, letter.offset)
        if found is None:
            raise CannotGo(f"{kept}, and the topic does not keep the record any more")
        value_fits = _sha256(found.value) == letter.sha256 if letter.sha256 else found.value == letter.original
        key_fits = _sha256(found.key) == letter.key_sha256 if letter.key_sha256 else found.key == letter.key
        if not (value_fits and key_fits):
            raise CannotGo(f"{kept}, and another record stands where it stood: the topic was made anew")
        return found.key, found.value

    def check_newest(self, letter: Letter, topic: TopicSpec, key: bytes | None) -> None:
        """Of a compacted topic the last record of a key counts: an old one must not come after a newer one.

        Raises:
            CannotGo: there is a newer record of this key.
        """
        if topic.name not in self._newest:
            places = ((record.key, (record.partition, record.offset)) for record in read_all(self._settings, topic))
            self._newest[topic.name] = dict(places)
        partition, offset = self._newest[topic.name].get(key, (letter.partition, letter.offset))
        if (partition, offset) != (letter.partition, letter.offset):
            raise CannotGo(f"a newer record of its key stands at {topic.name}[{partition}]@{offset}")

    def close(self) -> None:
        """Let go of Kafka."""
        for consumer in self._consumers.values():
            consumer.close()

    def _record(self, topic: TopicSpec, place: TopicPartition, offset: int) -> Any:
        consumer = self._consumers.get(topic.name)
        if consumer is None:
            consumer = self._consumers[topic.name] = whole_topic_consumer(self._settings, topic)
        if place not in consumer.assignment():
            return None
        begin, end = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        if not begin <= offset < end:
            return None
        others = consumer.assignment() - {place}
        consumer.pause(*others)
        consumer.resume(place)
        consumer.seek(place, offset)
        for _ in range(POLLS):
            for record in consumer.poll(timeout_ms=POLL_MS, max_records=1).get(place, ()):
                return record if record.offset == offset else None
        return None


def _sha256(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()
