"""The updater: rewards in, critics and adapters out. One thread, sliced, so that no kind of work starves another.

Each turn of the loop reads what came, learns it, perhaps publishes a critic, takes one LoRA step or measures a slice of a candidate,
looks into the inbox, perhaps writes a snapshot. The offset lives in the snapshot; nothing is committed to Kafka.
"""

import logging
import shutil
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from model.critic import Critic, named
from model.gate import Judgement, judge
from services import metrics
from services.base_model import check_base
from services.clients import topic_name
from services.health import Health
from services.lease import FencedSender, Lease
from services.registries import registry_of
from services.settings import UpdaterSettings
from services.topics import Topic
from services.updater_announcing import SERVICE, Announcer
from services.updater_counting import Counting
from services.updater_critics import Owing, ServedCritics, next_critic, taken_up
from services.updater_figures import Freshness
from services.updater_reading import Reader
from services.updater_rollout import Rollout
from services.updater_state import (
    TRAINING,
    UpdaterFacts,
    commit,
    folder_of,
    load_trials,
    newest,
    partial_folder,
    restored,
    save_learning,
    save_trials,
    snapshots,
)
from services.valuing import formula_of
from services.watchdog import STANDS_AFTER_S, guarded, over_updater
from services.worker_sending import Sender
from streaming.contracts.errors import BadEvent
from streaming.contracts.strategies import Check
from streaming.contracts.topics import REWARDS

if TYPE_CHECKING:
    from services.updater_training import Training

LOG = logging.getLogger(__name__)

IDLE_POLL_MS, BUSY_POLL_MS = 200, 0
NEEDED = ("kafka", "announced")
"""What readiness wants."""
INBOX_EVERY_S = 1.0


