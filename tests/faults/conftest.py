"""Fixtures of the faults: worlds with the recorded input in them, and the run of it that nobody disturbs."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec import structs

from services.local.stack import Endpoints, LocalStack
from services.settings import AgentsSettings
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken
from tests.faults.nursery import Nursery
from tests.faults.recorded import Recording, Said, recording
from tests.faults.updater_bench import UpdaterBench
from tests.faults.worker_bench import WorkerBench
from tests.installation import PARTITIONS, installation
from tests.services.updater_samples import quick_settings, save_base

MakeBench = Callable[..., FaultWorld]
MakeWorkers = Callable[..., WorkerBench]
MakeUpdater = Callable[..., UpdaterBench]
NEVER = 1_000_000
DAILY_CAP = 3
EARLY_H = 30.0
"""An outcome waits this long for its strategy. Those of the recording are owed to no request, so that agents that read again
do not wait for them: their topic may be read last, when the clock has made its last and longest step."""

soak = pytest.mark.skipif(not os.environ.get("STRATAGEM_SOAK"), reason="a longer form: `make soak` runs it")
"""Marks a test, or a parameter of one, that only `make soak` runs."""


@pytest.fixture(scope="session")
def recorded() -> Recording:
    """The recorded input of all faults."""
    return recording(partitions=PARTITIONS)


@pytest.fixture(scope="session")
def own_stack(stratagem_home: Path) -> Iterator[LocalStack]:
    """A Kafka and a Redis that a test may kill, fill and start again; nobody else's."""
    home = stratagem_home / "test" / f"outages-{os.getpid()}"
    with LocalStack(home, fresh=True, progress=lambda _said: None, cache=stratagem_home / "cache") as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture
def left_alive(own_stack: LocalStack) -> Iterator[None]:
    """What a test that failed has left dead is started for the next one."""
    yield
    if not own_stack.database.process.alive():
        own_stack.start_database()
    if not own_stack.broker.process.alive():
        own_stack.start_broker()


@pytest.fixture
def server(own_stack: LocalStack) -> Iterator[redis.Redis]:
    """A client of the stack's own Redis; what a test set is undone."""
    with redis.Redis.from_url(own_stack.endpoints.redis_url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")


@pytest.fixture(scope="session")
def make_bench(stack: Endpoints, recorded: Recording, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeBench]:
    """Make worlds in which the recorded input has been said, `said` instead of it if given; closed at the end.

    Keyword arguments are settings; `endpoints` another Kafka and Redis than the session's.
    """
    made: list[FaultWorld] = []
    published_ms = int(time.time() * 1000)

    def make(said: Sequence[Said] | None = None, *, endpoints: Endpoints = stack, **settings: Any) -> FaultWorld:
        name = f"fault-{uuid.uuid4().hex[:8]}"
        home = tmp_path_factory.mktemp(name)
        values = {"buckets": 8, "clock": "replay", "daily_cap": DAILY_CAP, "early_outcome_h": EARLY_H} | settings
        made_settings = installation(AgentsSettings, endpoints, f"{name}.", home, **values)
        world = FaultWorld(made_settings, home / "agents.log", published_ms)
        made.append(world)
        world.say(recorded.reference)
        world.say(recorded.said if said is None else said)
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where workers and updaters are forked from."""
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="session")
def make_workers(
    make_bench: MakeBench, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeWorkers]:
    """Make installations with a tiny base, with nothing said in them unless `said` is given; closed at the end.

    Keyword arguments are settings of the agents.
    """
    base = save_base(tmp_path_factory.mktemp("base"))
    made: list[WorkerBench] = []

    def make(said: Sequence[Said] = (), **settings: Any) -> WorkerBench:
        made.append(WorkerBench(make_bench(said=said, **settings), nursery, base))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="session")
def make_updater(stack: Endpoints, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeUpdater]:
    """Make installations, by default without steps of the LoRA, which would only cost time; closed at the end."""
    made: list[UpdaterBench] = []

    def make(train_every: int = NEVER) -> UpdaterBench:
        folder: Path = tmp_path_factory.mktemp("updater")
        settings = quick_settings(stack, f"{folder.name}-{os.getpid()}-{time.time_ns()}.", folder)
        bench = UpdaterBench(
            structs.replace(settings, snapshot_every_s=0.1, publish_every_s=0.1, train_every=train_every)
        )
        bench.nursery, bench.log = nursery, folder / "updater.log"
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.close()


@pytest.fixture(scope="session")
def undisturbed(make_bench: MakeBench, recorded: Recording) -> Outcome:
    """What a run leaves that nobody disturbs; it breaks no invariant."""
    world = make_bench()
    world.fork()
    found = world.finish(bad_reference=recorded.bad_reference)
    assert broken(found, daily_cap=DAILY_CAP) == []
    return found
