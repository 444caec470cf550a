"""Follows `model.adapters` in a thread of its own: reads, fetches and checks versions off the hot path.

Outside any group, the whole topic first, then live. What comes out are finished changes; the decoding thread takes them
between batches.
"""

import logging
import queue
import threading
import traceback

import torch
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from model import adapter
from model.critic import Critic
from model.formula import RewardFormula
from model.lean import LeanBackbone
from model.registry import Registry
from services.clients import whole_topic_consumer
from services.metrics import ADAPTERS_REFUSED, BUGS
from services.settings import WorkerSettings
from services.worker_sending import Stopped, patiently
from services.worker_serving import Change, Loaded, Ready, ready
from streaming.contracts.adapters import BASE_ALONE, Serving, Version, decode_record
from streaming.contracts.errors import BadEvent, Unavailable
from streaming.contracts.topics import ADAPTERS

LOG = logging.getLogger(__name__)
POLL_MS = 200
"""A snapshot must be served within two seconds of its announcement."""


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


class Loader:
    """Turns a `Serving` into a `Change`: fetches and checks what is not loaded yet."""

    def __init__(
        self,
        registry: Registry,
        expected: adapter.Expected,
        device: torch.device,
        formula: RewardFormula,
        lean: LeanBackbone | None = None,
    ) -> None:
        """Load for a base with these slots on this device; `lean` is its lean pass, for which adapters are fused here."""
        self._registry, self._expected, self._device, self._formula = registry, expected, device, formula
        self._lean = lean if lean is not None and lean.fuses else None
        self._loaded: set[str] = set()
        self._critic = ""
        self._refused: dict[str, str] = {}

    def change(self, serving: Serving, versions: dict[str, Version]) -> Change:
        """Everything a serving record needs that is not loaded already.

        Raises:
            Unavailable: the registry does not answer; nothing is marked as loaded.
        """
        wanted = {name for name in (serving.champion, serving.anchor, serving.canary) if name not in ("", BASE_ALONE)}
        sound = [self._sound(name, "adapter", versions) for name in sorted(wanted - self._loaded)]
        read = [self._adapter(version) for version in sound if version is not None]
        adapters = [loaded for loaded in read if loaded is not None]
        critic = self._new_critic(serving.critic, versions)
        self._loaded = (wanted & self._loaded) | {loaded.version for loaded in adapters}
        if critic is not None:
            self._critic = critic.critic.version
        refused = {name: why for name, why in self._refused.items() if name in wanted | {serving.critic}}
        return Change(serving, tuple(adapters), critic, refused)

    def _adapter(self, version: Version) -> Loaded | None:
        if version.base_sha256 != self._expected.base_sha256:
            wanted = f"the base that is served, {self._expected.base_sha256}"
            self._refuse(version.name, BadEvent("base_sha256", version.base_sha256, wanted))
            return None
        try:
            tensors = adapter.read(self._registry.fetch(version), self._expected, self._device)
        except BadEvent as error:
            self._refuse(version.name, error)
            return None
        fused = self._lean.fuse(tensors) if self._lean is not None else None
        return Loaded(version.name, version.lm_weight, adapter.block_of(tensors), fused)

    def _new_critic(self, name: str, versions: dict[str, Version]) -> Ready | None:
        if name in ("", self._critic):
            return None
        version = self._sound(name, "critic", versions)
        if version is None:
            return None
        try:
            return ready(Critic.load(self._registry.fetch(version), self._formula, name))
        except BadEvent as error:
            self._refuse(name, error)
            return None

    def _sound(self, name: str, what: str, versions: dict[str, Version]) -> Version | None:
        """The announcement of a version that has not been refused before."""
        if name in self._refused:
            return None
        version = versions.get(name)
        if version is None or version.what != what:
            self._refuse(name, BadEvent("name", name, f"an announced {what}"))
            return None
        return version

    def _refuse(self, name: str, error: BadEvent) -> None:
        """Count once; a refused version is immutable, so it is not tried again."""
        self._refused[name] = str(error)
        ADAPTERS_REFUSED.labels(_reason(error.field)).inc()
        LOG.error("version %s is refused: %s", name, error)


class Follower(threading.Thread):
    """The thread. `changes` holds finished changes; `ready` is set when the topic has been read to its end once."""

    def __init__(self, settings: WorkerSettings, loader: Loader, stop: threading.Event) -> None:
        """Start with `.start()`; ends soon after `stop` is set."""
        super().__init__(name="adapters", daemon=True)
        self._settings, self._loader, self._stop_asked = settings, loader, stop
        self.changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self.ready = threading.Event()
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Follow until asked to stop. Our own bug ends the thread, and `failed` tells the service, which exits."""
        try:
            self._follow()
        except Stopped:
            LOG.info("stopped while waiting for Kafka")
        except Exception as error:  # noqa: BLE001 -- handed to the main thread, which exits with it
            BUGS.labels("worker").inc()
            LOG.critical("following %s failed: %s", ADAPTERS.name, traceback.format_exc())
            self.failed = error
        finally:
            self.ready.set()

    def _follow(self) -> None:
        consumer = patiently(self._consumer, "kafka", "worker", self._stop_asked)
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
                    "worker",
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


def _reason(field: str) -> str:
    """A label from a closed set: fields of foreign files are not."""
    known = {"base_sha256": "other_base", "sha256": "corrupt", "name": "unknown", "uri": "address"}
    if field in known:
        return known[field]
    return "corrupt" if field.startswith("files") or field == adapter.TENSORS else "misfit"
