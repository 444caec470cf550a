"""Kafka's classes are prepared once, used by every broker, and missed by none that cannot have them."""

from pathlib import Path

import pytest

from services.local.broker import Broker
from services.local.class_cache import SINCE_JAVA, class_cache_options, makes_caches
from services.local.java import find_java, java_version
from services.local.process import ProcessDied


def silent(_message: str) -> None:
    """Show no progress."""


def java_of(folder: Path, version: str) -> Path:
    """A runtime's folder that says which version it is; its program is never run."""
    (folder / "bin").mkdir(parents=True)
    (folder / "release").write_text(f'IMPLEMENTOR="Any"\nJAVA_VERSION="{version}"\n')
    return folder / "bin" / "java"


def test_a_broker_finds_its_classes_loaded(tmp_path: Path, stratagem_home: Path) -> None:
    """What was prepared is part of the memory of a broker that answers."""
    java = find_java()
    if not makes_caches(java_version(java)):
        pytest.skip(f"{java} is older than Java {SINCE_JAVA}, which makes such a cache")
    broker = Broker(tmp_path, cache=stratagem_home / "cache", progress=silent)
    try:
        maps = Path(f"/proc/{broker.process.pid}/maps").read_text()
    finally:
        broker.stop()
    assert f"classes-{java_version(java)}.aot" in maps


def test_it_is_made_once(tmp_path: Path) -> None:
    """The second time it is there; who asked first said so."""
    java, told, trained = java_of(tmp_path / "java", "25.0.2"), list[str](), list[str]()

    def train(option: str) -> None:
        trained.append(option)
        Path(option.partition("=")[2]).write_bytes(b"classes")

    first = class_cache_options(java, tmp_path, told.append, train)
    assert first == class_cache_options(java, tmp_path, told.append, train)
    assert first[0] == f"-XX:AOTCache={tmp_path}/classes-25.0.2.aot"
    assert len(told) == len(trained) == 1


def test_what_could_not_be_made_is_done_without(tmp_path: Path) -> None:
    """A broker that dies while it is learned from costs the cache alone; that is said, and it is not asked again."""
    java, told, trained = java_of(tmp_path / "java", "25.0.2"), list[str](), list[str]()

    def train(option: str) -> None:
        trained.append(option)
        raise ProcessDied("kafka", 1, tmp_path / "kafka.log", "no memory")

    for _ in range(2):
        assert class_cache_options(java, tmp_path, told.append, train) == ()
    assert len(trained) == 1
    assert "no memory" in told[-1]


@pytest.mark.parametrize("version", ["21.0.4", "", "early"])
def test_an_older_java_starts_as_it_is(tmp_path: Path, version: str) -> None:
    """Nothing is prepared for it."""

    def train(_option: str) -> None:
        pytest.fail("an older Java was to make a cache")

    assert class_cache_options(java_of(tmp_path / "java", version), tmp_path, silent, train) == ()


def test_a_runtime_that_does_not_say_its_version_has_none(tmp_path: Path) -> None:
    """As some distributions pack it."""
    assert java_version(tmp_path / "bin" / "java") == ""
