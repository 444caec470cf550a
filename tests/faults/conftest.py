"""Fixtures of the faults: worlds with the recorded input in them, and the run of it that nobody disturbs."""

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.local.stack import Endpoints, LocalStack
from services.settings import AgentsSettings
from tests.faults.bench import FaultWorld
from tests.faults.canonical import Outcome, broken
from tests.faults.nursery import Nursery
from tests.faults.recorded import Recording, Said, recording

MakeBench = Callable[..., FaultWorld]
DAILY_CAP = 3
PARTITIONS = 2

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
        values: dict[str, Any] = {
            "kafka_bootstrap": endpoints.kafka_bootstrap,
            "redis_url": endpoints.redis_url,
            "topic_prefix": f"{name}.",
            "group_prefix": f"{name}-",
            "partitions": PARTITIONS,
            "buckets": 8,
            "clock": "replay",
            "daily_cap": DAILY_CAP,
            "home": home,
        }
        world = FaultWorld(AgentsSettings(**values | settings), home / "agents.log", published_ms)
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
def undisturbed(make_bench: MakeBench, recorded: Recording) -> Outcome:
    """What a run leaves that nobody disturbs; it breaks no invariant."""
    world = make_bench()
    world.fork()
    found = world.finish(bad_reference=recorded.bad_reference)
    assert broken(found, daily_cap=DAILY_CAP) == []
    return found
