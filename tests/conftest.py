"""The real Kafka and Redis that every edge is tested against, started once per run."""

import itertools
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import redis

from services.local.stack import Endpoints, LocalStack

ROOT = Path(__file__).parent.parent
# A test's Kafka lives for seconds: what it would compile for the long run costs more than it brings. Java reads this by itself.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.fixture(scope="session")
def stratagem_home() -> Path:
    """The folder for everything tests write that is worth keeping or sharing: downloads, logs."""
    return Path(os.environ.get("STRATAGEM_HOME", ROOT / ".stratagem")).absolute()


@pytest.fixture(scope="session")
def stack(stratagem_home: Path, request: pytest.FixtureRequest) -> Iterator[Endpoints]:
    """Kafka and Redis: those named by the environment, else a fresh local stack for this run."""
    kafka, url = os.environ.get("STRATAGEM_KAFKA_BOOTSTRAP"), os.environ.get("STRATAGEM_REDIS_URL")
    if kafka and url:
        yield Endpoints(kafka_bootstrap=kafka, redis_url=url)
        return
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def progress(message: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stderr.write(f"\n[stack] {message}")

    # One folder per process: several test runs of one clone may be under way at once.
    home = stratagem_home / "test" / f"run-{os.getpid()}"
    with LocalStack(home, fresh=True, progress=progress, cache=stratagem_home / "cache") as running:
        yield running.endpoints
        running.check()
    if not request.session.testsfailed:  # logs of a failed run stay for whoever looks into it
        shutil.rmtree(home)


@pytest.fixture
def topic_prefix(request: pytest.FixtureRequest) -> str:
    """A prefix for topic and group names that no other test has."""
    name = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:40].strip("-")
    return f"{name}-{uuid.uuid4().hex[:8]}."


_database_numbers = itertools.count(1)


@pytest.fixture
def redis_url(stack: Endpoints) -> Iterator[str]:
    """The address of an empty Redis database of this test's own, emptied again after it."""
    with redis.Redis.from_url(stack.redis_url) as client:
        databases = int(client.config_get("databases")["databases"])
    for _ in range(databases):
        number = next(_database_numbers) % databases
        url = _with_database(stack.redis_url, number)
        with redis.Redis.from_url(url) as client:
            if number and not client.dbsize():  # never somebody's data
                yield url
                client.flushdb()
                return
    pytest.fail(f"none of the {databases} databases of {stack.redis_url} is empty")


def _with_database(url: str, number: int) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?{urlencode({'db': number})}"
    return parts._replace(path=f"/{number}").geturl()
