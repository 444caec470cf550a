"""The model worker: `strategy.requests` in, `strategies` out.

One loop: read a batch → what is stored already, paused or stale → decide and write → store (first wins) → publish what is
stored → wait for the acknowledgement → commit. Killed anywhere, the batch comes again and repeats what was stored.
Adapters and critics come in between batches, from a thread that follows `model.adapters`.
"""

import gc
import logging
import signal
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from model import adapter
from model.critic import Critic
from model.lm import LanguageModel
from model.registry import Registry
from services import metrics
from services.clients import group_consumer
from services.health import Health
from services.settings import WorkerSettings, registry_address
from services.valuing import formula_of
from services.watchdog import STANDS_AFTER_S, WORKERS, over_worker
from services.worker_answers import Answerer
from services.worker_batch import Batch
from services.worker_following import Follower, Loader
from services.worker_intake import Record
from services.worker_sending import Sender, Stopped, patiently
from services.worker_serving import ServingTable
from services.worker_store import AnswerStore
from streaming.contracts.errors import Unavailable
from streaming.contracts.topics import REQUESTS

LOG = logging.getLogger(__name__)
SERVICE = "worker"
SESSION_MS = 6_000
"""After a killed worker the others wait this long for its partitions."""
POLL_MS = 200
PRIOR_HEADS = 8
"""Of the critic that is served until one is announced."""


class Worker:
    """The loop and its clients."""

    def __init__(
        self, settings: WorkerSettings, lm: LanguageModel, stop: threading.Event, health: Health | None = None
    ) -> None:
        """Attach the adapter slots and start following; nothing is consumed before `run`."""
        adapter.attach(lm, adapter.SLOTS)
        formula = formula_of(settings)
        table = ServingTable(lm, Critic.prior(settings.seed, PRIOR_HEADS, formula))
        registry = Registry(registry_address(settings), Path(settings.home) / "versions")
        loader = Loader(registry, adapter.expected(lm), lm.device, formula)
        self._settings, self._stop, self._health = settings, stop, health or Health()
        self._owned: set[int] = set()
        self._watchdog = over_worker(settings, self._health, lambda: self._owned, stop)
        self._table = table
        self._follower = Follower(settings, loader, stop)
        self._sender = Sender(settings)
        self._store = AnswerStore(settings)
        answerer = Answerer(lm, table, temperature=settings.temperature, seed=settings.seed)
        self._batch = Batch(settings, answerer, self._store, self._sender, stop)

    def run(self) -> int:
        """Serve until stopped; 1 when the thread that follows the adapters has died of a bug."""
        metrics.ADAPTER.info({"champion": self._table.champion, "critic": self._table.critic.version})
        self._follower.start()
        self._follower.ready.wait()
        self._health.met("adapters")
        self._watchdog.start()
        try:
            if refusal := patiently(self._store.evicts, "redis", SERVICE, self._stop):
                LOG.critical("%s", refusal)
                return 2
            consumer = patiently(self._consumer, "kafka", SERVICE, self._stop)
            metrics.LIVE.labels(SERVICE).set(1)
            while not self._stop.is_set() and self._follower.failed is None:
                self._turn(consumer)
            consumer.close()
        except Stopped as stopped:
            LOG.info("stopped while %s was unavailable", stopped)
        finally:
            metrics.LIVE.labels(SERVICE).set(0)
            self._stop.set()
            self._watchdog.close()
            self._follower.join(timeout=10)
            self._sender.close()
            self._store.close()
        return 1 if self._follower.failed or self._watchdog.stuck else 0

    def _turn(self, consumer: KafkaConsumer) -> None:
        metrics.LAST_LOOP.labels(SERVICE).set_to_current_time()
        self._health.beat()
        self._swap()
        records = self._read(consumer)
        self._joined(consumer)
        if not records:
            return
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(records))
        self._batch.handle(records)
        self._commit(consumer, records)

    def _joined(self, consumer: KafkaConsumer) -> None:
        self._owned = {place.partition for place in consumer.assignment()}
        if self._owned:
            self._health.met("group")
        else:
            self._health.unmet("group", "no partition is assigned")

    def _read(self, consumer: KafkaConsumer) -> list[Record]:
        """What has come, filled up for at most `batch_wait_ms`."""
        size = self._settings.batch_size
        records = self._poll(consumer, POLL_MS, size)
        if records and len(records) < size and self._settings.batch_wait_ms:
            ends = time.monotonic() + self._settings.batch_wait_ms / 1000
            while len(records) < size and (left_s := ends - time.monotonic()) > 0:
                records += self._poll(consumer, max(1, round(left_s * 1000)), size - len(records))
        return records

    @staticmethod
    def _poll(consumer: KafkaConsumer, timeout_ms: int, limit: int) -> list[Record]:
        found = consumer.poll(timeout_ms=timeout_ms, max_records=limit)
        return [
            Record(REQUESTS.name, r.partition, r.offset, r.key, r.value, r.timestamp, tuple(r.headers or ()))
            for records in found.values()
            for r in records
        ]

    def _commit(self, consumer: KafkaConsumer, records: Sequence[Record]) -> None:
        """After the acknowledgement. A commit lost to a rebalance or a broker only means that answers repeat."""
        name = self._settings.topic_prefix + REQUESTS.name
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        for record in records:
            offsets[TopicPartition(name, record.partition)] = OffsetAndMetadata(record.offset + 1, "", -1)
        try:
            consumer.commit(offsets)
        except KafkaError as error:
            metrics.KAFKA_ERRORS.labels(SERVICE).inc()
            LOG.warning("commit refused, the batch may come again: %s", error)

    def _swap(self) -> None:
        """Take in what was announced; here no request is under way."""
        while not self._follower.changes.empty():
            change = self._follower.changes.get()
            before = self._table.champion
            swapped = self._table.apply(change)
            if swapped.placed:
                metrics.SWAP_SECONDS.observe(swapped.stall_s)
            if self._table.champion != before:
                metrics.SWAPS.inc()
                LOG.info("serving %s after %s, stalled %.2f ms", self._table.champion, before, swapped.stall_s * 1000)
            metrics.ADAPTER.info({"champion": self._table.champion, "critic": self._table.critic.version})

    def _consumer(self) -> KafkaConsumer:
        try:
            return group_consumer(
                self._settings,
                WORKERS,
                [REQUESTS],
                session_timeout_ms=SESSION_MS,
                heartbeat_interval_ms=SESSION_MS // 4,
            )
        except KafkaError as error:
            raise Unavailable(f"kafka: {error}") from error


def main(settings: WorkerSettings) -> int:
    """Run the worker until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 1 after a bug that the supervisor should know of, 2 where Redis would lose answers.
    """
    torch.set_num_threads(settings.threads)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health("adapters", "kafka", "redis", "group", patience_s=STANDS_AFTER_S)
    port = metrics.serve(SERVICE, settings.metrics_host, settings.metrics_port, health)
    lm = LanguageModel.load(settings.base_model, settings.device)
    LOG.info("base %s on %s, metrics on port %d", lm.name, lm.device, port)
    try:
        worker = Worker(settings, lm, stop, health)
        # The libraries' half a million objects live as long as we do: a full collection that walks them stalls for 0.3 s.
        gc.collect()
        gc.freeze()
        return worker.run()
    except Exception:  # noqa: BLE001 -- the last line of the process: say why it ends, then end
        LOG.critical("the worker ends: %s", traceback.format_exc())
        return 1
