"""The pure functions alone: no Kafka, no Redis, states in memory. What every other system has to do as well."""

import hashlib

from benchmarks.peers.job import Job, Measured, Meter
from benchmarks.peers.traffic import traffic
from benchmarks.peers.work import BATCH, Record, States, Work, fates_of, users_of
from streaming.contracts.partition import partition_of
from streaming.contracts.topics import REQUESTS
from streaming.core import encode_state_row

ARRIVED_MS = 1_790_000_000_000
"""The Kafka timestamp of every record: later than all events."""


def run(job: Job) -> Measured:
    """Read and fold as many records at once as a fetch brings."""
    meter, work = Meter(job), Work(job)
    kept = States()
    requests = 0
    sha = hashlib.sha256()
    for partition, records in batches(job):
        items = work.read(partition, records)
        for user in users_of(items):
            kept.setdefault(user, None)
        folding = work.fold(kept, partition, items, records)
        kept.update(folding.states)
        meter.fates.update(fates_of(folding.writes))
        requests += sum(entry.topic == REQUESTS.name for entry in folding.writes.outbox)
        meter.add(len(records))
    for user in sorted(kept):
        state = kept[user]
        if state is not None:
            sha.update(encode_state_row(state))
    return meter.measured(requests=requests, digest=sha.hexdigest())


def batches(job: Job) -> list[tuple[int, list[Record]]]:
    """The traffic by partition, as many records at once as a fetch brings."""
    parts: list[list[Record]] = [[] for _ in range(job.partitions)]
    for key, value in traffic(job.records, job.seed):
        part = parts[partition_of(key, job.partitions)]
        part.append(Record(len(part), key, value, ARRIVED_MS))
    return [
        (p, part[at : at + BATCH]) for at in range(0, job.records, BATCH) for p, part in enumerate(parts) if part[at:]
    ]
