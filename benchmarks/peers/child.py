"""One run of one system in a process of its own: reads a `Job` from its argument, prints what it measured."""

import importlib
import os
import sys

import msgspec

from benchmarks.peers.job import Job, Measured

MODULES = {
    "stratagem": "stratagem",
    "quixstreams": "quixstreams_app",
    "aiokafka": "aiokafka_loop",
    "confluent": "confluent_loop",
    "faust_table": "faust_table",
    "pure": "pure",
}
"""System → its file; imported only when it is named, because two of them need the extra `bench`."""


def main(argument: str) -> None:
    """Pin this process, run, print."""
    job = msgspec.json.decode(argument, type=Job)
    if job.core is not None:
        os.sched_setaffinity(0, {job.core})
    system = importlib.import_module(f"benchmarks.peers.{MODULES[job.system]}")
    measured: Measured = system.run(job)
    print(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main(sys.argv[1])
