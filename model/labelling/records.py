"""The file of people's labels as it grows: one line per answer, on the disk before the next question is asked. What a line says: `model/data/people.py`."""

import fcntl
import os
from pathlib import Path

import msgspec

from model.data.errors import Refused
from model.data.people import Answer, read


class Answers:
    """The file, for one or more people at once. A line that a killed writer left unfinished is cut off before the next is written."""

    def __init__(self, path: Path) -> None:
        """Make the file where there is none.

        Raises:
            Refused: it cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise Refused(f"{path} cannot be written ({error.strerror})") from None

    def all(self) -> list[Answer]:
        """Every answer so far, other people's too."""
        return read(self.path)

    def add(self, answer: Answer) -> None:
        """Append an answer and have it on the disk.

        Raises:
            Refused: it cannot be written.
        """
        try:
            with self.path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.truncate(_whole_lines(file.read()))
                file.seek(0, os.SEEK_END)
                file.write(msgspec.json.encode(answer) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Refused(f"{self.path} cannot be written ({error.strerror})") from None


def _whole_lines(content: bytes) -> int:
    """Bytes up to the end of the last whole line."""
    return content.rfind(b"\n") + 1
