"""Live mode and outages: idle partitions follow the wall; a Redis that goes away is waited for."""

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.local.database import Database
from streaming.contracts.topics import REQUESTS, SUPPRESSIONS
from tests.streaming.conftest import MakeWorld


def silent(_message: str) -> None:
    """Show no progress."""


def test_idle_partitions_follow_the_wall_and_fire_timers(make_world: MakeWorld) -> None:
    """Nobody writes anything more, and yet the silence after a search is noticed."""
    world = make_world(clock="live", allowed_lateness_s=0.0)
    world.product("p1")
    world.start(ALLOWED_LATENESS_S="0")
    past = datetime.now(UTC) - timedelta(minutes=9, seconds=50)
    world.publish(world.event("seeker", "Products Searched", at=past, properties={"query": "tea"}))

    def asked() -> set[str]:
        made = [m for t in (REQUESTS, SUPPRESSIONS) for m in world.messages(t) if m["user_id"] == "seeker"]
        return {m["trigger"] for m in made} & {"search_without_click"}

    world.wait(asked)
    watermarks = world.books().watermarks_ms
    assert set(watermarks["shop.events"]) == set(watermarks["ads.events"]) == {0, 1}


@pytest.mark.slow
def test_a_redis_that_goes_away_is_waited_for(make_world: MakeWorld, stratagem_home: Path, tmp_path: Path) -> None:
    """Killed and started again, Redis finds the agents alive; nothing is lost and nothing counted twice."""
    home = tmp_path / "redis"
    database = Database(home, cache=stratagem_home / "cache", progress=silent)
    database.wait_until_ready()
    try:
        world = make_world(redis_url=database.url)
        process = world.start()
        world.publish(*(world.event(f"r{n}") for n in range(20)))
        world.wait(world.applied)
        os.kill(database.process.pid, signal.SIGKILL)
        database.process.wait(30)
        database.stop()
        world.publish(*(world.event(f"r{n}") for n in range(20)))
        world.wait(lambda: "waiting for redis: " in world.log.read_text("utf-8", "replace"), "a word about Redis")
        assert process.poll() is None
        database = Database(home, cache=stratagem_home / "cache", progress=silent)
        database.wait_until_ready()
        world.wait(lambda: world.fates() == {"folded": 40})
        assert sum(len(row["profile"]["views"]) for row in world.rows().values()) == 40
        assert world.stop() == [0]
    finally:
        database.stop()
