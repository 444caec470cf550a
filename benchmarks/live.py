"""Kafka, Redis, a worker and perhaps an updater as processes of their own, asked by a clock: for the benchmarks of serving.

Requests go out when their moment has come, whether earlier ones were answered or not (an open loop), so that a stall shows in the
latency of everything that came meanwhile.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from msgspec import structs

from benchmarks.simulated import Simulation
from benchmarks.telling import say
from model import adapter
from model.lm import LanguageModel
from model.registry import Registry
from services.clients import producer, topic_name, whole_topic_consumer
from services.local.process import ChildProcess
from services.local.stack import LocalStack
from services.settings import WorkerSettings, registry_address
from services.topics import ensure_topics
from streaming.contracts.adapters import SERVING_KEY, Serving
from streaming.contracts.codec import decode, encode
from streaming.contracts.ids import reward_id, strategy_id
from streaming.contracts.kinds import Arm
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.contracts.topics import ADAPTERS, REQUESTS, REWARDS, STRATEGIES

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".stratagem" / "cache"
PATIENCE_S = 180.0
ARMS: tuple[Arm, ...] = ("fused", "fused", "fused", "lm", "critic", "random")


class Live:
    """A context manager; `answers` grows by a thread while it is open.

    Attributes:
        answers: strategy id → the strategy, the broker's time of the request and of the strategy, seconds.
    """

    def __init__(self, folder: Path, *, seed: int, updater: Mapping[str, str] | None = None) -> None:
        """Nothing runs yet.

        Args:
            folder: of data and logs.
            seed: of the requests.
            updater: the updater's settings beside the common ones; None for none.
        """
        self._folder, self._seed, self._updater = folder, seed, updater
        self._exits, self._stop = ExitStack(), threading.Event()
        self._asked_s: dict[str, float] = {}
        self.answers: dict[str, tuple[Strategy, float, float]] = {}
        self.on_answer: list[Callable[[Strategy], None]] = []

    def __enter__(self) -> Self:
        """Start everything and wait for the first answer."""
        stack = self._exits.enter_context(LocalStack(self._folder / "stack", fresh=True, progress=say, cache=CACHE))
        ends = stack.endpoints
        self.settings = WorkerSettings(
            home=self._folder / "home",
            kafka_bootstrap=ends.kafka_bootstrap,
            redis_url=ends.redis_url,
            device="cpu",
        )
        ensure_topics(self.settings)
        self.producer = producer(self.settings, linger_ms=0)
        self._exits.callback(self.producer.close)
        self._environ = os.environ | {
            "STRATAGEM_HOME": str(self.settings.home),
            "STRATAGEM_KAFKA_BOOTSTRAP": ends.kafka_bootstrap,
            "STRATAGEM_REDIS_URL": ends.redis_url,
            "OMP_NUM_THREADS": "1",
        }
        self.processes = {"worker": self.start("worker", {})}
        if self._updater is not None:
            self.processes["updater"] = self.start("updater", self._updater)
        reading = threading.Thread(target=self._read)
        reading.start()
        self._exits.callback(reading.join)
        self._exits.callback(self._stop.set)
        self._requests = (request for _, request in Simulation(self._seed).requests(1_000_000))
        self._until_first()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything."""
        self._exits.close()

    def ask(self, rate: float, seconds: float, act: Callable[[int], None] = lambda _second: None) -> list[str]:
        """Ask at this rate for so long; the strategies' ids. `act` is called once a second, in the asking thread."""
        asked, begun, second = list[str](), time.monotonic(), -1
        for number in range(round(rate * seconds)):
            due_s = number / rate
            if int(due_s) > second:
                second = int(due_s)
                threading.Thread(target=act, args=(second,)).start()
            time.sleep(max(0.0, begun + due_s - time.monotonic()))
            asked.append(self._ask())
        self.check()
        return asked

    def settled(self, asked: list[str]) -> bool:
        """Wait until all are answered; whether they are."""
        give_up = time.monotonic() + PATIENCE_S
        while not all(identity in self.answers for identity in asked):
            if time.monotonic() > give_up:
                return False
            self.check()
            time.sleep(0.05)
        return True

    def check(self) -> None:
        """Raise `ProcessDied` where a service has ended by itself."""
        for process in self.processes.values():
            process.check()

    def latencies_ms(self, asked: list[str]) -> list[float]:
        """From request to strategy, by the broker's clock."""
        return [1000 * (self.answers[i][2] - self.answers[i][1]) for i in asked if i in self.answers]

    def reward(self, strategy: Strategy, *, liked: bool) -> None:
        """A closed reward of a strategy, as attribution would publish it."""
        self.producer.send(
            topic_name(self.settings, REWARDS),
            key=strategy.strategy_id.encode(),
            value=encode(rewarded(strategy, liked=liked)),
        )

    def _ask(self) -> str:
        request = next(self._requests)
        number = len(self._asked_s)
        request = structs.replace(
            request, arm=ARMS[number % len(ARMS)], request_id=f"req_{number:024x}", issued_at=datetime.now(UTC)
        )
        identity = strategy_id(request.request_id)
        self._asked_s[identity] = time.time()
        self.producer.send(topic_name(self.settings, REQUESTS), key=request.user_id.encode(), value=encode(request))
        return identity

    def _until_first(self) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while not self.answers:
            assert time.monotonic() < give_up, "no answer"
            self.check()
            self._ask()
            time.sleep(0.5)

    def _read(self) -> None:
        consumer = whole_topic_consumer(self.settings, STRATEGIES)
        while not self._stop.is_set():
            for records in consumer.poll(timeout_ms=50).values():
                for record in records:
                    strategy = decode(record.value, Strategy)
                    begun = self._asked_s.get(strategy.strategy_id, 0.0)
                    self.answers[strategy.strategy_id] = (strategy, begun, record.timestamp / 1000)
                    for act in self.on_answer:
                        act(strategy)
        consumer.close()

    def start(self, name: str, more: Mapping[str, str]) -> ChildProcess:
        """A service of this installation, with these settings beside the common ones, until the end."""
        command = [sys.executable, "-m", "services.cli", name]
        log = self._folder / f"{name}.log"
        return self._exits.enter_context(ChildProcess(name, command, log=log, env=self._environ | dict(more)))


