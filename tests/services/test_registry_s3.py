"""The registry in an object store: moto's server, a mock of S3 over HTTP, as no maintained server comes as a package."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer
from msgspec import structs

from model.registry import Registry
from model.registry_files import MANIFEST
from services.registries import registry_of
from services.settings import Common
from streaming.contracts.adapters import Version
from streaming.contracts.errors import BadEvent, Unavailable

BUCKET = "stratagem"
KEY = "a-test's"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The address of an empty bucket; credentials and endpoint come as AWS's variables, as they do in a cluster."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    names = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": KEY, "DEFAULT_REGION": "us-east-1", "ENDPOINT_URL": endpoint}
    for name, value in names.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()  # it keeps one for good, with the endpoint of the test before
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.close()
    yield f"s3://{BUCKET}/{tmp_path.name}"  # the mock keeps what it holds from one server to the next
    server.stop()


def published(registry: Registry, folder: Path, sequence: int, content: bytes = b"weights") -> Version:
    """A version with a file and one in a folder."""
    (folder / "learner").mkdir(parents=True, exist_ok=True)
    (folder / "critic.safetensors").write_bytes(content)
    (folder / "learner" / "facts.json").write_bytes(b"{}")
    return registry.publish(
        "critic", sequence, folder, tensors="critic.safetensors", base="b", base_sha256="", parent="",
        created_at=datetime(2026, 1, 1, tzinfo=UTC), offsets={"strategy.rewards:0": 3}, metrics={},
    )  # fmt: skip


def test_what_one_publishes_another_fetches(store: str, tmp_path: Path) -> None:
    """Updater and worker on two machines: same bytes, same record, each file verified, kept in the cache."""
    version = published(Registry(store, tmp_path / "updater"), tmp_path / "out", 7)
    worker = Registry(store, tmp_path / "worker")
    folder = worker.fetch(version)
    assert folder.is_relative_to(tmp_path / "worker")
    assert (folder / "critic.safetensors").read_bytes() == b"weights"
    assert (folder / "learner" / "facts.json").read_bytes() == b"{}"
    assert worker.names("critic") == [version.name]
    assert version.uri == f"{store}/{version.name}"


def test_without_its_manifest_there_is_no_version(store: str, tmp_path: Path) -> None:
    """Killed while publishing: files lie there, nobody is served them, and the sequence is not used again."""
    registry = Registry(store, tmp_path / "cache")
    version = published(registry, tmp_path / "out", 7)
    registry._fs.rm_file(f"{registry._root}/{version.name}/{MANIFEST}")
    other = Registry(store, tmp_path / "other")
    other._fs.invalidate_cache()
    assert other.names("critic") == []
    assert other.highest_sequence("critic") == 7
    with pytest.raises(BadEvent):
        other.fetch(version)


def test_a_version_is_never_overwritten_and_goes_whole(store: str, tmp_path: Path) -> None:
    """The same name again is an error; what nobody needs is removed."""
    registry = Registry(store, tmp_path / "cache")
    first = published(registry, tmp_path / "out", 1)
    with pytest.raises(FileExistsError, match="immutable"):
        published(registry, tmp_path / "out", 1)
    second = published(registry, tmp_path / "out", 2, b"others")
    assert registry.prune("critic", {second.name}) == [first.name]
    assert registry.names("critic") == [second.name]


def test_changed_bytes_are_refused(store: str, tmp_path: Path) -> None:
    """An object that somebody changed is not served, nor a version from another address."""
    registry = Registry(store, tmp_path / "cache")
    version = published(registry, tmp_path / "out", 1)
    registry._fs.pipe_file(f"{registry._root}/{version.name}/critic.safetensors", b"weighty")
    with pytest.raises(BadEvent, match=r"critic\.safetensors"):
        Registry(store, tmp_path / "other").fetch(version)
    with pytest.raises(BadEvent, match="uri"):
        registry.fetch(structs.replace(version, uri=f"s3://elsewhere/{version.name}"))


def test_a_store_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No connection at all, which its client says by an error of its own: unavailable, like any other."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    names = {"ACCESS_KEY_ID": KEY, "SECRET_ACCESS_KEY": KEY, "DEFAULT_REGION": "us-east-1", "MAX_ATTEMPTS": "1"}
    for name, value in {**names, "ENDPOINT_URL": f"http://127.0.0.1:{port}"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    registry = registry_of(Common(registry=f"s3://{BUCKET}/{tmp_path.name}"), tmp_path / "cache")
    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        published(registry, tmp_path / "out", 1)
    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        registry.manifest("critic-000001-00000000")
