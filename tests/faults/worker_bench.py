"""Requests for model workers that are to be killed, the workers, and what the shop and attribution get to see of them."""

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from kafka import TopicPartition

from services.clients import group_consumer, topic_name, whole_topic_consumer
from services.local.broker import pick_free_ports
from services.settings import WorkerSettings
from services.watchdog import WORKERS
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.strategies import StrategyRequest
from streaming.contracts.topics import REQUESTS, STRATEGIES, SUPPRESSIONS, TopicSpec
from tests.faults.bench import FaultWorld
from tests.faults.nursery import Forked, Nursery
from tests.model.sample import request_of
from tests.services.worker_samples import Bench

PATIENCE_S = 120.0
TTL_S = 7 * 24 * 3600
"""How long answers are stored; a request older than half of it is stale."""
STALE_EVERY = 9
ARMS = ("fused", "lm", "critic", "random")
SEED_OF_LIFE = "SEED"


def asked(count: int) -> list[StrategyRequest]:
    """Requests of every kind and arm that no slow machine makes late."""
    made = []
    for number in range(count):
        kind, arm = KIND_NAMES[number % len(KIND_NAMES)], ARMS[number // len(KIND_NAMES) % len(ARMS)]
        made.append(msgspec.structs.replace(request_of(number, kind, 3, arm), deadline_s=36_000.0))  # type: ignore[arg-type]
    return made


_HELD = """
import time
from pathlib import Path
from {module} import {owner}
_real, _left = {owner}.{method}, {after}

def _held(self, *args, **kwargs):
    global _left
    _left -= 1
    if _left == 0:
        Path({begun!r}).touch()
        while not Path({go!r}).exists():
            time.sleep(0.05)
    return _real(self, *args, **kwargs)

{owner}.{method} = _held
"""


class Hold:
    """A call inside a worker or an updater that waits until the test has done something; `trap` makes it wait."""

    def __init__(self, folder: Path, module: str, owner: str, method: str, after: int) -> None:
        """Hold the `after`-th call of a method."""
        self._begun, self._go = folder / f"{method}.begun", folder / f"{method}.go"
        self.trap = _HELD.format(
            module=module, owner=owner, method=method, after=after, begun=str(self._begun), go=str(self._go)
        )

    def reached(self) -> bool:
        """Whether the call waits."""
        return self._begun.exists()

    def go_on(self) -> None:
        """Let it go on."""
        self._go.touch()


class WorkerBench:
    """An installation with requests in it, and the workers that answer them.

    Attributes:
        count: requests asked so far.
    """

    def __init__(self, world: FaultWorld, nursery: Nursery, base: Path) -> None:
        """Use a world's topics; `base` is a tiny language model."""
        home = world.settings.home
        self.world, self._nursery, self.log = world, nursery, home / "worker.log"
        self.settings = WorkerSettings(
            home=home,
            kafka_bootstrap=world.settings.kafka_bootstrap,
            redis_url=world.settings.redis_url,
            topic_prefix=world.settings.topic_prefix,
            group_prefix=world.settings.group_prefix,
            partitions=world.settings.partitions,
            base_model=str(base),
            device="cpu",
            batch_size=4,
            strategy_ttl_s=TTL_S,
        )
        self._bench = Bench(self.settings)
        self.running: list[Forked] = []
        self.count = 0

    def ask(self, requests: Iterable[StrategyRequest]) -> None:
        """Publish requests; every so manieth is so old that it is suppressed."""
        now_ms = round(time.time() * 1000)
        for request in requests:
            stale = self.count % STALE_EVERY == STALE_EVERY - 1
            self._bench.ask(request, now_ms - TTL_S * 600 if stale else now_ms)
            self.count += 1

    def fork(self, trap: str = "", seed: int = 0) -> Forked:
        """Start a worker. Another `seed` decides otherwise, as other adapters would."""
        port = pick_free_ports()[0]
        settings = msgspec.structs.replace(self.settings, seed=seed, metrics_port=port)
        default = WorkerSettings()
        environ = {
            f"STRATAGEM_{name.upper()}": str(value)
            for name, value in msgspec.structs.asdict(settings).items()
            if value != getattr(default, name)
        }
        made = self._nursery.fork("worker", trap, environ, self.log)
        self.running.append(made)
        self.world.ports[made.pid] = port
        return made

    def wait(self, met: Callable[[], Any], what: str) -> None:
        """Wait until something holds."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not met():
            tail = self.log.read_text("utf-8", "replace")[-3000:] if self.log.exists() else ""
            assert time.monotonic() < give_up_s, f"{what} did not come true; the workers' log ends:\n{tail}"
            time.sleep(0.1)

    def answered(self) -> bool:
        """Whether everything asked was committed by the workers."""
        return self.committed() >= self.count

    def committed(self) -> int:
        """How many requests the group has committed."""
        consumer = group_consumer(self.settings, WORKERS, [])
        name = topic_name(self.settings, REQUESTS)
        places = [TopicPartition(name, number) for number in range(self.settings.partitions)]
        found = sum(consumer.committed(place) or 0 for place in places)
        consumer.close()
        return found

    def reconnect(self) -> None:
        """Publish to a topic that was made anew, or has other partitions."""
        self._bench.reconnect()

    def stop(self) -> None:
        """End politely whoever runs."""
        for each in self.running:
            each.send_signal(signal.SIGTERM)
        codes = [each.wait(PATIENCE_S) for each in self.running if each.poll() is None or each.poll() == 0]
        self.running.clear()
        assert set(codes) <= {0}, self.log.read_text()[-3000:]

    def close(self) -> None:
        """Kill whoever runs."""
        for each in self.running:
            each.kill()
        self._bench.close()

    def contents(self) -> dict[str, set[bytes]]:
        """Request id → the different answers that it has, strategies and suppressions alike."""
        found: defaultdict[str, set[bytes]] = defaultdict(set)
        for topic in (STRATEGIES, SUPPRESSIONS):
            for value in self._values(topic):
                found[msgspec.json.decode(value)["request_id"]].add(value)
        return dict(found)

    def repeats(self) -> int:
        """How many answers were published more than once, the same bytes: at least once means so."""
        counts = Counter(value for topic in (STRATEGIES, SUPPRESSIONS) for value in self._values(topic))
        return sum(1 for count in counts.values() if count > 1)

    def _values(self, topic: TopicSpec) -> list[bytes]:
        consumer = whole_topic_consumer(self.settings, topic)
        places = list(consumer.assignment())
        ends = consumer.end_offsets(places)
        found: list[bytes] = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=200).values():
                found += [record.value for record in records]
        consumer.close()
        return found
