"""Redis: where its program comes from, and that nobody else reaches it."""

import os
import signal
from pathlib import Path

import pytest
import redis

from services.local import database as database_module
from services.local.database import SOCKET_PATH_LIMIT_BYTES, Database, find_server, server_from_jar, server_version
from services.local.process import MissingPart, ProcessDied


def silent(_message: str) -> None:
    """Show no progress."""


def listening_tcp_inodes() -> set[str]:
    """Return the socket inodes of every listening TCP socket of this machine."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"}  # proc(5): 0A is LISTEN


def socket_inodes(pid: int) -> set[str]:
    """Return the inodes of a process's sockets."""
    links = [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
    return {link.removeprefix("socket:[").rstrip("]") for link in links if link.startswith("socket:[")}


def test_no_port_is_open(tmp_path: Path, stratagem_home: Path) -> None:
    """Redis listens on a unix socket that only we may use, and on no TCP port."""
    database = Database(tmp_path, cache=stratagem_home / "cache", progress=silent)
    try:
        database.wait_until_ready()
        ours = socket_inodes(database.process.pid)
        assert ours
        assert not ours & listening_tcp_inodes()
        assert database.socket.stat().st_mode & 0o077 == 0
        with redis.Redis.from_url(database.url) as client:
            settings = client.config_get("*")
        assert settings["port"] == "0"
        assert (settings["appendonly"], settings["maxmemory-policy"]) == ("yes", "noeviction")
    finally:
        database.stop()


def test_a_crash_is_seen_with_the_log(tmp_path: Path, stratagem_home: Path) -> None:
    """A killed Redis is reported with the last lines of its log."""
    database = Database(tmp_path, cache=stratagem_home / "cache", progress=silent)
    try:
        database.wait_until_ready()
        os.kill(database.process.pid, signal.SIGKILL)
        database.process.wait(30)
        with pytest.raises(ProcessDied, match=r"(?s)redis died.*eady to accept connections"):
            database.process.check()
    finally:
        database.stop()


def test_a_database_that_cannot_start_says_why(tmp_path: Path, stratagem_home: Path) -> None:
    """A Redis that refuses its data folder raises while it is waited for, with the reason from its log."""
    database = Database(tmp_path, cache=stratagem_home / "cache", progress=silent)
    database.wait_until_ready()
    database.stop()
    broken = [path for path in tmp_path.rglob("*.aof") if path.is_file()]
    for path in broken:
        path.write_bytes(b"not an append-only file")
    assert broken
    again = Database(tmp_path, cache=stratagem_home / "cache", progress=silent)
    with pytest.raises(ProcessDied, match="Bad file format"):
        again.wait_until_ready()
    again.stop()


def test_a_long_home_gets_a_short_socket(tmp_path: Path, stratagem_home: Path) -> None:
    """Where the data folder's path is too long for a socket, the socket lies in a short folder, removed at the end."""
    home = tmp_path / ("long" * 20) / ("longer" * 10)
    database = Database(home, cache=stratagem_home / "cache", progress=silent)
    try:
        database.wait_until_ready()
        assert len(bytes(database.socket)) <= SOCKET_PATH_LIMIT_BYTES
    finally:
        database.stop()
    assert not database.socket.parent.exists()


def test_the_jar_brings_a_server_that_runs(stratagem_home: Path) -> None:
    """Without redis-server on PATH and without the wheel (Python 3.13) the one in the jar is new enough."""
    version = server_version(server_from_jar(stratagem_home / "cache", silent))
    assert version is not None
    assert version >= database_module.OLDEST


def test_a_missing_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no candidate runs, the message is one line that says what was tried."""
    candidates = [("PATH", tmp_path / "nothing"), ("embedded-redis", Path("/bin/true"))]
    monkeypatch.setattr(database_module, "_candidates", lambda _cache, _progress: iter(candidates))
    with pytest.raises(MissingPart, match=r"put one on PATH; tried PATH \(does not run\), embedded-redis"):
        find_server(tmp_path, silent)
