"""`stratagem agents`: the Faust agents in this process, with metrics, a clean end and a watch on their liveness."""

import asyncio
import contextlib
import gc
import logging
import signal
import ssl
import threading
import time
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from services import metrics
from services.agents_watch import AgentsWatch
from services.clients import REFUSALS
from services.health import Health
from services.representations import vectors_of
from services.settings import AgentsSettings, Common, SettingError
from services.topics import Topics, check_topics
from services.valuing import windows_of
from streaming.app import Agents, Security, StreamSettings
from streaming.clock import ClockRules
from streaming.contracts.errors import Unavailable
from streaming.reading import Layout
from streaming.reference import Reference
from streaming.rules import Rules
from streaming.waiting import Wait, awaited

GROUP = "agents"
START_PATIENCE_S = 60.0
RETRY_S = 1.0
LOOP_PATIENCE_S = 60.0

_log = logging.getLogger(__name__)


class MetricFacts:
    """Maps the edges' facts to metrics; a test walks the edges and asks for an entry of every name."""

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Count; a bug is also logged. Its traceback is no label, and may quote a customer: the dead letter holds it."""
        if name == "bugs":
            _log.error("our own bug on one record or one due time, dead-lettered with its traceback")
            labels = {"service": "agents"}
        elif name == "dead_letters":
            labels = {"service": "agents", **labels}
        metric = _METRICS.get(name)
        if isinstance(metric, Counter):
            (metric.labels(**labels) if labels else metric).inc(amount)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set."""
        metric = _METRICS.get(name)
        if isinstance(metric, Gauge):
            (metric.labels(**labels) if labels else metric).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Measure."""
        metric = _METRICS.get(name)
        if isinstance(metric, Histogram):
            (metric.labels(**labels) if labels else metric).observe(value)


_METRICS: dict[str, Counter | Gauge | Histogram] = {
    "events": metrics.EVENTS,
    "dead_letters": metrics.DEAD_LETTERS,
    "folded": metrics.FOLDED,
    "rebalances": metrics.REBALANCES,
    "event_lag_seconds": metrics.EVENT_LAG,
    "watermark_timestamp_seconds": metrics.WATERMARK,
    "requests": metrics.REQUESTS,
    "suppressions": metrics.SUPPRESSIONS,
    "batch_size": metrics.BATCH_SIZE,
    "batch_seconds": metrics.BATCH_SECONDS,
    "refused_writes": metrics.REFUSED_WRITES,
    "replays_skipped": metrics.REPLAYS_SKIPPED,
    "mispartitioned": metrics.MISPARTITIONED,
    "partitions_mixed": metrics.PARTITIONS_MIXED,
    "bugs": metrics.BUGS,
    "last_loop_timestamp_seconds": metrics.LAST_LOOP,
    "unknown_strategies": metrics.UNKNOWN_STRATEGIES,
    "identity_conflicts": metrics.IDENTITY_CONFLICTS,
    "unbooked_outcomes": metrics.UNBOOKED,
    "unmatched_reversals": metrics.UNMATCHED,
    "redis_errors": metrics.REDIS_ERRORS,
    "kafka_errors": metrics.KAFKA_ERRORS,
    "rewinds": metrics.REWINDS,
    "waiting": metrics.WAITING,
}


def rules_of(settings: AgentsSettings) -> Rules:
    """The shop's rules from the settings."""
    return Rules(
        daily_cap=settings.daily_cap,
        max_discount_pct=settings.max_discount_pct,
        stale_after_ms=int(settings.stale_after_s * 1000),
        quiet_start_hour=settings.quiet_start_hour,
        quiet_end_hour=settings.quiet_end_hour,
        deadline_s=settings.deadline_s,
        shares={
            "fused": settings.share_fused,
            "lm": settings.share_lm,
            "critic": settings.share_critic,
            "random": settings.share_random,
            "holdout": settings.share_holdout,
        },
        arm_salt=settings.arm_salt,
        max_message_ids=settings.max_message_ids,
        campaign_rate_per_s=settings.campaign_rate_per_s,
        profile_retention_days=settings.profile_retention_days,
        campaign_mark_days=settings.campaign_mark_days,
        currency=settings.currency,
    )


def stream_settings(settings: AgentsSettings, topics: Topics) -> StreamSettings:
    """What the streaming edges need."""
    clock = ClockRules(settings.clock, int(settings.allowed_lateness_s * 1000))
    return StreamSettings(
        group=settings.group_prefix + GROUP,
        bootstrap=tuple(settings.kafka_bootstrap.split(",")),
        prefix=settings.topic_prefix,
        redis_url=settings.redis_url,
        layout=Layout(settings.buckets, topics.partitions, clock),
        topic_ids=topics.ids,
        data_dir=settings.home / "agents",
        security=security_of(settings),
        session_timeout_s=settings.session_timeout_s,
        max_poll_records=settings.max_poll_records,
        cached_customers=settings.cached_customers,
    )


