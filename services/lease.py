"""The updater's lease in Redis: of several updaters one works, the others stand by.

A lease alone cannot stop a process that slept past its end from sending what it had begun to send. What can is the epoch of the
record `serving`: whoever takes over from a holder that did not let go raises it, and readers ignore lower epochs. The lease keeps
such records few, the epoch keeps them harmless (M. Kleppmann, "How to do distributed locking", 2016: the fencing token).
"""

import logging
import secrets
import threading
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from services.clients import redis_client
from services.health import Health
from services.metrics import LEASE_HELD, REDIS_ERRORS
from services.settings import Common
from services.worker_sending import Sender, Stopped
from streaming.contracts.errors import Unavailable
from streaming.effects import Publish
from streaming.keys import namespace
from streaming.waiting import Wait

LOG = logging.getLogger(__name__)
SERVICE = "updater"
RENEWALS = 3
"""Renewed so many times within its length: two may fail."""
RELEASED = b"released"
"""In place of the last holder's name: it has ended, and nothing of it is under way."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps, where the system has such a clock."""

_HOLD = """
local holder, last = redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])
local mine, milliseconds, takes = ARGV[1], ARGV[2], ARGV[3] == '1'
if holder == mine then
    redis.call('PEXPIRE', KEYS[1], milliseconds)
    return {1, ''}
end
if holder or not (takes or last == mine) then
    return {0, ''}
end
redis.call('SET', KEYS[1], mine, 'PX', milliseconds)
redis.call('SET', KEYS[2], mine)
return {1, last or ''}
"""
"""Holds it (1) or not (0), and who held it last. One that ran out is taken up again by its holder if nobody held it since."""
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
    redis.call('DEL', KEYS[1])
    if ARGV[2] ~= '' then
        redis.call('SET', KEYS[2], ARGV[2])
    end
end
"""


def lease_keys(topic_prefix: str) -> tuple[str, str]:
    """Who holds it (a string that expires), and who held it last (one that does not)."""
    tag = f"{{{namespace(topic_prefix)}updater}}"
    return f"{tag}:lease", f"{tag}:last"


class Lease:
    """Taken once, then renewed by a thread until released or lost.

    Attributes:
        usurped: the last holder did not let go: something of it may be under way.
        lost: somebody else holds it now; this process has to end.
        under_way: something was sent whose end is not known.
    """

    def __init__(self, settings: Common, lease_s: float, stop: threading.Event) -> None:
        """Nothing is asked yet.

        Args:
            stop: set when the lease is lost; ends the waiting for it.
        """
        self._redis = redis_client(settings)
        self._keys, self._lease_s, self._stop = lease_keys(settings.topic_prefix), lease_s, stop
        self._name = secrets.token_hex(8)
        self._until_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._wait = Wait()
        self.usurped = self.lost = self.under_way = self._answered = False

    def take(self) -> bool:
        """Try once; from then on it is renewed. False while another holds it, or while Redis does not answer."""
        last = self._hold(takes=True)
        if last is None:
            return False
        self.usurped = last != RELEASED
        LEASE_HELD.set(1)
        self._thread.start()
        return True

    def stand_by(self, health: Health, needed: Sequence[str]) -> bool:
        """Wait for it; False when told to stop before.

        A standby is ready, whatever is `needed` to be so with the lease: there is nothing else that it should do.
        """
        said = False
        while not self.take():
            if not said and self._answered:
                LOG.info("another updater holds the lease: standing by")
                for condition in needed:
                    health.met(condition)
                said = True
            health.beat()
            if self._stop.wait(min(1.0, self._lease_s / RENEWALS)):
                return False
        for condition in needed if said else ():
            health.unmet(condition, "starting")
        return True

    def held(self) -> bool:
        """Whether it is ours now, by our own clock and what Redis last said."""
        return not self.lost and time.clock_gettime(_CLOCK) < self._until_s

    def check(self) -> None:
        """Called before anything is told to others.

        Raises:
            Unavailable: it ran out, and Redis has not said yet who holds it.
            Stopped: somebody else does.
        """
        if self.lost:
            raise Stopped("lease")
        if not self.held():
            raise Unavailable("the lease could not be renewed in time")

    def release(self) -> None:
        """Let go, so that a standby need not wait."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(self._lease_s)
        if self._until_s and not self.lost:
            try:
                self._redis.eval(_RELEASE, 2, *self._keys, self._name, b"" if self.under_way else RELEASED)
            except RedisError as error:
                LOG.warning("the lease runs out by itself: %s", error)
        LEASE_HELD.set(0)
        self._redis.close()

    def _hold(self, *, takes: bool) -> bytes | None:
        """Who held it before us; None where it is not ours, or Redis does not answer."""
        asked_s = time.clock_gettime(_CLOCK)  # before the call: Redis counts from later on
        try:
            holds, last = self._redis.eval(_HOLD, 2, *self._keys, self._name, round(self._lease_s * 1000), int(takes))
        except RedisError as error:
            self._answered = False
            REDIS_ERRORS.labels(SERVICE).inc()
            if said := self._wait.failed("redis", error, time.monotonic()):
                LOG.warning("lease: %s", said)
            return None
        if said := self._wait.over(time.monotonic()):
            LOG.warning("lease: %s", said)
        self._answered = True
        if not holds:
            self.lost = not takes
            return None
        self._until_s = asked_s + self._lease_s
        return bytes(last)

    def _renew(self) -> None:
        while not self._over.wait(self._lease_s / RENEWALS):
            self._hold(takes=False)
            if self.lost:
                LEASE_HELD.set(0)
                LOG.error("another updater holds the lease: ending, to be started again as a standby")
                self._stop.set()
                return


class FencedSender(Sender):
    """Sends nothing without the lease."""

    def __init__(self, settings: Common, lease: Lease) -> None:
        """Connect with the first record."""
        super().__init__(settings)
        self._lease = lease

    def send(self, effects: Sequence[Publish]) -> None:
        """As `Sender`; waits for a lease that may still be ours.

        Raises:
            Unavailable: not sent, or not acknowledged.
            Stopped: the lease is another's.
        """
        self._lease.check()
        self._lease.under_way = True
        super().send(effects)
        self._lease.under_way = False
