"""Watches a service that has a loop of its own, and ends the process when its work stands still or its topic is another one."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

from services.health import Health
from services.liveness import CHECK_EVERY_S, Watch, standing
from services.settings import SettingError, UpdaterSettings, WorkerSettings
from services.topics import Topic
from services.worker_sending import Stopped, waited_for
from streaming.contracts.topics import REQUESTS, REWARDS, TopicSpec

WORKERS = "workers"
"""Consumer group, after the prefix: workers share the partitions of `strategy.requests`."""
STANDS_AFTER_S = 300.0
"""Without a turn or a commit for so long a service is taken for dead; a large base on a CPU takes minutes a batch."""
END_WAIT_S = 30.0

LOG = logging.getLogger(__name__)


class Reading(Protocol):
    """What reads the topic, as far as it is watched: see its own attributes."""

    topic: Topic | None
    owned: set[int]


class Watchdog(threading.Thread):
    """A thread that looks every few seconds.

    Args:
        waiting: whether something the service depends on is known not to answer.
        spec: the topic that is read.
        reading: who reads it: the partitions that are ours (while there are none, any counts), and the topic it began with.
        end: asks the loop to end; where it does not within the grace, the process ends hard.

    Attributes:
        stuck: whether the process could not go on: then it ends with another code than 0.
    """

    def __init__(
        self,
        watch: Watch,
        health: Health,
        spec: TopicSpec,
        reading: Reading,
        *,
        waiting: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        """A daemon thread, not started."""
        super().__init__(name="watchdog", daemon=True)
        self._watch, self._health = watch, health
        self._spec, self._reading = spec, reading
        self._waiting, self._end = waiting, end
        self._done = threading.Event()
        self.stuck = False

    def run(self) -> None:
        """Look every few seconds, until the work stands still."""
        try:
            why = self._until_stuck()
        finally:
            self._watch.close()
        if why:
            self._give_up(why)

    def _until_stuck(self) -> str:
        pause_s = 0.0  # the first look is at once
        while not self._done.wait(pause_s):
            pause_s = CHECK_EVERY_S
            if self._waiting():
                self._health.beat()
            found = self._watch.look(waiting=self._waiting())
            if found is None:
                continue
            if why := self._is_another(found.topics[self._spec.name]):
                return why
            ours = self._reading.owned
            stuck = {place for place in found.stuck if not ours or place[1] in ours}
            if stuck and not self._waiting():
                return standing(stuck)
        return ""

    def _is_another(self, now: Topic) -> str:
        """Why the process has to start again; what only somebody else can mend is said, and waited for."""
        name, began, wanted = self._spec.name, self._reading.topic, self._spec.partitions
        if began is None:
            return ""
        if not now.partitions:
            self._unfit(f"{name} is gone: made anew it is read from its start")
        elif now.id != began.id:
            return f"{name} was deleted and made again"
        elif wanted is not None and now.partitions != wanted:
            self._unfit(f"{name} has {now.partitions} partitions, wanted {wanted}: nothing is read of the others")
        else:
            self._health.met("topics")
        return ""

    def _unfit(self, why: str) -> None:
        """Said once, and as long as it lasts at the readiness."""
        if self._health.unmet("topics", why):
            LOG.error("%s", why)

    def close(self) -> None:
        """Look no more; returns once it has disconnected."""
        self._done.set()
        if self.is_alive():
            self.join(END_WAIT_S)

    def _give_up(self, why: str) -> None:
        self.stuck = True
        self._health.stands(why)
        LOG.error("%s: ending, to be started again", why)
        self._end()
        if not self._done.wait(END_WAIT_S):
            os._exit(1)  # the loop itself hangs; Kafka and Redis hold everything


def guarded(run: Callable[[], None], watchdog: Watchdog) -> int:
    """Run a loop under its watchdog; the exit code of the process."""
    watchdog.start()
    try:
        run()
    except Stopped as stopped:
        LOG.info("stopped while %s was unavailable", stopped)
    except SettingError as error:
        LOG.error("%s", error)  # noqa: TRY400 -- something of an operator's needs no traceback
        return 2
    finally:
        watchdog.close()
    return 1 if watchdog.stuck else 0


def over_worker(settings: WorkerSettings, health: Health, reading: Reading, stop: threading.Event) -> Watchdog:
    """Not started: what the workers' group has committed moves while requests come, in the topic that we began with."""
    watch = Watch(
        settings,
        "worker",
        [REQUESTS],
        group=settings.group_prefix + WORKERS,
        applied=lambda _topic, _partition: None,
        health=health,
        patience_s=STANDS_AFTER_S,
    )
    return Watchdog(watch, health, REQUESTS, reading, waiting=lambda: bool(waited_for), end=stop.set)


def over_updater(
    settings: UpdaterSettings, health: Health, reading: Reading, learned: Callable[[], int], stop: threading.Event
) -> Watchdog:
    """Not started: the offset that was learned to moves while rewards come, in the topic that we began with."""
    watch = Watch(
        settings,
        "updater",
        [REWARDS],
        group=None,
        applied=lambda _topic, _partition: learned(),
        health=health,
        redis=False,
        patience_s=STANDS_AFTER_S,
    )
    return Watchdog(watch, health, REWARDS, reading, waiting=lambda: bool(waited_for), end=stop.set)