def security_of(settings: Common) -> Security:
    """How brokers are reached.

    Raises:
        SettingError: a file of certificates or a key cannot be used.
    """
    context = None
    if settings.kafka_security_protocol.endswith("SSL"):
        try:
            context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
            if settings.kafka_ssl_certfile:
                context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None)
        except OSError as error:  # an SSLError is one, too
            raise SettingError(f"STRATAGEM_KAFKA_SSL_CAFILE, _CERTFILE, _KEYFILE: {error}") from error
        context.check_hostname = settings.kafka_ssl_check_hostname
    return Security(
        settings.kafka_security_protocol,
        settings.kafka_sasl_mechanism,
        settings.kafka_sasl_username,
        settings.kafka_sasl_password,
        context,
    )


def main(settings: AgentsSettings) -> int:
    """Run until SIGTERM or SIGINT.

    Returns:
        0 after a signal, 1 when the agents could not go on or stopped committing, 2 for a setting that cannot be used.
    """
    health = Health("kafka", "redis", "catalog", "group", patience_s=LOOP_PATIENCE_S)
    port = metrics.serve("agents", settings.metrics_host, settings.metrics_port, health)
    _log.info("metrics on port %d", port)
    try:
        return asyncio.run(_run(settings, health))
    except (SettingError, ValueError) as error:
        _log.error("%s", error)
        return 2


async def _run(settings: AgentsSettings, health: Health) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    topics = await _patiently(lambda: asyncio.to_thread(check_topics, settings), stop, health)
    if topics is None:
        return 0 if stop.is_set() else 1
    for name, notes in topics.notes.items():
        for note in notes:
            _log.warning("topic %s %s", name, note)
    vectors = vectors_of(settings)
    agents = Agents(stream_settings(settings, topics), rules_of(settings), windows_of(settings), MetricFacts())
    agents.catalog.reference = Reference(vectors=vectors)
    if vectors is not None:
        _log.info("vectors of products, version %s", vectors.embedder.version)
    agents.settings.data_dir.mkdir(parents=True, exist_ok=True)
    await _patiently(agents.start, stop, health)
    # What the libraries and the catalog hold lives as long as we do: a full collection that walks it stalls every partition.
    gc.collect()
    gc.freeze()
    health.met("catalog")
    metrics.LIVE.labels(service="agents").set(1)
    watch = AgentsWatch(agents, settings, topics, health, settings.group_prefix + GROUP)
    code = await _serve(agents, watch, stop)
    metrics.LIVE.labels(service="agents").set(0)
    await _stopped(agents)
    return code


async def _patiently(act: Any, stop: asyncio.Event, health: Health) -> Any:
    """Try until Kafka and Redis answer, a signal comes, or patience ends; where they refuse us there is none.

    Raises:
        Unavailable: in the end, or at once when it was a refusal.
    """
    give_up_s = asyncio.get_running_loop().time() + START_PATIENCE_S
    wait = Wait()
    while not stop.is_set():
        try:
            return await act()
        except Unavailable as error:
            if isinstance(error.__cause__, REFUSALS) or asyncio.get_running_loop().time() > give_up_s:
                raise
            if said := wait.failed(awaited(error), error, time.monotonic()):
                _log.warning("%s", said)
            health.beat()
            await asyncio.sleep(RETRY_S)
    return None


async def _serve(agents: Agents, watch: AgentsWatch, stop: asyncio.Event) -> int:
    unfit, beating = asyncio.create_task(watch.run()), asyncio.create_task(watch.beat())
    crashed = asyncio.create_task(agents.crashed())
    stopping = asyncio.create_task(stop.wait())
    assert agents.failed is not None
    ending: set[asyncio.Future[Any]] = {unfit, crashed, stopping, agents.failed}
    done, _ = await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
    reason = unfit.result() if unfit in done else ""
    for task in (unfit, beating, crashed, stopping):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    if crashed in done:
        _log.error("Faust has given up: ending, to be started again")
    if reason:
        _log.error("%s", reason)
    watch.close()
    return 0 if done == {stopping} else 1


async def _stopped(agents: Agents) -> None:
    """Stop, but not for ever: what was not finished is repeated by whoever starts next."""
    limit_s = 2 * agents.settings.session_timeout_s
    watchdog = threading.Timer(limit_s + 5.0, _abandon)
    watchdog.daemon = True
    watchdog.start()
    try:
        await asyncio.wait_for(agents.stop(), limit_s)
    except TimeoutError:
        _log.warning("could not stop in %.0f s; what was in flight will be read again", limit_s)
    watchdog.cancel()


def _abandon() -> None:
    """Faust swallowed the cancellation: end the process; Kafka and Redis hold everything."""
    import os

    os._exit(1)
