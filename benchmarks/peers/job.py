"""What a child process of `streams.py` is told, measures, and answers."""

import time
from collections import Counter

import msgspec

from streaming.contracts.topics import TopicSpec


class Job(msgspec.Struct, frozen=True):
    """One run of one system.

    Args:
        prefix: of topic names; `group` and `folder` are this run's own.
        records: in the input topic; `warm` of them are processed before the measurement begins.
        core: that this process is pinned to; None where there is but one.
        cached: customers that our agents keep in memory; peers that keep some are given the default.
        until_told: our agents hold what they fetch until SIGUSR1, and run until SIGTERM: others of their group
            process the rest.
    """

    system: str
    kafka_bootstrap: str
    redis_url: str
    prefix: str
    group: str
    folder: str
    records: int
    warm: int
    seed: int
    partitions: int
    core: int | None
    cached: int = 100_000
    until_told: bool = False

    def name(self, topic: TopicSpec) -> str:
        """The topic's name on the broker."""
        return self.prefix + topic.name


class Measured(msgspec.Struct, frozen=True):
    """What one run took.

    Args:
        events: processed while it was measured.
        cpu_s: of this process, its threads included.
        fates: of all records, the warm-up's included; empty where Redis has them.
        digest: of rows and messages, where they lie in no Redis and no topic.
    """

    events: int
    wall_s: float
    cpu_s: float
    fates: dict[str, int] = {}
    requests: int = 0
    digest: str = ""


class Meter:
    """Counts processed records; measures from the end of the warm-up to the last record.

    Attributes:
        done: all records were processed.
    """

    def __init__(self, job: Job) -> None:
        """Not begun."""
        self._job = job
        self._begun: tuple[int, float, float] | None = None
        self._ended: tuple[int, float, float] | None = None
        self.count = 0
        self.fates: Counter[str] = Counter()
        self._made = self._now()

    @property
    def done(self) -> bool:
        """Whether all records were processed."""
        return self.count >= self._job.records

    def add(self, records: int) -> None:
        """So many more records were processed."""
        self.count += records
        if self._begun is None and self.count >= self._job.warm:
            self._begun = self._made if self.done else self._now()  # a run of one fetch has no warm-up
        if self.done:
            self.end()

    def end(self) -> None:
        """The end is now; said again by who has more to do after the last record."""
        self._ended = self._now()

    def measured(self, **more: object) -> Measured:
        """What it took."""
        assert self._begun is not None
        assert self._ended is not None
        events, wall_s, cpu_s = (after - before for before, after in zip(self._begun, self._ended, strict=True))
        return msgspec.convert(
            {"events": int(events), "wall_s": wall_s, "cpu_s": cpu_s, "fates": dict(self.fates), **more}, Measured
        )

    def _now(self) -> tuple[int, float, float]:
        return self.count, time.monotonic(), time.process_time()
