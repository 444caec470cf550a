"""One small world for the shop's tests."""

import pytest

from services.shop.world import World, load_world


@pytest.fixture(scope="session")
def world() -> World:
    """Forty customers of the shipped extract over three days."""
    return load_world(None, seed=7, households=40, days=3)
