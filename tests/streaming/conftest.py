"""Fixtures of the agents' tests."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.local.stack import Endpoints
from services.settings import AgentsSettings
from tests.installation import installation
from tests.streaming.edge_world import World

MakeWorld = Callable[..., World]


@pytest.fixture(scope="module")
def make_world(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeWorld]:
    """Make worlds that are closed when the module's tests are done."""
    made: list[World] = []

    def make(**overrides: Any) -> World:
        name = f"edge-{uuid.uuid4().hex[:8]}"
        home = tmp_path_factory.mktemp(name)
        values = {"buckets": 8, "clock": "replay", "daily_cap": 50} | overrides
        made.append(World(installation(AgentsSettings, stack, f"{name}.", home, **values), home / "agents.log"))
        return made[-1]

    yield make
    for world in made:
        world.close()