class Updater:
    """All parts, joined by the loop."""

    def __init__(
        self, settings: UpdaterSettings, stop: threading.Event, health: Health | None = None, lease: Lease | None = None
    ) -> None:
        """Restore the newest snapshot; nothing is read from Kafka yet.

        Args:
            lease: held by us; None where there can be no other updater.
        """
        self.health = health or Health()
        self.settings, self._stop, self._lease = settings, stop, lease
        self._formula = formula_of(settings)
        self._folder = folder_of(settings)
        self.learning, self._facts = restored(settings, self._formula)
        self._number = self._facts.number if self._facts else 0
        registry = registry_of(settings, settings.home.absolute() / "cache" / "versions")
        sender = FencedSender(settings, lease) if lease else Sender(settings)
        self.announcer = Announcer(registry, sender, stop, "")
        trials = load_trials(newest(self._folder) if self._facts else None)
        self.rollout = Rollout(settings, self.announcer, trials, stop)
        self._served = ServedCritics(registry, self.announcer.said, self._formula)
        self.critic = named(self.learning.learner.snapshot(), 0)
        self._published_s = self._snapshot_s = self._inbox_s = time.monotonic()
        self.training: Training | None = None
        self.reader = Reader(settings, stop)
        self._saved = self._progress()
        self._counting = Counting(self._formula)
        self._freshness = Freshness()
        self._loading: Future[Training] | None = None
        self._owing = Owing()

    def run(self) -> None:
        """Until told to stop; the last act is a snapshot."""
        try:
            self._begin()
            with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
                self._loading = pool.submit(self._load_training)
                metrics.LIVE.labels(SERVICE).set(1)
                while not self._stop.is_set():
                    self.turn()
                    metrics.LAST_LOOP.labels(SERVICE).set_to_current_time()
                    self.health.beat()
            self._save()
        finally:
            metrics.LIVE.labels(SERVICE).set(0)
            self.reader.close()
            self.rollout.close()
            self.announcer.close()

    def _begin(self) -> None:
        """Know what was announced before learning anything new."""
        topic_id = self._facts.topic_id if self._facts else ""
        self.learning.next_offset = self.reader.connect(self.learning.next_offset, topic_id)
        while not (self.reader.caught_up() or self._stop.is_set()):
            self._read(IDLE_POLL_MS)
        self.reader.follow_rewards()
        self.health.met("announced")
        if (serving := self.announcer.said.serving) is not None:
            self.critic = taken_up(self._served.find(serving.critic), self.critic)
            self._owing.resumed = True
            if self._lease is not None and self._lease.usurped:
                # What the last holder may still have under way is of the epoch before, and ignored.
                self.announcer.serve(lambda before: replace(before, epoch=before.epoch + 1))
        else:
            believed = self._facts.prior if self._facts else ""
            first = Check("first", passed=True, detail=believed or "what is believed before any reward")
            self._serve_critic(self.critic, judge([first]))
        self.rollout.follow(self.critic.version)
        self._say_what_is_served()

    def turn(self) -> None:
        """One turn of the loop."""
        self._read(BUSY_POLL_MS if self._busy() else IDLE_POLL_MS)
        self.rollout.follow(self.critic.version)
        self.rollout.turn()
        now_s = time.monotonic()
        self.learning.unpublished |= self._owing.owed(self.learning, self.critic)
        if self.learning.unpublished and now_s - self._published_s >= self.settings.publish_every_s:
            self._publish_critic(now_s)
        if self.training is not None:
            self._train(now_s)
        elif self._loading is not None and self._loading.done():
            self._begin_training(self._loading.result())
        if now_s - self._inbox_s >= INBOX_EVERY_S:
            self._inbox_s = now_s
            if self.training is not None:
                self.rollout.look_into_inbox(self.training, self.learning, self.critic)
        if now_s - self._snapshot_s >= self.settings.snapshot_every_s and self._progress() != self._saved:
            self._save()

    def _read(self, timeout_ms: int) -> None:
        rewards, adapters = self.reader.poll(timeout_ms)
        for key, value in adapters:
            self.announcer.take(key, value)
        for record in rewards:
            learned = self.learning.take(record)
            self._counting.count(learned)
            self._freshness.read(record.timestamp_ms)
            self.rollout.take(learned)
            if learned.letter is not None:
                self.announcer.send([learned.letter])

    def _publish_critic(self, now_s: float) -> None:
        self._published_s, self.learning.unpublished = now_s, False
        candidate, judgement, share = next_critic(self.learning, self.critic)
        if judgement.decision == "promoted":
            self.learning.unpublished = share < 1.0  # the rest of the way with the next snapshot
            self._serve_critic(candidate, judgement)
        else:
            LOG.warning("critic %s is refused: %s", candidate.version, judgement.reason)
            self.announcer.decided(candidate.version, "critic", judgement)

    def _serve_critic(self, critic: Critic, judgement: Judgement) -> None:
        self.critic = self.announcer.critic(critic, self._offsets(), judgement)
        self._served.remember(self.critic)
        self._say_what_is_served()

    def _load_training(self) -> "Training":
        import torch

        from model.lm import LanguageModel
        from services.updater_training import Training

        torch.set_num_threads(self.settings.threads)
        lm = LanguageModel.load(self.settings.base_model, self.settings.device)
        check_base(self.settings, lm)
        return Training(lm, self.settings, self._served.find)

    def _begin_training(self, training: "Training") -> None:
        """Take over what a snapshot and the topic say; what does not fit this base is left out, and said."""
        self.training = training
        self.announcer.base = training.base
        training.trained = self._facts.trained if self._facts else 0
        saved = newest(self._folder)
        if saved is not None and (saved / TRAINING).is_dir():
            try:
                training.restore(saved / TRAINING)
            except BadEvent as error:
                LOG.warning("the adapter in training does not fit and starts anew: %s", error)
        self.rollout.hold_champion(training, again=False)

    def _train(self, now_s: float) -> None:
        assert self.training is not None
        self.rollout.hold_champion(self.training, again=True)
        judgement = self.training.examine(self.learning, now_s)
        if judgement is not None:
            self._judged(judgement)
        elif self.training.owed(self.learning) and not self.training.measuring:
            # A step costs as much as a slice of the measurement, and what was trained waits for the measurement to be served.
            metrics.TRAINING_LOSS.set(self.training.step(self.learning, self.critic, now_s))
            metrics.TRAINING_STEPS.inc()
        self._freshness.stands(self.training.candidate)

    def _judged(self, judgement: Judgement) -> None:
        assert self.training is not None
        refreshes = judgement.decision == "promoted" and not (
            self.training.candidate and self.training.candidate.foreign
        )
        self.rollout.publish(self.training, judgement, self._offsets(), self._write_learning)
        if refreshes:
            self._freshness.served(round(time.time() * 1000))
        self._say_what_is_served()

    def _save(self) -> None:
        if self._lease is not None and not self._lease.held():
            return  # the folder may be shared with whoever holds it now
        self._snapshot_s = time.monotonic()
        self._number = max(self._number, *(int(p.name.split("-")[1]) for p in snapshots(self._folder)), 0) + 1
        partial = partial_folder(self._folder)
        self._write_learning(partial)
        save_trials(self.rollout.trials, partial)
        saved = newest(self._folder)
        if self.training is not None:
            self.training.save(partial / TRAINING)
        elif saved is not None and (saved / TRAINING).is_dir():  # its base is still being loaded
            shutil.copytree(saved / TRAINING, partial / TRAINING)
        commit(partial, self._folder, self._number)
        self._saved = self._progress()

    def _write_learning(self, into: Path) -> None:
        before, training = self._facts, self.training
        trained, steps = (before.trained, before.steps) if before else (0, 0)
        if training is not None:
            trained, steps = training.trained, training.distiller.steps
        topic = topic_name(self.settings, REWARDS)
        topic_id = self.reader.topic.id if self.reader.topic else before.topic_id if before else ""
        prior = before.prior if before else ""
        facts = UpdaterFacts(topic, self.learning.next_offset, self._number, trained, steps, topic_id, prior)
        save_learning(self.learning, facts, into)

    def _progress(self) -> tuple[Topic | None, int, int]:
        """Rewards read, of which topic, and steps taken: what a snapshot is worth writing for."""
        return self.reader.topic, self.learning.next_offset, self.training.distiller.steps if self.training else 0

    def _busy(self) -> bool:
        training = self.training
        return bool(training and (training.measuring or training.owed(self.learning)))

    def _offsets(self) -> dict[str, int]:
        return {f"{REWARDS.name}:0": self.learning.next_offset}

    def _say_what_is_served(self) -> None:
        metrics.ADAPTER.info({"champion": self.announcer.said.champion, "critic": self.critic.version})


def main(settings: UpdaterSettings) -> int:
    """Stand by until the lease is ours, then run until SIGTERM or SIGINT.

    Returns:
        0 after a clean stop, 1 where it cannot go on or another holds the lease now, 2 where a topic does not fit.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel("WARNING")  # its INFO tells every connection
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health(*NEEDED, patience_s=STANDS_AFTER_S)
    metrics.serve(SERVICE, settings.metrics_host, settings.metrics_port, health)
    lease = Lease(settings, settings.lease_s, stop)
    if not lease.stand_by(health, NEEDED):
        return 0
    updater = Updater(settings, stop, health, lease)
    watchdog = over_updater(settings, health, updater.reader, lambda: updater.learning.next_offset, stop)
    code = guarded(updater.run, watchdog)
    lease.release()
    return code or int(lease.lost)
