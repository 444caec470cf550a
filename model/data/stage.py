"""The folder beside the output in which it grows: blocks already done are not done again, and nothing shows before the end."""

import fcntl
import os
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import msgspec
import polars as pl

from model.data.errors import Refused


class Counts(msgspec.Struct):
    """What became of a table's rows. `rows_in` = `rows_out` + all of `dropped`."""

    rows_in: int = 0
    rows_out: int = 0
    dropped: dict[str, int] = {}
    mended: dict[str, int] = {}
    masked: dict[str, int] = {}

    def add(self, other: "Counts") -> None:
        """Add another block's counts."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        for mine, theirs in ((self.dropped, other.dropped), (self.mended, other.mended), (self.masked, other.masked)):
            merged = Counter(mine)
            merged.update(theirs)
            mine.clear()
            mine.update(merged)

    def drop(self, reason: str, rows: int) -> None:
        """Take rows out of the output again."""
        if rows:
            self.rows_out -= rows
            self.dropped[reason] = self.dropped.get(reason, 0) + rows


class Done(msgspec.Struct):
    """A block that is staged: its counts by table, lines passed over by reason, rows of the file."""

    tables: dict[str, Counts]
    rows: int
    ignored: dict[str, int] = {}


def write_part(frame: pl.DataFrame, path: Path) -> None:
    """Stage rows that are read again soon: dictionaries make them small enough, packing them costs more than it saves."""
    frame.write_parquet(path, compression="uncompressed", statistics=False)


class Stage:
    """The folder. Made by one process at a time; made anew where what it holds was begun from something else."""

    def __init__(self, out: Path, fingerprint: str, *, resume: bool) -> None:
        """Take over or begin the staging folder of an output.

        Raises:
            Refused: it cannot be written, or another process is at it.
        """
        self.out = out
        self.path = out.parent / f".{out.name}.partial"
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._lock = (out.parent / f".{out.name}.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = self.path / "fingerprint"
            self.resumed = resume and state.is_file() and state.read_text(encoding="utf-8") == fingerprint
            if not self.resumed:
                shutil.rmtree(self.path, ignore_errors=True)
                self.path.mkdir(parents=True)
                state.write_text(fingerprint, encoding="utf-8")
        except BlockingIOError:
            raise Refused(f"another run is writing {out}") from None
        except OSError as error:
            raise Refused(f"{out} cannot be written ({error.strerror})") from None

    def done(self, file: int, block: int) -> Done | None:
        """A block's counts, where it is staged."""
        path = self.path / f"{file:04d}-{block:06d}.json"
        return msgspec.json.decode(path.read_bytes(), type=Done) if path.is_file() else None

    def save(self, file: int, block: int, frames: dict[str, pl.DataFrame], done: Done) -> None:
        """Stage a block: its frames by name, then its counts, which say that the frames are whole."""
        for name, frame in frames.items():
            if frame.height:
                write_part(frame, self.path / f"{name}-{file:04d}-{block:06d}.parquet")
        path = self.path / f"{file:04d}-{block:06d}.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(done))
        path.with_suffix(".new").rename(path)

    def parts(self, name: str) -> list[Path]:
        """The staged frames of a name, in the order of files and rows."""
        return sorted(self.path.glob(f"{name}-*-*.parquet"))

    def key(self) -> bytes:
        """The key of this run's pseudonyms, kept until the output stands, then gone with the folder."""
        path = self.path / "key"
        if not path.is_file():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(32))
        return path.read_bytes()

    def result(self) -> Path:
        """An empty folder for what will be the output."""
        path = self.path / "result"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def publish(self) -> None:
        """Put the result in the output's place, at once; a former output makes room."""
        former = self.path / "former"
        if self.out.exists():
            self.out.rename(former)
        (self.path / "result").rename(self.out)
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let another run have the folder."""
        self._lock.close()
        (self.out.parent / f".{self.out.name}.lock").unlink(missing_ok=True)


def fingerprint_of(*parts: object) -> str:
    """SHA-256 of what an output is made from."""
    return sha256(msgspec.json.encode(parts, enc_hook=str)).hexdigest()
