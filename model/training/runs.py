"""A run's folder: what it was made from, its metrics and its checkpoints. It grows beside the output and takes its place when whole.

The same command goes on after `kill -9` and ends with the bytes of an undisturbed run: metrics hold no times, and what was written after the
last checkpoint is cut off before it is written again.
"""

import fcntl
import os
import shutil
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from model.data.errors import Refused

METRICS = "metrics.jsonl"
IDENTITY = "run.json"
CHECKPOINTS = "checkpoints"


class Identity(msgspec.Struct, frozen=True):
    """What a run is made from: with equal ones, one thread and one machine it gives equal bytes."""

    config: dict[str, Any]
    data_sha256: str
    code_sha256: str
    version: str
    seed: int


def identity_of(config: dict[str, Any], data: str, seed: int) -> Identity:
    """The identity of a run that this code would make."""
    return Identity(config, data, code_sha256(), version("stratagem"), seed)


def code_sha256() -> str:
    """Hash of every Python file of `model`: a run does not go on with other code than it was begun with."""
    root, digest = Path(__file__).parents[1], sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def written(path: Path, data: bytes) -> None:
    """Write a file, with the folders above it, so that it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def folder_sha256(folder: Path) -> str:
    """Hash of what was brought along from this machine; empty for what was not."""
    if not str(folder) or str(folder) == "." or not folder.is_dir():
        return ""
    digest = sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            digest.update(path.name.encode() + b"\0")
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class Run:
    """The folder in the making. One process at a time: `with Run(…) as run` lets it go at the end."""

    def __init__(self, out: Path, identity: Identity, *, resume: bool = True, overwrite: bool = False) -> None:
        """Begin, or go on where an interrupted run of the same identity stopped.

        Raises:
            Refused: the output is there, another process is at it, or it was begun from something else.
        """
        self.out, self.identity = out, identity
        self.path = out.parent / f".{out.name}.partial"
        if out.exists() and not overwrite:
            raise Refused(f"{out} is there already; --overwrite replaces it")
        if out.exists() and not (out / IDENTITY).is_file():
            raise Refused(f"{out} is no run's folder; name one that is not there yet")
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._lock = (out.parent / f".{out.name}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run is writing {out}") from None
        except OSError as error:
            raise Refused(f"{out} cannot be written ({error.strerror})") from None
        self.resumed = resume and self._known()
        if not self.resumed:
            shutil.rmtree(self.path, ignore_errors=True)
            (self.path / CHECKPOINTS).mkdir(parents=True)
            self.write(IDENTITY, msgspec.json.format(msgspec.json.encode(identity, order="deterministic"), indent=2))

    def _known(self) -> bool:
        kept = self.path / IDENTITY
        if not kept.is_file():
            return False
        before = msgspec.json.decode(kept.read_bytes(), type=Identity)
        changed = [name for name in Identity.__struct_fields__ if getattr(before, name) != getattr(self.identity, name)]
        if changed:
            self.close()
            raise Refused(f"the interrupted run of {self.out} had another {', '.join(changed)}; --restart begins anew")
        return True

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Let the folder go. What was refused at its beginning leaves nothing: the command put right must not meet it."""
        if kind is not None and issubclass(kind, Refused) and not self.resumed:
            shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is whole or not there."""
        written(self.path / name, data)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where it is not there."""
        path = self.path / name
        return path.read_bytes() if path.is_file() else None

    def log(self, metrics: dict[str, Any]) -> None:
        """Append a line of metrics; no times in it."""
        with (self.path / METRICS).open("ab") as file:
            file.write(msgspec.json.encode(metrics) + b"\n")

    def logged_bytes(self) -> int:
        """Length of the metrics: a checkpoint keeps it, `forget_after` goes back to it."""
        path = self.path / METRICS
        return path.stat().st_size if path.is_file() else 0

    def forget_after(self, length: int) -> None:
        """Cut off what was logged after a checkpoint."""
        if self.logged_bytes() > length:
            os.truncate(self.path / METRICS, length)

    def logged(self, key: str) -> list[float]:
        """The values of one metric so far."""
        lines = (self.read(METRICS) or b"").splitlines()
        return [told[key] for told in map(msgspec.json.decode, lines) if key in told]

    def forget(self, name: str) -> None:
        """Cut off what a training has logged, and all behind it: it begins anew."""
        length = 0
        for line in (self.read(METRICS) or b"").splitlines(keepends=True):
            if not line.endswith(b"\n") or f"{name}/loss" in msgspec.json.decode(line):
                self.forget_after(length)
                return
            length += len(line)

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Keep a checkpoint of tensors and plain values."""
        import io

        import torch

        buffer = io.BytesIO()
        torch.save(state | {"logged_bytes": self.logged_bytes()}, buffer)
        self.write(f"{CHECKPOINTS}/{name}.pt", buffer.getvalue())

    def load(self, name: str) -> dict[str, Any] | None:
        """A checkpoint, with the metrics cut back to it; None where there is none, and then nothing is logged of it."""
        import torch

        path = self.path / CHECKPOINTS / f"{name}.pt"
        if not path.is_file():
            self.forget(name)
            return None
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        self.forget_after(state["logged_bytes"])
        return state

    def drop(self, name: str) -> None:
        """Forget a checkpoint that has served."""
        (self.path / CHECKPOINTS / f"{name}.pt").unlink(missing_ok=True)

    def publish(self) -> None:
        """Put the folder in the output's place, at once; a former output makes room."""
        former = self.out.parent / f".{self.out.name}.former"
        shutil.rmtree(former, ignore_errors=True)
        if self.out.exists():
            self.out.rename(former)
        self.path.rename(self.out)
        shutil.rmtree(former, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.close()
        (self.out.parent / f".{self.out.name}.lock").unlink(missing_ok=True)
