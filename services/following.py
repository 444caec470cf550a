"""Follows `model.adapters` in a thread of its own: reads, fetches and checks versions off the hot path. No torch.

Outside any group, the whole topic first, then live. What comes out are finished changes, made by a loader; whoever serves
takes them when it suits.
"""

import logging
import queue
import threading
import traceback
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from kafka import KafkaConsumer
from kafka.errors import KafkaError

from model.critic import Critic
from model.formula import RewardFormula
from model.registry import Registry
from services.clients import whole_topic_consumer
from services.metrics import ADAPTERS_REFUSED, BUGS
from services.settings import Common
from services.worker_sending import Stopped, patiently
from streaming.contracts.adapters import Serving, Version, decode_record
from streaming.contracts.errors import BadEvent, Unavailable
from streaming.contracts.topics import ADAPTERS

LOG = logging.getLogger(__name__)
POLL_MS = 200
"""A snapshot must be served within two seconds of its announcement."""
T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Announced:
    """What the topic says so far: versions by name and the newest `serving`. Without I/O."""

    def __init__(self) -> None:
        """Nothing announced."""
        self.versions: dict[str, Version] = {}
        self.serving: Serving | None = None

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """Take in one record; True when what is served changes.

        An operator's act raises the epoch: lower epochs are ignored, and within an epoch lower sequences.

        Raises:
            BadEvent: a record that is neither.
        """
        if not value:
            self.versions.pop((key or b"").decode("utf-8", "replace"), None)
            return False
        record = decode_record(value)
        if isinstance(record, Version):
            self.versions[record.name] = record
            return False
        now = self.serving
        if now is not None and (record.epoch, record.sequence) <= (now.epoch, now.sequence):
            return False
        self.serving = record
        return True


class Loads(Protocol[T_co]):
    """Turns a record `serving` into what is served by it."""

    def change(self, serving: Serving, versions: Mapping[str, Version]) -> T_co:
        """Everything that a serving record needs and that is not loaded already.

        Raises:
            Unavailable: the registry does not answer; nothing is marked as loaded.
        """


class Critics:
    """Loads critics by name, each once; remembers which versions are refused, and counts each once.

    Args:
        tensors: name of the file that holds a version's tensors, for the reason of a refusal.
    """

    def __init__(self, registry: Registry, formula: RewardFormula, tensors: str = "") -> None:
        """Nothing loaded."""
        self._registry, self._formula, self._tensors = registry, formula, tensors
        self._name = ""
        self.refused: dict[str, str] = {}

    def change(self, serving: Serving, versions: Mapping[str, Version]) -> Critic | None:
        """The critic that a serving record names; None where that is the last one that was loaded, or is refused.

        Raises:
            Unavailable: the registry does not answer; it is not marked as loaded.
        """
        name = serving.critic
        if name in ("", self._name):
            return None
        version = self.sound(name, "critic", versions)
        if version is None:
            return None
        try:
            loaded = Critic.load(self._registry.fetch(version), self._formula, name)
        except BadEvent as error:
            self.refuse(name, error)
            return None
        self._name = name
        return loaded

    def sound(self, name: str, what: str, versions: Mapping[str, Version]) -> Version | None:
        """The announcement of a version that has not been refused before."""
        if name in self.refused:
            return None
        version = versions.get(name)
        if version is None or version.what != what:
            self.refuse(name, BadEvent("name", name, f"an announced {what}"))
            return None
        return version

    def refuse(self, name: str, error: BadEvent) -> None:
        """Count once; a refused version is immutable, so it is not tried again."""
        self.refused[name] = str(error)
        ADAPTERS_REFUSED.labels(_reason(error.field, self._tensors)).inc()
        LOG.error("version %s is refused: %s", name, error)


class Follower(threading.Thread, Generic[T]):
    """The thread. `changes` holds finished changes; `ready` is set when the topic has been read to its end once."""

    def __init__(self, settings: Common, loader: Loads[T], stop: threading.Event, service: str = "worker") -> None:
        """Start with `.start()`; ends soon after `stop` is set. `service` is a label of metrics."""
        super().__init__(name="adapters", daemon=True)
        self._settings, self._loader, self._stop_asked, self._service = settings, loader, stop, service
        self.changes: queue.SimpleQueue[T] = queue.SimpleQueue()
        self.ready = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Follow until asked to stop. Our own bug ends the thread, and `failed` tells the service, which exits."""
        try:
            self._follow()
        except Stopped:
            LOG.info("stopped while waiting for Kafka")
        except Exception as error:  # noqa: BLE001 -- handed to the main thread, which exits with it
            BUGS.labels(self._service).inc()
            LOG.critical("following %s failed: %s", ADAPTERS.name, traceback.format_exc())
            self.failed = error
        finally:
            self.ready.set()

    def _follow(self) -> None:
        consumer = patiently(self._consumer, "kafka", self._service, self._stop_asked)
        ends = consumer.end_offsets(consumer.assignment())
        announced, pending = Announced(), False
        while not self._stop_asked.is_set():
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    pending |= self._take(announced, record.key, record.value)
            at_end = all(consumer.position(partition) >= end for partition, end in ends.items())
            if pending and at_end and announced.serving is not None:
                serving, versions = announced.serving, announced.versions
                load = patiently(
                    lambda s=serving, v=versions: self._loader.change(s, v),  # type: ignore[misc]  # default arguments bind now
                    "registry",
                    self._service,
                    self._stop_asked,
                )
                self.changes.put(load)
                pending = False
            if at_end:
                self.ready.set()
        consumer.close()

    def _consumer(self) -> KafkaConsumer:
        try:
            consumer = whole_topic_consumer(self._settings, ADAPTERS)
        except KafkaError as error:
            raise Unavailable(f"kafka: {error}") from error
        if not consumer.assignment():
            consumer.close()
            raise Unavailable(f"kafka: topic {self._settings.topic_prefix}{ADAPTERS.name} does not exist yet")
        return consumer

    @staticmethod
    def _take(announced: Announced, key: bytes | None, value: bytes | None) -> bool:
        try:
            return announced.take(key, value)
        except BadEvent as error:
            ADAPTERS_REFUSED.labels("record").inc()
            LOG.error("a record of %s is refused: %s", ADAPTERS.name, error)  # noqa: TRY400 -- a stranger's fault needs no traceback
            return False


def _reason(field: str, tensors: str) -> str:
    """A label from a closed set: fields of foreign files are not."""
    known = {"base_sha256": "other_base", "sha256": "corrupt", "name": "unknown", "uri": "address"}
    if field in known:
        return known[field]
    return "corrupt" if field.startswith("files") or field == tensors else "misfit"
