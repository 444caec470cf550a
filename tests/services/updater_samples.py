"""A real updater process on the real Kafka, with a tiny untrained base, and what it says."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from model.critic import Critic
from model.fresh import random_lm
from model.gate_evidence import lm_log_probs
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.memory import Replayed
from model.policy import Knobs, propensity, record_of
from services.clients import producer, topic_name, whole_topic_consumer
from services.local.stack import Endpoints
from services.settings import PREFIX, UpdaterSettings
from services.topics import ensure_topics
from services.updater import Updater
from services.updater_state import FACTS, folder_of, newest
from streaming.contracts.adapters import BASE_ALONE, GateDecision, Serving, Version, decode_record
from streaming.contracts.codec import decode, encode
from streaming.contracts.kinds import Arm
from streaming.contracts.rewards import Reward
from streaming.contracts.topics import ADAPTERS, DECISIONS, REWARDS, TopicSpec
from streaming.reward import Formula

PATIENCE_S = 90.0
"""Bound of a wait; nothing is asserted of it."""


def save_base(folder: Path) -> Path:
    """A tiny base as `transformers` saves it."""
    lm = random_lm(3, width=32, layers=2)
    lm.causal.save_pretrained(folder)
    lm.spelling.tokenizer.save_pretrained(folder)
    lm.pointer.save(folder)
    return folder


def quick_settings(stack: Endpoints, topic_prefix: str, folder: Path, **other: Any) -> UpdaterSettings:
    """An installation of a test's own, with quick steps, and some settings that are other than these."""
    quick = UpdaterSettings(
        home=folder / "home",
        kafka_bootstrap=stack.kafka_bootstrap,
        redis_url=stack.redis_url,
        topic_prefix=topic_prefix,
        base_model=str(save_base(folder / "base")),
        device="cpu",
        heads=2,
        publish_every_s=0.2,
        snapshot_every_s=0.5,
        batch=8,
        train_every=20,
        candidate_every_steps=5,
        candidate_wait_s=0.5,
        kl_cap_nats=20.0,
        lease_s=1.5,
    )
    return structs.replace(quick, **other)


def served_by(
    rewards: Sequence[Reward], arm: Arm, base: str | Path, critic: Critic | None = None, error: float = 0.0
) -> list[Reward]:
    """The same decisions as logged by an arm that the bare base (`lm`) or a critic (`critic`) serves.

    Args:
        error: of the logged propensity, relative: 0 as an exact server logs it.
    """
    lm = LanguageModel.load(str(base), "cpu")
    knobs = Knobs(f"{lm.name}@{lm.base_sha256[:12]}", BASE_ALONE, 0.4, 0.0)
    valuer = critic or Critic.prior(0, 2, Formula())
    requests = [structs.replace(reward.request, arm=arm) for reward in rewards]
    records = [record_of(request, ActionGrid.of(request), valuer, knobs, late=False) for request in requests]
    rows: list[list[npt.NDArray[np.float64]] | None] = [None] * len(rewards)
    if arm == "lm":
        items = [
            Replayed(r.strategy_id, 0, r.request, r.decision, p, 1.0, 0.0, 1)
            for r, p in zip(rewards, records, strict=True)
        ]
        rows = list(lm_log_probs(lm, None, lm.encode(requests), items))
    chances = [
        propensity(request, reward.decision, record, critic, row)
        for request, reward, record, row in zip(requests, rewards, records, rows, strict=True)
    ]
    return [
        structs.replace(
            reward, request=request, policy=record, propensity=chance * (1.0 + error), assigned_arm=arm, acting_arm=arm
        )
        for reward, request, record, chance in zip(rewards, requests, records, chances, strict=True)
        if 0.0 < chance < 0.9
    ]


class Bench:
    """One installation of its own."""

    def __init__(self, settings: UpdaterSettings) -> None:
        """Create the topics."""
        self.settings = settings
        self.updater: Updater | None = None
        ensure_topics(settings)
        self._producer = producer(settings, linger_ms=0)

    def close(self) -> None:
        """Let go of Kafka."""
        self._producer.close()

    def reconnect(self) -> None:
        """Publish with another producer: an idempotent one goes on numbering its records as in a topic that is gone."""
        self._producer.close()
        self._producer = producer(self.settings, linger_ms=0)

    def say(self, rewards: Sequence[Reward | bytes | None]) -> None:
        """Publish rewards, or raw values, in order."""
        name = topic_name(self.settings, REWARDS)
        for reward in rewards:
            key = reward.strategy_id.encode() if isinstance(reward, Reward) else b"?"
            value = encode(reward) if isinstance(reward, Reward) else reward
            self._producer.send(name, key=key, value=value)
        self._producer.flush()

    @contextmanager
    def process(self) -> Iterator["subprocess.Popen[bytes]"]:
        """`stratagem updater` as a child; killed for good at the end of the block if it still runs."""
        code = (
            "import os, sys; from services.settings import UpdaterSettings, load; from services.updater import main; "
        )
        code += "sys.exit(main(load(UpdaterSettings, os.environ)))"
        child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **environment(self.settings)})
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()

    @contextmanager
    def running(self) -> Iterator[threading.Thread]:
        """The same service in a thread, where torch is at hand already; it must end cleanly."""
        stop = threading.Event()
        failed: list[BaseException] = []

        def run() -> None:
            try:
                self.updater = Updater(self.settings, stop)
                self.updater.run()
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield thread
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert not failed

    def loaded(self) -> bool:
        """Whether the running updater has its base and adapter."""
        return self.updater is not None and self.updater.training is not None

    def offset(self) -> int:
        """The offset of the newest snapshot; 0 before any."""
        path = newest(folder_of(self.settings))
        return json.loads((path / FACTS).read_bytes())["next_offset"] if path else 0

    def read(self, topic: TopicSpec) -> list[tuple[bytes | None, bytes | None]]:
        """Everything in a topic now."""
        consumer = whole_topic_consumer(self.settings, topic)
        ends = consumer.end_offsets(consumer.assignment())
        found = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=200).values():
                found += [(record.key, record.value) for record in records]
        consumer.close()
        return found

    def announced(self) -> list[Version | Serving]:
        """Records of `model.adapters` in order."""
        return [decode_record(value) for _, value in self.read(ADAPTERS) if value]

    def decisions(self) -> list[GateDecision]:
        """Records of `model.decisions` in order."""
        return [decode(value, GateDecision) for _, value in self.read(DECISIONS) if value]

    def until(self, true: Callable[[], bool], what: str, alive: Callable[[], bool] = lambda: True) -> None:
        """Wait for something while the service lives."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not true():
            assert alive(), "the updater has ended by itself"
            assert time.monotonic() < give_up_s, f"waited in vain for {what}"
            time.sleep(0.2)


def environment(settings: UpdaterSettings) -> dict[str, str]:
    """The variables that give a child these settings."""
    found = {}
    for name, value in msgspec.structs.asdict(settings).items():
        default = getattr(UpdaterSettings(), name)
        if value != default:
            found[PREFIX + name.upper()] = str(value)
    return found


__all__ = ["Bench", "environment", "quick_settings", "save_base", "served_by"]