class Announcing:
    """Announces adapters of random numbers, one after another, as an updater would."""

    def __init__(self, live: Live, folder: Path, seed: int) -> None:
        """Publish under `live`'s settings."""
        self._live, self._folder, self._rng = live, folder, np.random.default_rng(seed)
        self._lm = LanguageModel.load("", "cpu")
        adapter.attach(self._lm, ("slot_a",))
        self._registry = Registry(registry_address(live.settings), live.settings.home / "announced")
        self.names: list[str] = []

    def announce(self) -> None:
        """A new champion."""
        from benchmarks.serving import adapted

        sequence, folder = len(self.names) + 1, self._folder / f"adapter-{len(self.names)}"
        adapter.place(self._lm, "slot_a", adapted(self._lm, int(self._rng.integers(1 << 30))))
        adapter.save(self._lm, "slot_a", folder)
        at = datetime.now(UTC)
        version = self._registry.publish(
            "adapter", sequence, folder, tensors=adapter.TENSORS, base=self._lm.name, base_sha256=self._lm.base_sha256,
            parent="base", created_at=at, offsets={}, metrics={}, lm_weight=0.5,
        )  # fmt: skip
        topic = topic_name(self._live.settings, ADAPTERS)
        self._live.producer.send(topic, key=version.name.encode(), value=encode(version))
        serving = Serving(0, sequence, version.name, "", "", "", {}, 0.0, at)
        self._live.producer.send(topic, key=SERVING_KEY.encode(), value=encode(serving))
        self.names.append(version.name)


def rewarded(strategy: Strategy, *, liked: bool) -> Reward:
    """The final reward of a strategy: seen, clicked if it was liked."""
    request: StrategyRequest = strategy.request
    total = 0.05 * liked
    return Reward(
        reward_id(strategy.strategy_id, "final"), strategy.strategy_id, strategy.request_id, strategy.user_id, "final",
        strategy.kind, strategy.policy.assigned_arm, strategy.policy.acting_arm, ghost=False,
        issued_at=strategy.issued_at, closed_at=strategy.issued_at, request=request, decision=strategy.decision,
        policy=strategy.policy, propensity=strategy.propensity, slot_propensities=strategy.slot_propensities,
        outcomes=Outcomes("USD", shown=True, clicked=liked), reward=total, components={},
    )  # fmt: skip
