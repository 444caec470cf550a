"""Turns: one piece of work at a time, repeated until it is done. What is unavailable is waited for, a lost race is run again."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from streaming.contracts.errors import Unavailable
from streaming.facts import Facts
from streaming.store import Refused, Store
from streaming.waiting import Wait, awaited

FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
RACE_WAIT_S = 0.03
"""After a lost race, at most, at random: two owners must not meet in step."""

_log = logging.getLogger(__name__)


class Turns:
    """Orders the topics' batches and the keeper's work inside a process."""

    def __init__(self, store: Store, facts: Facts) -> None:
        """Own the lock."""
        self._store = store
        self._facts = facts
        self._lock = asyncio.Lock()
        self._stale = False
        self._wait = Wait()

    @property
    def waiting(self) -> bool:
        """Something we depend on did not answer at the last try."""
        return bool(self._wait.on)

    def drop_caches(self) -> None:
        """Forget all buckets before the next turn (not amid one)."""
        self._stale = True

    async def persistently(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it until it is done."""
        wait_s = FIRST_WAIT_S
        while True:
            async with self._lock:
                try:
                    await self._prepare()
                    await act()
                except Refused as error:
                    self._facts.count("refused_writes")
                    _log.warning("a race was lost and is run again: %s", error)
                    self._store.forget()
                    pause_s = random.uniform(0.0, RACE_WAIT_S)
                except Unavailable as error:
                    # Whether Redis wrote is unknown: everything is read again, and leftovers are published first.
                    self._store.forget()
                    self._failed(error)
                    pause_s, wait_s = wait_s, min(2 * wait_s, LONGEST_WAIT_S)
                else:
                    self._succeeded()
                    return
            await asyncio.sleep(pause_s)

    async def _prepare(self) -> None:
        if self._stale:
            self._stale = False
            self._store.forget()
        self._store.trim()
        await self._store.check_memory()

    def _failed(self, error: Unavailable) -> None:
        on = awaited(error)
        self._facts.count("redis_errors" if on == "redis" else "kafka_errors", service="agents")
        if self._wait.on not in ("", on):
            self._facts.gauge("waiting", 0.0, service="agents", on=self._wait.on)
        self._facts.gauge("waiting", 1.0, service="agents", on=on)
        if said := self._wait.failed(on, error, time.monotonic()):
            _log.warning("%s", said)

    def _succeeded(self) -> None:
        on = self._wait.on
        if said := self._wait.over(time.monotonic()):
            self._facts.gauge("waiting", 0.0, service="agents", on=on)
            _log.warning("%s", said)
