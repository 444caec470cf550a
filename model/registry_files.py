"""The files of a version: which may be there, their hashes, and whether they still are what was announced."""

import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import msgspec

from streaming.contracts.errors import BadEvent

MANIFEST = "manifest.json"
MAX_FILE_BYTES = 1 << 30
"""Largest file of a version; adapters of a 0.5B base have some ten megabytes."""
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_SUFFIXES = frozenset({".safetensors", ".json", ".msgpack", ".zlib", ".md", ".txt"})
"""Data only: nothing that a loader might execute."""


class FileFact(msgspec.Struct, frozen=True):
    """SHA-256 (hexadecimal) and size of a file."""

    sha256: str
    bytes: int


def verify(directory: Path, files: Mapping[str, FileFact]) -> None:
    """Every named file has its announced size and hash.

    Raises:
        BadEvent: naming the file.
    """
    for path, fact in files.items():
        check_path(path, fact.bytes)
        file = directory / path
        if not file.is_file():
            raise BadEvent("files", path, "a file of the version")
        if not file.resolve().is_relative_to(directory.resolve()):
            raise BadEvent("files", path, "a file inside the version's directory")
        found = _fact_of(file)
        if found != fact:
            raise BadEvent(
                f"files.{path}", f"{found.sha256} ({found.bytes} bytes)", f"{fact.sha256} ({fact.bytes} bytes)"
            )


def facts_of(directory: Path) -> dict[str, FileFact]:
    """Path below the directory → size and hash of every file.

    Raises:
        BadEvent: a file that may not be in a version.
    """
    files = {}
    for file in sorted(directory.rglob("*")):
        if file.is_symlink():
            raise BadEvent("files", file.name, "no symbolic links")
        if file.is_file():
            path = file.relative_to(directory).as_posix()
            check_path(path, file.stat().st_size)
            files[path] = _fact_of(file)
    return files


def _fact_of(file: Path) -> FileFact:
    digest = sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return FileFact(digest.hexdigest(), file.stat().st_size)


def check_path(path: str, size_bytes: int) -> None:
    """Whether a file may be part of a version.

    Raises:
        BadEvent: another path, suffix or size.
    """
    pure = PurePosixPath(path)
    if not _PATH.fullmatch(path) or ".." in pure.parts or pure.is_absolute() or path == MANIFEST:
        raise BadEvent("files", path, "a plain relative path below the version")
    if pure.suffix not in _SUFFIXES:
        raise BadEvent("files", path, f"one of {', '.join(sorted(_SUFFIXES))}")
    if not 0 <= size_bytes <= MAX_FILE_BYTES:
        raise BadEvent(f"files.{path}", size_bytes, f"at most {MAX_FILE_BYTES} bytes")


def content_hash(files: Mapping[str, FileFact]) -> str:
    """SHA-256 over paths and hashes, hexadecimal."""
    digest = sha256()
    for path in sorted(files):
        digest.update(f"{path}\0{files[path].sha256}\n".encode())
    return digest.hexdigest()
