"""What the updater tells the world: versions first (that is the commit), then one record `serving`, every decision of the gate."""

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from msgspec.structs import replace

from model.critic import TENSORS as CRITIC_TENSORS
from model.critic import Critic
from model.gate import Judgement
from model.registry import Registry, What, sequence_of
from services.metrics import GATE_DECISIONS, GATE_NUMBER
from services.worker_sending import Sender, patiently
from streaming.contracts.adapters import BASE_ALONE, SERVING_KEY, Decided, GateDecision, Serving, Version, decode_record
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import derive
from streaming.contracts.topics import ADAPTERS, DECISIONS
from streaming.effects import Publish, publish

LOG = logging.getLogger(__name__)
ADAPTER_TENSORS = "adapter_model.safetensors"
"""Named here too, because `model/adapter.py` brings torch."""
KEPT_CRITICS = 24
"""The newest critic versions stay in topic and registry; of the older ones those in `THINNED`, the rest is tombstoned."""
THINNED = (10, 100, 1000)
"""Every so manieth critic stays ten, a hundred, a thousand times as long: rewards come hours after their decisions, and some of
those must be recomputed (law 2)."""
KEPT_ADAPTERS = 10
"""The same for adapters, beside those that are served."""
SERVICE = "updater"
Becomes = Callable[[Serving], Serving]
"""What is served after, from what is served before; `model/roles.py`."""


