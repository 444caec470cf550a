"""The batch transport in a real Faust worker on the real Kafka: batches, prefix commits, rebalances; and its hooks."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from services.local.stack import Endpoints
from streaming.batches import BatchConsumer, BatchConsumerThread

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
OWN = {"rewind", "_to_batch", "_messages", "_forget", "_seek_back"}
"""Methods of the consumer that override nothing."""
USED = ("_wait_next_records", "_clean_unacked_messages", "_to_message", "commit_and_end_transactions", "seek_wait")
"""What it calls of the stock consumer, besides what it overrides."""


def played(name: str, stack: Endpoints, prefix: str, home: Path) -> dict[str, Any]:
    """What a scenario of `batch_scenarios.py` saw."""
    command = [sys.executable, "-m", "tests.streaming.batch_scenarios", name, stack.kafka_bootstrap, prefix, str(home)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr[-6000:]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def test_batches_are_delivered_and_their_acknowledged_prefix_is_committed(
    stack: Endpoints, topic_prefix: str, tmp_path: Path
) -> None:
    """One event per fetch and partition with all its records, or per record; a commit passes nothing in flight."""
    seen = played("prefixes", stack, topic_prefix, tmp_path)
    assert seen["offsets"] == [list(range(70)), list(range(50))]
    assert seen["batches_at_once"] <= 10  # of a hundred records
    assert all(len(partitions) == 1 for partitions in seen["partitions"])
    assert seen["last_is_the_messages"]
    assert seen["plain"] == ["0", "1", "2", "3", "4"]
    assert seen["state_missing"] == []
    assert seen["before"] == [0, 2]  # all but the first batch, all but the third record
    assert seen["after"] == [70, 50, 5]


def test_a_revoked_partition_is_its_new_owners_alone(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> None:
    """What was in flight is read again by the new owner; nothing more comes to the old one, whose late ack is void."""
    seen = played("rebalance", stack, topic_prefix, tmp_path)
    assert seen["together"] == [True, True]  # the same partitions of every topic
    assert seen["new_read"] == list(range(20))
    assert seen["old_read_more"] == 0
    assert seen["committed_too_late"] == 0
    assert seen["committed"] == 20


def test_the_pinned_faust_has_the_hooks() -> None:
    """Every method overridden exists in the stock classes, and so does what they call: another version may drift."""
    assert version("faust-streaming") == "0.15.3"
    assert hasattr(faust.App, "_new_transport")
    assert hasattr(driver.Transport, "Consumer")
    assert hasattr(driver.AIOKafkaConsumerThread, "_create_worker_consumer")
    assert "_create_worker_consumer" in vars(BatchConsumerThread)
    overridden = {name for name, part in vars(BatchConsumer).items() if callable(part)} - OWN - {"__init__"}
    assert {name for name in (*overridden, *USED) if not hasattr(driver.Consumer, name)} == set()
