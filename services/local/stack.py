"""Kafka and Redis together, as one thing that is started, watched and stopped."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from services.local.broker import Broker, PickPorts, pick_free_ports, pick_usual_ports
from services.local.database import Database, Fsync
from services.local.process import MissingPart

PREVIOUS_STOP_S = 20.0  # a stack whose parent was killed may need this long to end
POLL_S = 0.1


class Endpoints(msgspec.Struct, frozen=True):
    """Where Kafka and Redis are reached.

    Attributes:
        kafka_bootstrap: `host:port`, as clients take it.
        redis_url: For `redis.from_url`.
    """

    kafka_bootstrap: str
    redis_url: str


class LocalStack:
    """A context manager that runs Kafka and Redis below one folder.

    Both are stopped on leaving, whatever the reason, and also when this process is killed.

    Attributes:
        endpoints: Where they are reached; set once entered.
        broker: The running Kafka.
        database: The running Redis.
    """

    endpoints: Endpoints
    broker: Broker
    database: Database

    def __init__(
        self,
        home: Path,
        *,
        fresh: bool,
        progress: Callable[[str], None],
        cache: Path | None = None,
        fsync: Fsync = "everysec",
    ) -> None:
        """Remember what to run; nothing starts before the context is entered.

        Args:
            home: This stack's own folder: data and logs of both.
            fresh: Delete what an earlier run left there; keep and use it otherwise.
            progress: Told, in a few words, what is being done.
            cache: Where downloads are kept between runs; `cache` beside `home` if `None`, so that the stacks below
                one `STRATAGEM_HOME` share them.
            fsync: How often Redis makes its append-only file durable.
        """
        self._home = home.absolute()
        self._fresh = fresh
        self._progress = progress
        self._cache = (cache or self._home.parent / "cache").absolute()
        self._fsync: Fsync = fsync

    def __enter__(self) -> Self:
        """Start both at once and return when both answer.

        Raises:
            MissingPart: If the machine lacks something, or another stack runs in the same folder.
            ProcessDied: If one of them stops while starting.
        """
        with contextlib.ExitStack() as started:
            lock = started.enter_context(contextlib.closing(_Lock(self._home, self._progress)))
            if self._fresh:
                for part in ("kafka", "redis"):
                    shutil.rmtree(self._home / part, ignore_errors=True)
            self._locked = lock.descriptor
            # Processes run side by side by themselves: Redis comes up while Kafka starts. No threads are needed.
            self.database = self._new_database("")
            started.callback(lambda: self.database.stop())
            # Users point their programs at a stack that is kept; demo and tests leave the usual port to it.
            self.broker = self._new_broker(pick_free_ports if self._fresh else pick_usual_ports)
            started.callback(lambda: self.broker.stop())
            self.database.wait_until_ready()
            self.endpoints = Endpoints(kafka_bootstrap=self.broker.bootstrap, redis_url=self.database.url)
            self._progress("Kafka and Redis answer")
            self._started = started.pop_all()
        return self

    def _new_database(self, more_lines: str, socket: Path | None = None) -> Database:
        return Database(
            self._home / "redis",
            cache=self._cache,
            progress=self._progress,
            fsync=self._fsync,
            keep_open=[self._locked],
            more_lines=more_lines,
            socket=socket,
        )

    def _new_broker(self, pick_ports: PickPorts) -> Broker:
        return Broker(
            self._home / "kafka",
            cache=self._cache,
            progress=self._progress,
            keep_open=[self._locked],
            pick_ports=pick_ports,
        )

    def start_database(self, more_lines: str = "") -> None:
        """Start Redis again, with its data and at its address, after it was stopped or killed."""
        self.database.stop()
        self.database = self._new_database(more_lines, self.database.socket)
        self.database.wait_until_ready()

    def start_broker(self) -> None:
        """Start Kafka again, with its data and at its address, after it was stopped or killed."""
        self.broker.stop()
        port = int(self.broker.bootstrap.rpartition(":")[2])
        self.broker = self._new_broker(lambda: (port, pick_free_ports()[1]))

    def check(self) -> None:
        """Raise `ProcessDied`, with the last lines of its log, if either has ended by itself."""
        self.broker.process.check()
        self.database.process.check()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop both."""
        self._started.close()


class _Lock:
    """An exclusive lock on a stack's folder, held by us and by the guards of its processes until all have ended."""

    def __init__(self, home: Path, progress: Callable[[str], None]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up_s = time.monotonic() + PREVIOUS_STOP_S
        waiting = False
        while not self._taken():
            if time.monotonic() > give_up_s:
                self.close()
                message = f"another stack is running in {home}"
                raise MissingPart(message)
            if not waiting:
                progress("waiting for the stack that ran here before to stop")
                waiting = True
            time.sleep(POLL_S)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self.descriptor)
