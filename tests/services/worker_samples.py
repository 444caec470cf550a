"""A real worker on the real Kafka and Redis, in a thread, with a tiny untrained base."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch

from model import adapter
from model.critic import TENSORS as CRITIC_TENSORS
from model.critic import Critic
from model.fresh import random_lm
from model.lm import LanguageModel
from model.registry import Registry
from services.clients import producer, topic_name, whole_topic_consumer
from services.settings import WorkerSettings, registry_address
from services.topics import ensure_topics
from services.worker import Worker
from services.worker_answers import Elsewhere
from streaming.contracts.adapters import SERVING_KEY, Serving, Version
from streaming.contracts.codec import decode, encode
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.contracts.topics import ADAPTERS, REQUESTS, STRATEGIES, TopicSpec
from streaming.reward import Formula
from tests.model.sample import request_of

PATIENCE_S = 60.0
"""Bound of a wait for something that takes well under a second; nothing is asserted of it."""


def tiny_lm() -> LanguageModel:
    """Always the same weights."""
    return random_lm(7, width=32, layers=2)


def patient(request: StrategyRequest) -> StrategyRequest:
    """A request that no slow machine makes late."""
    return msgspec.structs.replace(request, deadline_s=3600.0)


class Bench:
    """One installation of its own on the shared Kafka: its topics, its registry, its Redis database."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Create the topics."""
        self.settings = settings
        ensure_topics(settings)
        self._producer = producer(settings, linger_ms=0)

    @contextmanager
    def worker(self, *, writer: Elsewhere | None = None, **changes: object) -> Iterator[Worker]:
        """A worker that serves within the block; it must end cleanly."""
        stop = threading.Event()
        worker = Worker(msgspec.structs.replace(self.settings, **changes), tiny_lm(), stop, writer=writer)
        codes: list[int] = []
        thread = threading.Thread(target=lambda: codes.append(worker.run()))
        thread.start()
        try:
            yield worker
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        assert codes == [0]

    def send(self, topic: TopicSpec, key: str, value: bytes | None, timestamp_ms: int | None = None) -> None:
        """Publish one record and wait for its acknowledgement."""
        name = topic_name(self.settings, topic)
        self._producer.send(name, value=value, key=key.encode(), timestamp_ms=timestamp_ms).get(timeout=PATIENCE_S)

    def ask(self, request: StrategyRequest, timestamp_ms: int | None = None) -> None:
        """Publish a request."""
        self.send(REQUESTS, request.user_id, encode(request), timestamp_ms)

    def read(self, topic: TopicSpec, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """All records of a topic once there are enough of them."""
        consumer = whole_topic_consumer(self.settings, topic)
        found: list[Any] = []
        give_up = time.monotonic() + PATIENCE_S
        while not enough(found):
            assert time.monotonic() < give_up, f"{topic.name}: {len(found)} records, not enough"
            found += [record for records in consumer.poll(timeout_ms=100).values() for record in records]
        consumer.close()
        return found

    def strategies(self, count: int) -> list[Strategy]:
        """At least so many strategies, in the order read."""
        records = self.read(STRATEGIES, lambda found: len(found) >= count)
        return [decode(record.value, Strategy) for record in records]

    def answers_until(self, wanted: Callable[[Strategy], bool], first_seed: int) -> list[Strategy]:
        """Ask one request after the other until an answer is as wanted; all answers so far."""
        for number in range(200):
            self.ask(request_of(first_seed + number, kind="promotion", candidates=2, arm="lm"))
            answers = self.strategies(number + 1)
            if wanted(answers[-1]) or any(wanted(answer) for answer in answers):
                return answers
            time.sleep(0.02)
        raise AssertionError("two hundred answers, none as wanted")

    def answers_until_critic(self, name: str) -> list[Strategy]:
        """Answers, asked for one by one, until one names this critic."""
        for seed in range(1000, 1200):
            self.ask(patient(request_of(seed, arm="critic")))
            records = self.read(STRATEGIES, partial(_holds_key, f"user-{seed}".encode()))
            answers = [decode(record.value, Strategy) for record in records]
            if any(answer.policy.critic == name for answer in answers):
                return answers
            time.sleep(0.02)
        raise AssertionError(f"two hundred answers, none by {name}")

    def publish_adapter(self, sequence: int, folder: Path, *, seed: int, lm: LanguageModel | None = None) -> Version:
        """An adapter that changes something, in the registry and announced, not yet served; of the worker's base or another."""
        lm = lm or tiny_lm()
        adapter.attach(lm)
        generator = torch.Generator().manual_seed(seed)
        shapes = adapter.expected(lm).shapes
        adapter.place(lm, "slot_a", {k: torch.randn(s, generator=generator) * 0.3 for k, s in shapes.items()})
        adapter.save(lm, "slot_a", folder)
        return self._announce("adapter", sequence, folder, adapter.TENSORS, lm.base_sha256)

    def publish_critic(self, sequence: int, folder: Path, *, seed: int) -> Version:
        """A critic snapshot, announced, not yet served."""
        Critic.prior(seed, 8, Formula()).save(folder)
        return self._announce("critic", sequence, folder, CRITIC_TENSORS, "")

    def _announce(self, what: str, sequence: int, folder: Path, tensors: str, base_sha256: str) -> Version:
        version = self.registry.publish(
            what,  # type: ignore[arg-type]
            sequence,
            folder,
            tensors=tensors,
            base="random-7",
            base_sha256=base_sha256,
            parent="base",
            created_at=datetime.now(UTC),
            offsets={"strategy.rewards:0": 10},
            metrics={"loss": 0.5},
            lm_weight=0.5,
        )
        self.send(ADAPTERS, version.name, encode(version))
        return version

    def serve(self, sequence: int, *, champion: str = "base", critic: str = "", epoch: int = 0) -> None:
        """Announce what is served."""
        serving = Serving(epoch, sequence, champion, "", "", critic, {}, 0.0, datetime.now(UTC))
        self.send(ADAPTERS, SERVING_KEY, encode(serving))

    @property
    def registry(self) -> Registry:
        """The installation's registry."""
        return Registry(registry_address(self.settings), self.settings.home / "versions")

    def reconnect(self) -> None:
        """Publish with another producer: an idempotent one goes on numbering its records as in a topic that is gone."""
        self._producer.close()
        self._producer = producer(self.settings, linger_ms=0)

    def close(self) -> None:
        """Stop publishing."""
        self._producer.close()


def _holds_key(key: bytes, records: list[Any]) -> bool:
    return any(record.key == key for record in records)
