"""A model worker that has become slow: it fetches no more than it can hold, stays in its group, and says how far it is behind."""

import random
import time
from pathlib import Path
from typing import Any, cast

import pytest
from kafka.errors import KafkaError

from services.clients import admin, producer, topic_name
from services.watchdog import WORKERS
from streaming.contracts.topics import REQUESTS
from tests.faults.conftest import MakeWorkers, soak
from tests.faults.worker_bench import WorkerBench, asked

pytestmark = pytest.mark.timeout(900)  # its fixtures included, on a machine that others load too
SLOW_S = 7.0
"""A batch takes longer than the session."""
HEAVY, HEAVY_BYTES = 500, 200_000
BOUND_BYTES = HEAVY * HEAVY_BYTES // 2
"""Half of what lies in the topic; two fetches of 6 MiB for each of two partitions, decoding and allocator included, stay below."""
SLOW = """
import time
from pathlib import Path
from services.worker_batch import Batch
_handle = Batch.handle

def _slow(self, records):
    ends = time.monotonic() + {slow_s}
    while not Path({go!r}).exists() and time.monotonic() < ends:
        time.sleep(0.05)
    _handle(self, records)

Batch.handle = _slow
"""


def heavy_tombstones(workers: WorkerBench) -> None:
    """Records that cost memory to fetch and nothing to answer."""
    rng = random.Random(5)
    sender = producer(workers.settings)
    name = topic_name(workers.settings, REQUESTS)
    sent = [sender.send(name, key=rng.randbytes(HEAVY_BYTES), value=None, partition=n % 2) for n in range(HEAVY)]
    for each in sent:
        each.get(60)
    sender.close()
    workers.count += HEAVY


def members(workers: WorkerBench) -> set[str]:
    """Who is in the group while nothing is being rebalanced; empty otherwise."""
    client = admin(workers.settings)
    group = workers.settings.group_prefix + WORKERS
    try:
        found = client.describe_groups([group])[group]
    except KafkaError:  # a fresh broker has no coordinator yet
        return set()
    finally:
        client.close()
    return {each["member_id"] for each in found["members"]} if found["group_state"] == "Stable" else set()


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


@soak
def test_a_slow_worker_is_bounded_stays_in_its_group_and_catches_up(make_workers: MakeWorkers) -> None:
    """Two batches longer than its session, with much more in the topic than it may hold; then all is answered once."""
    workers = make_workers()
    requests = asked(44)
    workers.ask(requests[:4])
    go = workers.settings.home / "go"
    process = workers.fork(SLOW.format(slow_s=SLOW_S, go=str(go)))
    workers.wait(lambda: len(members(workers)) == 1, "the group")
    workers.wait(workers.answered, "the first batch, by which the base takes its memory")
    joined = members(workers)
    workers.ask(requests[4:24])
    heavy_tombstones(workers)
    workers.ask(requests[24:])
    before, most, behind_s = resident_bytes(process.pid), 0, 0.0
    ends = time.monotonic() + 2.2 * SLOW_S
    while time.monotonic() < ends:
        most = max(most, resident_bytes(process.pid))
        behind_s = max(behind_s, workers.world.metrics(cast("Any", process))["lag_seconds"])
        time.sleep(0.3)
    assert members(workers) == joined
    assert most - before < BOUND_BYTES
    assert behind_s > SLOW_S
    assert workers.committed() < workers.count / 2
    go.touch()
    workers.wait(workers.answered, "everything answered")
    assert members(workers) == joined
    workers.wait(lambda: workers.world.metrics(cast("Any", process))["lag_seconds"] == 0.0, "no lag")
    assert max(most, resident_bytes(process.pid)) - before < BOUND_BYTES
    workers.stop()
    workers.count = len(requests)
    assert workers.contents().keys() == {request.request_id for request in requests}
    assert workers.repeats() == 0
