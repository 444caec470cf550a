"""`stratagem replay` of a folder, through the whole loop: real Kafka and Redis, agents, worker and updater."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from services.endpoints import connected
from services.local.stack import Endpoints
from services.reading import read_all
from services.settings import ShopSettings
from services.shop.demo import settled_evidence
from services.shop.summary import unbalanced
from services.up import Supervisor
from streaming.contracts.codec import decode_event
from streaming.contracts.events import Event
from streaming.contracts.topics import SHOP_EVENTS
from tests.services.shop.test_source import write_tables

REPLAY_TIMEOUT_S = 150


@pytest.fixture
def services(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """All services on the shop's clock, on the tests' own stack; the environment of their user."""
    own = {
        "STRATAGEM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": redis_url,
        "STRATAGEM_TOPIC_PREFIX": topic_prefix,
        "STRATAGEM_GROUP_PREFIX": topic_prefix,
        "STRATAGEM_HOME": str(tmp_path / "home"),
        "STRATAGEM_CLOCK": "replay",
        "STRATAGEM_BUCKETS": "8",
        "STRATAGEM_RESPONSE_WINDOW_H": "8",
        "STRATAGEM_HORIZON_H": "36",
    }
    with Supervisor({**os.environ, **own}, fresh=False, progress=lambda _: None) as running:
        yield running.environ


@pytest.mark.slow
def test_a_folder_is_played_and_the_books_balance(services: Mapping[str, str], tmp_path: Path) -> None:
    """Its purchases become orders on the topic, customers get strategies, rewards close, nothing is lost."""
    folder = tmp_path / "tables"
    folder.mkdir()
    command = [sys.executable, "-m", "services.cli", "replay", "--begin", "2017-01-03", "--days", "4"]
    done = subprocess.run(
        [*command, str(write_tables(folder))],
        env={**os.environ, **services}, capture_output=True, text=True, timeout=REPLAY_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    settings = connected(ShopSettings, services)
    evidence = settled_evidence(settings, Path(os.devnull))
    assert unbalanced(evidence) == []
    assert evidence.strategies
    assert {reward.stage for reward in evidence.rewards.values()} >= {"response", "final"}
    bought = [line.product_id for event in orders(settings) for line in getattr(event.properties, "products", ())]
    assert bought.count("1") >= 4  # one real line a day of household 7, each published at least once


def orders(settings: ShopSettings) -> list[Event]:
    """Orders of the source on the topic; those that follow from strategies apart."""
    events = []
    for record in read_all(settings, SHOP_EVENTS):
        if b'"Order Completed"' in (record.value or b"") and b"strategy_id" not in (record.value or b""):
            event = decode_event(record.value or b"", 2**43)
            assert isinstance(event, Event)
            events.append(event)
    return events
