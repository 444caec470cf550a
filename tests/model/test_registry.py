"""The registry: immutable names, verified content, nothing outside its address."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec import structs

from model.registry import Registry, checked_name
from model.registry_files import MANIFEST
from streaming.contracts.adapters import Version
from streaming.contracts.errors import BadEvent


def published(registry: Registry, folder: Path, sequence: int, content: bytes = b"weights") -> Version:
    """A version with one file and one in a folder."""
    (folder / "learner").mkdir(parents=True, exist_ok=True)
    (folder / "critic.safetensors").write_bytes(content)
    (folder / "learner" / "facts.json").write_bytes(b"{}")
    return registry.publish(
        "critic",
        sequence,
        folder,
        tensors="critic.safetensors",
        base="b",
        base_sha256="",
        parent="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        offsets={"strategy.rewards:0": 3},
        metrics={"loss": 0.1},
    )


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_published_is_fetched_and_verified(tmp_path: Path, remote: bool) -> None:  # noqa: FBT001 -- a parameter
    """At a folder and at another fsspec address alike: same bytes, same record."""
    address = f"memory://registry-{tmp_path.name}" if remote else str(tmp_path / "registry")
    registry = Registry(address, tmp_path / "cache")
    version = published(registry, tmp_path / "out", 7)
    folder = registry.fetch(version)
    assert (folder / "critic.safetensors").read_bytes() == b"weights"
    assert (folder / "learner" / "facts.json").read_bytes() == b"{}"
    assert registry.manifest(version.name).version == version
    assert version.name.startswith("critic-000007-")
    assert registry.names("critic") == [version.name]
    assert registry.highest_sequence("critic") == 7


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    """The same name again is an error; other content has another name."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    first = published(registry, tmp_path / "out", 1)
    with pytest.raises(FileExistsError, match="immutable"):
        published(registry, tmp_path / "out", 1)
    assert published(registry, tmp_path / "out", 1, b"others").name != first.name


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    """A file that is not what was announced: the error names it."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    version = published(registry, tmp_path / "out", 1)
    (tmp_path / "registry" / version.name / "critic.safetensors").write_bytes(b"weightz")
    with pytest.raises(BadEvent, match=r"critic\.safetensors"):
        registry.fetch(version)


def test_a_directory_without_manifest_is_no_version(tmp_path: Path) -> None:
    """A crash while publishing leaves nothing that can be fetched, and its sequence is not used again."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    version = published(registry, tmp_path / "out", 5)
    (tmp_path / "registry" / version.name / MANIFEST).unlink()
    assert registry.names("critic") == []
    assert registry.highest_sequence("critic") == 5
    with pytest.raises(BadEvent, match="a version of this registry"):
        registry.fetch(version)


@pytest.mark.parametrize("name", ["../../etc", "critic-000001-xyz", "/etc/passwd", "critic-000001-0011223z", ""])
def test_names_that_are_no_versions_are_refused(name: str) -> None:
    """Nothing of a record's name reaches a file system unchecked."""
    with pytest.raises(BadEvent):
        checked_name(name)


def test_another_address_is_refused(tmp_path: Path) -> None:
    """A record may not send a reader elsewhere."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    version = published(registry, tmp_path / "out", 1)
    with pytest.raises(BadEvent, match="uri"):
        registry.fetch(structs.replace(version, uri="file:///etc"))


@pytest.mark.parametrize("name", ["weights.pkl", "weights.bin", "run.py"])
def test_files_that_could_run_are_refused(tmp_path: Path, name: str) -> None:
    """Data only: no pickle, no code."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"x")
    with pytest.raises(BadEvent, match="one of"):
        published(Registry(str(tmp_path / "registry"), tmp_path / "cache"), tmp_path / "out", 1)


def test_a_link_is_refused(tmp_path: Path) -> None:
    """It could point anywhere."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.json").symlink_to("/etc/hostname")
    with pytest.raises(BadEvent, match="links"):
        published(Registry(str(tmp_path / "registry"), tmp_path / "cache"), tmp_path / "out", 1)


def test_pruning_keeps_what_is_named(tmp_path: Path) -> None:
    """The rest is gone, and only of the kind asked for."""
    registry = Registry(str(tmp_path / "registry"), tmp_path / "cache")
    versions = [published(registry, tmp_path / "out", n, bytes([n])).name for n in (1, 2, 3)]
    assert registry.prune("critic", {versions[2]}) == versions[:2]
    assert registry.names("critic") == versions[2:]
    assert registry.prune("adapter", set()) == []


def test_a_copy_put_back_serves_what_it_holds(tmp_path: Path) -> None:
    """As docs/operations.md says: a copy of the files at the same address; what came after the copy is refused."""
    address, safe = tmp_path / "registry", tmp_path / "safe"
    registry = Registry(str(address), tmp_path / "cache")
    before = published(registry, tmp_path / "out", 1)
    shutil.copytree(address, safe)
    after = published(registry, tmp_path / "out", 2, b"later weights")
    shutil.rmtree(address)
    shutil.copytree(safe, address)
    restored = Registry(str(address), tmp_path / "cache")
    assert (restored.fetch(before) / "critic.safetensors").read_bytes() == b"weights"
    assert restored.manifest(before.name).version == before
    assert restored.names("critic") == [before.name]
    with pytest.raises(BadEvent, match="a version of this registry"):
        restored.fetch(after)