class Announced:
    """What `model.adapters` says, our own records included. Without I/O.

    Attributes:
        outranked: the last record `serving` in the topic is one of a lower epoch, which compaction would leave alone there.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.outranked = False
        self.versions: dict[str, Version] = {}
        self.serving: Serving | None = None
        self.highest: dict[str, int] = {"adapter": 0, "critic": 0}

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """One record, as read or as published by us.

        Raises:
            BadEvent: a record that is none.
        """
        if not value:
            self.versions.pop((key or b"").decode("utf-8", "replace"), None)
            return
        record = decode_record(value)
        if isinstance(record, Version):
            number = sequence_of(record.name)
            self.versions[record.name] = record
            self.highest[record.what] = max(self.highest[record.what], number)
            return
        self.outranked = self.serving is not None and record.epoch < self.serving.epoch
        if self.serving is None or (record.epoch, record.sequence) > (self.serving.epoch, self.serving.sequence):
            self.serving = record

    @property
    def champion(self) -> str:
        """The adapter that is served."""
        return self.serving.champion if self.serving else BASE_ALONE


class Announcer:
    """Registry and topics, in the right order, with patience."""

    def __init__(self, registry: Registry, sender: Sender, stop: Event, base: str) -> None:
        """Nothing is sent yet.

        Args:
            base: name of the base, as versions carry it.
        """
        self.registry, self._sender, self._stop, self.base = registry, sender, stop, base
        self.said = Announced()

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """A record of `model.adapters` as read; one that is none is logged and passed over."""
        try:
            self.said.take(key, value)
        except BadEvent as error:
            LOG.warning("a record of %s is passed over: %s", ADAPTERS.name, error)

    def critic(self, critic: Critic, offsets: dict[str, int], judgement: Judgement) -> Critic:
        """Publish and serve a snapshot that its gate let through; the critic under its name."""
        with TemporaryDirectory(prefix="critic-") as folder:
            critic.save(Path(folder))
            version = patiently(
                lambda: self.registry.publish(
                    "critic",
                    self._next("critic"),
                    Path(folder),
                    tensors=CRITIC_TENSORS,
                    base="",
                    base_sha256="",
                    parent=self.said.serving.critic if self.said.serving else "",
                    created_at=datetime.now(UTC),
                    offsets=offsets,
                    metrics=judgement.numbers,
                ),
                "registry",
                SERVICE,
                self._stop,
            )
        self._commit(lambda serving: replace(serving, critic=version.name), version)
        self.decided(version.name, "critic", judgement)
        self._forget_critics()
        return replace_version(critic, version.name)

    def adapter(
        self,
        folder: Path,
        base_sha256: str,
        parent: str,
        offsets: dict[str, int],
        lm_weight: float,
        numbers: dict[str, float],
        *,
        becomes: Callable[[Serving, str], Serving] | None,
    ) -> Version:
        """Publish an adapter, and what is served with it, from what was and the version's name; None: it is not served."""
        version = patiently(
            lambda: self.registry.publish(
                "adapter",
                self._next("adapter"),
                folder,
                tensors=ADAPTER_TENSORS,
                base=self.base,
                base_sha256=base_sha256,
                parent=parent,
                created_at=datetime.now(UTC),
                offsets=offsets,
                metrics=numbers,
                lm_weight=lm_weight,
            ),
            "registry",
            SERVICE,
            self._stop,
        )
        self._commit((lambda serving: becomes(serving, version.name)) if becomes else None, version)
        return version

    def serve(self, becomes: Becomes) -> None:
        """Announce that something else is served, of versions that are announced already."""
        self._commit(becomes)

    def forget_adapters(self) -> None:
        """Old adapters leave topic and registry; what is served stays, however old."""
        serving = self.said.serving
        served = {serving.champion, serving.anchor, serving.canary} if serving else set()
        names = sorted(name for name, version in self.said.versions.items() if version.what == "adapter")
        self._forget("adapter", [name for name in names[:-KEPT_ADAPTERS] if name not in served])

    def close(self) -> None:
        """Let go of Kafka."""
        self._sender.close()

    def decided(
        self, name: str, what: str, judgement: Judgement, by: str = "gate", decision: Decided | None = None
    ) -> None:
        """Record a decision with its numbers.

        Args:
            decision: what it comes to, where that is not the judgement's own word.
        """
        said = decision or judgement.decision
        now = datetime.now(UTC)
        record = GateDecision(
            decision_id=derive("dec", name, said, now.isoformat()),
            version=name,
            what="critic" if what == "critic" else "adapter",
            decision=said,
            reason=judgement.reason,
            checks=judgement.checks,
            numbers=judgement.numbers,
            decided_at=now,
            by=by,
        )
        GATE_DECISIONS.labels(what, said).inc()
        for number, value in judgement.numbers.items():
            GATE_NUMBER.labels(what, number).set(value)
        self.send([publish(DECISIONS, name, record, record.decision_id)])

    def send(self, effects: Sequence[Publish]) -> None:
        """Publish and wait for acknowledgement, however long Kafka is away."""
        if effects:
            patiently(lambda: self._sender.send(effects), "kafka", SERVICE, self._stop)

    def _commit(self, becomes: Becomes | None, version: Version | None = None) -> None:
        """The version, then what is served. Both are also taken in, as any reader would."""
        effects = [publish(ADAPTERS, version.name, version, version.name)] if version is not None else []
        if becomes is not None:
            before = self.said.serving or nothing_served()
            after = replace(becomes(before), sequence=before.sequence + 1, decided_at=datetime.now(UTC))
            effects.append(publish(ADAPTERS, SERVING_KEY, after, f"{after.epoch}.{after.sequence}"))
        self.send(effects)
        for effect in effects:
            self.said.take(effect.key, effect.value)

    def _next(self, what: str) -> int:
        in_registry = self.registry.highest_sequence("critic" if what == "critic" else "adapter")
        return 1 + max(self.said.highest[what], in_registry)

    def _forget_critics(self) -> None:
        names = sorted(name for name, version in self.said.versions.items() if version.what == "critic")
        keep = kept({sequence_of(name) for name in names}, KEPT_CRITICS)
        self._forget("critic", [name for name in names if sequence_of(name) not in keep])

    def _forget(self, what: What, old: Sequence[str]) -> None:
        """Tombstones first: nobody is sent to files that are gone."""
        if not old:
            return
        self.send([Publish(ADAPTERS.name, name.encode(), None, name) for name in old])
        for name in old:
            del self.said.versions[name]
        self.registry.prune(what, set(self.registry.names(what)) - set(old))


def nothing_served() -> Serving:
    """Before anything was announced: the base alone."""
    return Serving(0, 0, BASE_ALONE, BASE_ALONE, "", "", {}, 0.0, datetime.now(UTC))


def kept(sequences: Collection[int], newest: int) -> set[int]:
    """Which critics stay: the newest, and ever fewer of the older ones."""
    last = max(sequences, default=0)
    return {
        number
        for number in sequences
        if any(number % every == 0 and last - number < newest * every for every in (1, *THINNED))
    }


def replace_version(critic: Critic, name: str) -> Critic:
    """The same critic under the name it was published by."""
    return Critic(name, critic.weights, critic.facts, critic.formula)
