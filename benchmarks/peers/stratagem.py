"""Stratagem's agents as `stratagem agents` runs them: Faust, batches, the store's compare-and-set, metrics counted."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

from benchmarks.peers.job import Job, Measured, Meter
from services.agents import MetricFacts, rules_of, stream_settings
from services.settings import AgentsSettings
from services.topics import check_topics
from services.valuing import windows_of
from streaming.app import Agents

POLL_S = 0.05


class Metered(MetricFacts):
    """The agents' metrics, watched: the size of a batch is reported when all of it is done."""

    def __init__(self, meter: Meter) -> None:
        """Tell this meter."""
        self._meter = meter

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Measure, and tell the meter."""
        super().observe(name, value, **labels)
        if name == "batch_size":
            self._meter.add(int(value))


def settings_of(job: Job) -> AgentsSettings:
    """The defaults, in replay, because the events are not of today."""
    return AgentsSettings(
        kafka_bootstrap=job.kafka_bootstrap,
        redis_url=job.redis_url,
        topic_prefix=job.prefix,
        group_prefix=f"{job.group}-",
        home=Path(job.folder),
        clock="replay",
        partitions=job.partitions,
        cached_customers=job.cached,
    )


def run(job: Job) -> Measured:
    """Run the agents until all records were processed."""
    return asyncio.run(_run(job))


async def _run(job: Job) -> Measured:
    settings, meter = settings_of(job), Meter(job)
    topics = check_topics(settings)
    agents = Agents(stream_settings(settings, topics), rules_of(settings), windows_of(settings), Metered(meter))
    agents.settings.data_dir.mkdir(parents=True, exist_ok=True)
    told, go = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go.set)
    if job.until_told:
        _hold(agents, go)
    await agents.start()
    while not (told.is_set() if job.until_told else meter.done):
        await asyncio.sleep(POLL_S)
        if agents.failed is not None and agents.failed.done():
            raise agents.failed.result()
    if job.until_told:
        meter.end()
    with contextlib.suppress(asyncio.CancelledError):
        await agents.stop()
    return meter.measured()


def _hold(agents: Agents, go: asyncio.Event) -> None:
    """Let fetched batches wait for SIGUSR1: what a rebalance meanwhile made void is then passed over, as ever."""
    handle = agents._handle  # noqa: SLF001 -- the last place before a batch's epoch is looked at

    async def held(name: str, event: Any) -> None:
        await go.wait()
        await handle(name, event)

    agents._handle = held  # type: ignore[method-assign]  # noqa: SLF001 -- a seam of this benchmark's own
