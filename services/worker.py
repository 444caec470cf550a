"""The model worker: `strategy.requests` in, `strategies` out.

One loop: read a batch → what is stored already, paused or stale → decide and write → store (first wins) → publish what is
stored → wait for the acknowledgement → commit. Killed anywhere, the batch comes again and repeats what was stored.
Adapters and critics come in between batches, from a thread that follows `model.adapters`.
"""

import gc
import logging
import signal
import threading
import traceback
from pathlib import Path

import torch

from model import adapter
from model.critic import Critic
from model.lm import LanguageModel
from model.prefixes import PrefixCache
from services import metrics
from services.base_model import check_base
from services.deciding import PRIOR_HEADS
from services.following import Follower
from services.health import Health
from services.registries import registry_of
from services.settings import SettingError, WorkerSettings
from services.settings_writer import WriterSettings, writer_url
from services.valuing import formula_of
from services.watchdog import STANDS_AFTER_S, over_worker
from services.worker_answers import Answerer, Elsewhere
from services.worker_batch import Batch
from services.worker_following import Loader
from services.worker_reading import RequestReader
from services.worker_sending import Sender, Stopped, patiently
from services.worker_serving import ServingTable
from services.worker_store import AnswerStore
from services.writer import RemoteTexts
from services.writer_client import WriterClient

LOG = logging.getLogger(__name__)
SERVICE = "worker"


class Worker:
    """The loop and its clients."""

    def __init__(
        self,
        settings: WorkerSettings,
        lm: LanguageModel,
        stop: threading.Event,
        health: Health | None = None,
        writer: Elsewhere | None = None,
    ) -> None:
        """Attach the adapter slots and start following; nothing is consumed before `run`.

        Args:
            settings: the worker's.
            lm: the base.
            stop: ends `run`.
            health: told how things stand.
            writer: writes message texts instead of the base.
        """
        adapter.attach(lm, adapter.SLOTS)
        formula = formula_of(settings)
        table = ServingTable(lm, Critic.prior(settings.seed, PRIOR_HEADS, formula))
        registry = registry_of(settings, Path(settings.home) / "versions")
        loader = Loader(registry, adapter.expected(lm), lm.device, formula, lm.lean)
        self._settings, self._stop, self._health = settings, stop, health or Health()
        self._reader = RequestReader(settings, stop)
        self._watchdog = over_worker(settings, self._health, self._reader, stop)
        self._table = table
        self._follower = Follower(settings, loader, stop)
        self._sender = Sender(settings)
        self._store = AnswerStore(settings)
        answerer = Answerer(
            lm,
            table,
            temperature=settings.temperature,
            alone=settings.lm_temperature,
            seed=settings.seed,
            writer=writer,
        )
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
            self._reader.connect()
            metrics.LIVE.labels(SERVICE).set(1)
            while not self._stop.is_set() and self._follower.failed is None:
                self._turn()
            self._reader.close()
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

    def _turn(self) -> None:
        metrics.LAST_LOOP.labels(SERVICE).set_to_current_time()
        self._health.beat()
        self._swap()
        records = self._reader.read()
        self._joined()
        if not records:
            return
        metrics.BATCH_SIZE.labels(SERVICE).observe(len(records))
        self._batch.handle(records)
        self._reader.commit(records)

    def _joined(self) -> None:
        if self._reader.owned:
            self._health.met("group")
        else:
            self._health.unmet("group", "no partition is assigned")

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
            metrics.ADAPTERS_RESIDENT.set(len(self._table.slots.resident()))


def writer_of(settings: WriterSettings) -> RemoteTexts | None:
    """Who writes the texts; None: the base does.

    Raises:
        SettingError: an address that is none, or a key that would travel in the clear.
    """
    url = writer_url(settings)
    if not url:
        return None
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its INFO tells every call
    client = WriterClient(
        url,
        model=settings.writer_model,
        key=settings.writer_key,
        timeout_s=settings.writer_timeout_s,
        temperature=settings.writer_temperature,
    )
    return RemoteTexts(client, wait_s=settings.writer_wait_ms / 1000, concurrency=settings.writer_concurrency)


def main(settings: WriterSettings) -> int:
    """Run the worker until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 1 after a bug that the supervisor should know of, 2 where Redis would lose answers.
    """
    torch.set_num_threads(settings.threads)
    writer = writer_of(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health("adapters", "kafka", "redis", "group", patience_s=STANDS_AFTER_S)
    port = metrics.serve(SERVICE, settings.metrics_host, settings.metrics_port, health)
    lm = LanguageModel.load(settings.base_model, settings.device)
    try:
        check_base(settings, lm)
    except SettingError as error:
        LOG.critical("%s", error)
        return 2
    lm.prefixes = PrefixCache(settings.prefix_cache_mib * 2**20) if settings.prefix_cache_mib else None
    LOG.info("base %s on %s, metrics on port %d", lm.name, lm.device, port)
    try:
        worker = Worker(settings, lm, stop, health, writer)
        # The libraries' half a million objects live as long as we do: a full collection that walks them stalls for 0.3 s.
        gc.collect()
        gc.freeze()
        return worker.run()
    except Exception:  # noqa: BLE001 -- the last line of the process: say why it ends, then end
        LOG.critical("the worker ends: %s", traceback.format_exc())
        return 1
    finally:
        if writer is not None:
            writer.close()
