"""Publishing with acknowledgement, and patience with what is unavailable."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from prometheus_client import Counter

from services.clients import producer
from services.metrics import KAFKA_ERRORS, REDIS_ERRORS, REGISTRY_ERRORS, WAITING
from services.settings import Common
from streaming.contracts.errors import Unavailable
from streaming.effects import Publish
from streaming.waiting import Wait

LOG = logging.getLogger(__name__)
ACK_TIMEOUT_S = 30.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
NEVER = (MessageSizeTooLargeError, RecordListTooLargeError)
"""The broker will not take this record, however often it is sent."""
ERRORS: dict[str, Counter] = {"kafka": KAFKA_ERRORS, "redis": REDIS_ERRORS, "registry": REGISTRY_ERRORS}
waited_for: set[str] = set()
"""What this process waits for just now: a loop that waits for it does not stand still by itself."""
T = TypeVar("T")


class Stopped(Exception):
    """The service is to stop while something needed is unavailable; what is not committed comes again."""


class Sender:
    """Publishes effects and waits until every one is acknowledged by all replicas."""

    def __init__(self, settings: Common) -> None:
        """Connect with the first record."""
        self._settings = settings
        self._producer: KafkaProducer | None = None

    def send(self, effects: Sequence[Publish]) -> None:
        """Publish in order and wait.

        Raises:
            Unavailable: at least one is not acknowledged; all may be sent again (their ids repeat).
            KafkaError: a record that the broker will never take.
        """
        try:
            if self._producer is None:
                self._producer = producer(self._settings)
            waiting = [self._hand_over(self._producer, effect) for effect in effects]
            for future in waiting:
                future.get(timeout=ACK_TIMEOUT_S)
        except NEVER:
            raise
        except KafkaError as error:
            if not error.retriable:  # an idempotent producer is of no use after such an error
                self.close()
            raise Unavailable(f"kafka: {error}") from error

    def close(self) -> None:
        """Stop; everything that mattered was waited for already."""
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None

    def _hand_over(self, to: KafkaProducer, effect: Publish) -> Any:
        topic = self._settings.topic_prefix + effect.topic
        return to.send(topic, value=effect.value, key=effect.key, headers=list(effect.headers))


def patiently(call: Callable[[], T], what: str, service: str, stop: threading.Event) -> T:
    """Call until it is available, with growing pauses; every failure is counted.

    Args:
        call: safe to repeat.
        what: `kafka`, `redis` or `registry`, for the metric.
        service: label of the metric.
        stop: ends the waiting.

    Raises:
        Stopped: when `stop` is set before the call succeeds.
    """
    errors, gauge = ERRORS[what], WAITING.labels(service, what)
    pause_s, wait = FIRST_PAUSE_S, Wait()
    while True:
        try:
            done = call()
        except Unavailable as error:
            errors.labels(service).inc()
            gauge.set(1)
            waited_for.add(what)
            if said := wait.failed(what, error, time.monotonic()):
                LOG.warning("%s", said)
            if stop.wait(pause_s):
                raise Stopped(what) from None
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        else:
            if said := wait.over(time.monotonic()):
                gauge.set(0)
                waited_for.discard(what)
                LOG.warning("%s", said)
            return done
