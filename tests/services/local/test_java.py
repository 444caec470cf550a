"""Java and jars: found once, downloaded once, and named when missing."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from services.local import java
from services.local.process import MissingPart


def silent(_message: str) -> None:
    """Show no progress."""


def test_jars_come_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint is downloaded once; the second time nothing is fetched."""
    fetched: list[str] = []

    def fetch(endpoint: str, partial: Path, _progress: java.Progress) -> None:
        fetched.append(endpoint)
        (partial / "jars" / "a.jar").write_bytes(b"")

    monkeypatch.setattr(java, "_fetch", fetch)
    for _ in range(2):
        assert [jar.name for jar in java.resolve_jars("group:artifact:1", tmp_path, silent)] == ["a.jar"]
    assert fetched == ["group:artifact:1"]


def test_an_interrupted_download_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that fails every time is named in one line and never taken for a finished one."""

    def fail(_endpoint: str, partial: Path, _progress: java.Progress) -> None:
        (partial / "jars" / "half.jar").write_bytes(b"")
        message = "connection lost"
        raise ConnectionError(message)

    said: list[str] = []
    monkeypatch.setattr(java, "_fetch", fail)
    with pytest.raises(MissingPart, match=r"could not download group:artifact:1 .*connection lost"):
        java.resolve_jars("group:artifact:1", tmp_path, said.append)
    assert sum("trying again" in message for message in said) == java.ATTEMPTS - 1
    assert not list((tmp_path / "jars").glob("group*1"))


def test_missing_java_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel and without java on PATH the message says what to do."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(MissingPart, match='install the extra "local"'):
        java.find_java()


def test_missing_resolver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jgo and without downloaded jars the message says what to do."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingPart, match='install the extra "local"'):
        java.resolve_jars("group:artifact:1", tmp_path, silent)
