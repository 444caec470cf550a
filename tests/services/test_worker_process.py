"""The worker as a process: killed at any moment, stopped politely."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import TopicPartition

from services.clients import group_consumer
from services.local.stack import Endpoints
from services.settings import WorkerSettings
from services.watchdog import WORKERS
from streaming.contracts import codec
from streaming.contracts.strategies import Strategy
from streaming.contracts.topics import REQUESTS, STRATEGIES
from tests.installation import installation
from tests.model.sample import request_of
from tests.services.worker_samples import PATIENCE_S, Bench, tiny_lm

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def bench(stack: Endpoints, redis_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation with a tiny base on disk."""
    lm = tiny_lm()
    lm.causal.save_pretrained(tmp_path / "base")
    lm.spelling.tokenizer.save_pretrained(tmp_path / "base")
    lm.pointer.save(tmp_path / "base")
    more = {"redis_url": redis_url, "base_model": str(tmp_path / "base"), "batch_size": 4}
    made = Bench(installation(WorkerSettings, stack, topic_prefix, tmp_path, **more))
    yield made
    made.close()


@contextmanager
def process(settings: WorkerSettings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`stratagem worker` with these settings as environment."""
    environ = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "STRATAGEM_HOME": str(settings.home),
        "STRATAGEM_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "STRATAGEM_REDIS_URL": settings.redis_url,
        "STRATAGEM_TOPIC_PREFIX": settings.topic_prefix,
        "STRATAGEM_GROUP_PREFIX": settings.group_prefix,
        "STRATAGEM_BASE_MODEL": settings.base_model,
        "STRATAGEM_DEVICE": "cpu",
        "STRATAGEM_BATCH_SIZE": str(settings.batch_size),
    }
    with log.open("ab") as out:
        running = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "worker"], cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    try:
        yield running
    finally:
        running.kill()
        running.wait(PATIENCE_S)


@pytest.mark.slow
def test_killed_amid_its_work_no_request_is_lost_or_answered_twice_differently(bench: Bench, tmp_path: Path) -> None:
    """After `kill -9` with answers under way another worker goes on: one content per request, none missing."""
    asked = [
        msgspec.structs.replace(request_of(seed, candidates=3, arm="random"), deadline_s=3600.0) for seed in range(60)
    ]
    for request in asked[:40]:
        bench.ask(request)
    with process(bench.settings, tmp_path / "first.log") as first:
        bench.read(STRATEGIES, lambda found: len(found) >= 5)
        first.send_signal(signal.SIGKILL)
        first.wait(PATIENCE_S)
    for request in asked[40:]:
        bench.ask(request)
    wanted = {request.request_id for request in asked}

    def all_answered(records: list[Any]) -> bool:
        return {codec.decode(record.value, Strategy).request_id for record in records} >= wanted

    with process(bench.settings, tmp_path / "second.log") as second:
        records = bench.read(STRATEGIES, all_answered)
        _until_committed(bench, len(asked))
        second.send_signal(signal.SIGTERM)
        assert second.wait(PATIENCE_S) == 0, (tmp_path / "second.log").read_text()
    contents: dict[str, set[bytes]] = {}
    for record in records:
        contents.setdefault(codec.decode(record.value, Strategy).request_id, set()).add(record.value)
    assert set(contents) == wanted
    assert {len(values) for values in contents.values()} == {1}


def _until_committed(bench: Bench, count: int) -> None:
    """Wait until the group has committed so many requests."""
    give_up = time.monotonic() + PATIENCE_S
    consumer = group_consumer(bench.settings, WORKERS, [])
    name = bench.settings.topic_prefix + REQUESTS.name
    partitions = [TopicPartition(name, number) for number in range(bench.settings.partitions)]
    while sum(consumer.committed(partition) or 0 for partition in partitions) < count:
        assert time.monotonic() < give_up, "not all requests were committed"
        time.sleep(0.1)
    consumer.close()
