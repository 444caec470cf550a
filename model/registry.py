"""The registry of versions at any fsspec address: immutable names, verified by SHA-256, no pickle.

A version is a directory whose `manifest.json` is written last: without it there is no version, so a crash while
publishing leaves nothing that could be served. Addresses come from settings; names, paths and addresses in records of a topic are
checked before they touch a file system.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec
import msgspec

from model.registry_files import MANIFEST, FileFact, check_path, content_hash, facts_of, verify
from streaming.contracts.adapters import Version
from streaming.contracts.errors import BadEvent, Unavailable

_NAME = re.compile(r"(adapter|critic)-(\d{6,})-([0-9a-f]{8})")

What = Literal["adapter", "critic"]


class Manifest(msgspec.Struct, frozen=True):
    """What a version is; `version.uri` is where it was first published.

    Args:
        files: path below the directory → its facts; all but the manifest itself.
    """

    version: Version
    files: dict[str, FileFact]
    format: int = 1


class Registry:
    """Versions below one address."""

    def __init__(self, address: str, cache: Path, *, options: Mapping[str, Any] | None = None) -> None:
        """Nothing is read or made before the first call.

        Args:
            address: any fsspec address, e.g. a folder or `s3://bucket/stratagem`.
            cache: local folder for fetched versions where the address is not local.
            options: of the file system (credentials, endpoint).
        """
        self._fs, self._root = fsspec.core.url_to_fs(address, **(options or {}))
        self._root = self._root.rstrip("/")
        self._cache = cache
        self._local = "file" in _protocols(self._fs)

    def uri(self, name: str) -> str:
        """Address of a version's directory."""
        return str(self._fs.unstrip_protocol(f"{self._root}/{checked_name(name)}"))

    def publish(
        self,
        what: What,
        sequence: int,
        directory: Path,
        *,
        tensors: str,
        base: str,
        base_sha256: str,
        parent: str,
        created_at: datetime,
        offsets: Mapping[str, int],
        metrics: Mapping[str, float],
        lm_weight: float = 0.0,
    ) -> Version:
        """Make a version of a directory's files. The caller announces it: that is the commit.

        Args:
            sequence: above all sequences published before (`highest_sequence`).
            tensors: the safetensors file whose hash the version carries, relative to `directory`.

        Raises:
            FileExistsError: a version of this name exists; nothing is overwritten.
            BadEvent: a file that may not be in a version.
            Unavailable: the address cannot be written now.
        """
        files = facts_of(directory)
        name = f"{what}-{sequence:06d}-{content_hash(files)[:8]}"
        version = Version(
            name=name,
            what=what,
            uri=self.uri(name),
            sha256=files[tensors].sha256,
            base=base,
            base_sha256=base_sha256,
            parent=parent,
            created_at=created_at,
            offsets=dict(offsets),
            metrics=dict(metrics),
            lm_weight=lm_weight,
        )
        try:
            self._write(name, directory, Manifest(version, files))
        except FileExistsError:
            raise
        except OSError as error:
            raise Unavailable(f"registry {self._root}: {error}") from error
        return version

    def _write(self, name: str, directory: Path, manifest: Manifest) -> None:
        target = f"{self._root}/{name}"
        if self._fs.exists(f"{target}/{MANIFEST}"):
            raise FileExistsError(f"{name} exists in {self._root}; versions are immutable")
        self._fs.makedirs(target, exist_ok=True)
        for path in manifest.files:
            self._fs.makedirs(str(PurePosixPath(target, path).parent), exist_ok=True)
            self._fs.put_file(str(directory / path), f"{target}/{path}")
        partial = f"{target}/{MANIFEST}.partial"
        self._fs.pipe_file(partial, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        self._fs.mv(partial, f"{target}/{MANIFEST}")

    def manifest(self, name: str) -> Manifest:
        """Read a version's manifest.

        Raises:
            BadEvent: no such version, or its manifest is not one.
            Unavailable: the address does not answer.
        """
        try:
            raw = self._fs.cat_file(f"{self._root}/{checked_name(name)}/{MANIFEST}")
        except FileNotFoundError:
            raise BadEvent("name", name, "a version of this registry") from None
        except OSError as error:
            raise Unavailable(f"registry {self._root}: {error}") from error
        try:
            manifest = msgspec.json.decode(raw, type=Manifest)
        except msgspec.MsgspecError as error:
            raise BadEvent(MANIFEST, name, f"a manifest ({error})") from None
        if manifest.version.name != name:
            raise BadEvent(f"{MANIFEST}:version.name", manifest.version.name, name)
        for path, fact in manifest.files.items():
            check_path(path, fact.bytes)
        return manifest

    def fetch(self, version: Version) -> Path:
        """A local directory with the version's files, every one verified.

        Raises:
            BadEvent: another address, no such version, a missing file, or content that is not what was announced.
            Unavailable: the address does not answer.
        """
        if version.uri != self.uri(version.name):
            raise BadEvent("uri", version.uri, f"an address in this registry, {self.uri(version.name)}")
        manifest = self.manifest(version.name)
        if version.sha256 not in {fact.sha256 for fact in manifest.files.values()}:
            raise BadEvent("sha256", version.sha256, f"a file of {version.name}")
        directory = Path(self._root) / version.name if self._local else self._cached(manifest)
        verify(directory, manifest.files)
        return directory

    def _cached(self, manifest: Manifest) -> Path:
        """Copy into the cache under a temporary name, then rename: readers see all of it or nothing."""
        name = manifest.version.name
        final = self._cache / name
        if final.is_dir():
            return final
        self._cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=self._cache))
        try:
            for path in manifest.files:
                (partial / path).parent.mkdir(parents=True, exist_ok=True)
                self._fs.get_file(f"{self._root}/{name}/{path}", str(partial / path))
            if not final.is_dir():
                os.replace(partial, final)  # noqa: PTH105 -- a directory, in place
        except FileNotFoundError as error:
            raise BadEvent("files", str(error), f"all files of {name}") from None
        except OSError as error:
            if not final.is_dir():  # another reader of this cache was not faster
                raise Unavailable(f"registry {self._root}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return final

    def names(self, what: What) -> list[str]:
        """Committed versions, oldest first."""
        found = [name for name in self._listed() if name.startswith(what)]
        return sorted(name for name in found if self._fs.exists(f"{self._root}/{name}/{MANIFEST}"))

    def highest_sequence(self, what: What) -> int:
        """The highest sequence in use, half-written directories included; 0 when there is none."""
        return max((sequence_of(name) for name in self._listed() if name.startswith(what)), default=0)

    def prune(self, what: What, keep: Collection[str]) -> list[str]:
        """Delete versions that nobody needs, manifest first.

        Returns:
            The names deleted.
        """
        gone = [name for name in self._listed() if name.startswith(what) and name not in keep]
        for name in gone:
            if self._fs.exists(f"{self._root}/{name}/{MANIFEST}"):
                self._fs.rm_file(f"{self._root}/{name}/{MANIFEST}")
            self._fs.rm(f"{self._root}/{name}", recursive=True)
        return gone

    def _listed(self) -> list[str]:
        if not self._fs.exists(self._root):
            return []
        names = [PurePosixPath(path).name for path in self._fs.ls(self._root, detail=False, refresh=True)]
        return sorted(name for name in names if _NAME.fullmatch(name))


def checked_name(name: str) -> str:
    """The name, when it is one that the registry makes.

    Raises:
        BadEvent: anything else, path separators included.
    """
    if not _NAME.fullmatch(name):
        raise BadEvent("name", name, "adapter-000012-1a2b3c4d or critic-...: what, sequence, content hash")
    return name


def sequence_of(name: str) -> int:
    """The sequence in a version's name."""
    return int(checked_name(name).split("-")[1])


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
