"""Publishes what the outboxes hold, in order, and says which entries are done."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec
from aiokafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError
from faust.exceptions import ProducerSendError

from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS, REWARDS, SUPPRESSIONS
from streaming.contracts.tracing import checked, said, span_id
from streaming.dead_letters import dead_letter
from streaming.effects import MERGE, Publish
from streaming.facts import ITEMS, Facts

Entries = Mapping[int, list[tuple[str, Publish]]]
"""Bucket → entries with their ids, in order of writing."""
LOGGED = {REQUESTS.name: "request_id", REWARDS.name: "reward_id", SUPPRESSIONS.name: "suppression_id"}
"""Topics of items, and what their messages' ids are."""

_items = logging.getLogger(ITEMS)


class Producer(Protocol):
    """Faust's producer."""

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: Any,
    ) -> Awaitable[Any]:
        """Hand a message over; the awaitable ends when it is acknowledged."""
        ...


class Outbox:
    """The way out of Redis into Kafka."""

    def __init__(
        self, producer: Producer, prefix: str, facts: Facts, said: Callable[[Publish], bool] = lambda _message: False
    ) -> None:
        """Publish through this producer, topics with this prefix, what was not `said` before."""
        self._said = said
        self._producer = producer
        self._prefix = prefix
        self._facts = facts

    async def publish(self, entries: Entries) -> dict[int, list[str]]:
        """Publish and wait until everything is acknowledged.

        What Kafka refuses for good is dead-lettered instead.

        Returns:
            per bucket the ids that may be cleared; an intent to merge is no message and is not among them.

        Raises:
            Unavailable: Kafka does not take something now; nothing may be cleared.
        """
        listed = [(b, id_, entry) for b, each in entries.items() for id_, entry in each if entry.topic != MERGE]
        await self.send([entry for _, _, entry in listed if not self._said(entry)])
        done: dict[int, list[str]] = {}
        for bucket, id_, _ in listed:
            done.setdefault(bucket, []).append(id_)
        return done

    async def send(self, messages: list[Publish]) -> None:
        """Publish messages in order and wait for all of them.

        Raises:
            Unavailable: Kafka does not take something now.
        """
        refused: list[Publish] = []
        began_s = time.time()
        waiting: list[tuple[Publish, Awaitable[Any]]] = []
        for message in messages:
            try:
                waiting.append((message, await self._hand_over(message)))
            except (KafkaError, ProducerSendError) as error:
                self._blamed(error)
                refused.append(message)
        answers = await asyncio.gather(*(each for _, each in waiting), return_exceptions=True)
        for (message, _), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, BaseException):
                self._blamed(answer)
                refused.append(message)
        for message in refused:
            await self._give_up(message)
        if _items.isEnabledFor(logging.INFO):
            for message, _ in waiting:
                if message.topic in LOGGED:
                    ids = {"topic": message.topic, LOGGED[message.topic]: message.id}
                    _items.info("published", extra=ids | _trace(message) | {"began_s": began_s})

    async def _hand_over(self, message: Publish) -> Awaitable[Any]:
        headers = list(message.headers) or None
        return await self._producer.send(self._prefix + message.topic, message.key, message.value, None, None, headers)

    def _blamed(self, error: BaseException) -> None:
        """Return for a refusal that would repeat for ever; raise what may pass, and what is our own bug."""
        cause = error.__cause__ if isinstance(error, ProducerSendError) and error.__cause__ else error
        if isinstance(cause, (MessageSizeTooLargeError, InvalidTopicError)):
            return
        if isinstance(cause, (KafkaError, OSError, TimeoutError, asyncio.CancelledError)):
            raise Unavailable(f"Kafka: {cause!r}") from error
        raise error

    async def _give_up(self, message: Publish) -> None:
        letter = dead_letter(
            topic=message.topic,
            partition=-1,
            offset=-1,
            key=message.key,
            value=message.value,
            reason="refused_by_kafka",
            at_ms=0,
            wanted="a message that Kafka takes",
            blame="us",
        )
        self._facts.count("dead_letters", reason="refused_by_kafka")
        try:
            await (await self._hand_over(letter))
        except (KafkaError, ProducerSendError) as error:
            raise Unavailable(f"Kafka: {error!r}") from error


class _Caused(msgspec.Struct):
    traceparent: str = ""


def _trace(message: Publish) -> dict[str, str]:
    """The span of a message and the one it follows from: a reward from its strategy, a request from what caused it."""
    found = said(message.headers)
    if not found:
        return {}
    if message.topic == REWARDS.name:
        return {"traceparent": found, "parent_id": span_id((message.key or b"").decode("utf-8", "surrogatepass"))}
    given = checked(msgspec.json.decode(message.value or b"{}", type=_Caused).traceparent)
    return {"traceparent": found, "parent_id": given.split("-")[2] if given else ""}
