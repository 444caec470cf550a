"""From files of JSON lines to `report.html` and `report.json`: reading, valuing, writing. The edge of `model/evaluation`."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from model.data.errors import Refused
from model.evaluation.collecting import Collector
from model.evaluation.page import page
from model.evaluation.report import Report, summarised
from services.evaluated_direct import Direct
from services.evaluated_policies import CHANCE, Policies
from services.settings import WorkerSettings
from streaming.contracts.topics import REWARDS

JSON, HTML = "report.json", "report.html"
MOST_LINE_BYTES = 32 * 1024 * 1024
"""A longer line is refused unread: the broker's own bound is far below."""
_DUMPED = re.compile(rf"{re.escape(REWARDS.name)}\.p0\.from(\d+)\.jsonl")

Told = Callable[[str, int, int], None]
"""What is done, how much of it, of how much."""


class Wishes(NamedTuple):
    """What is asked for.

    Args:
        policies: names, see `services/evaluated_policies.py`; chance is always valued.
        off_policy_rows: the newest closed rewards, at most so many, are what policies are valued on; 0: none are.
        direct: a response run that policies are valued by a second time.
    """

    policies: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    currency: str | None = None
    off_policy_rows: int = 2000
    direct: Direct | None = None


def evaluate(paths: Sequence[Path], settings: WorkerSettings, wishes: Wishes, told: Told) -> Report:
    """The report of what files and folders hold.

    Raises:
        Refused: nothing to read, a file that cannot be read, or a policy that is none.
    """
    collector = Collector(wishes.banned, wishes.off_policy_rows)
    for path in files_of(paths):
        take(path, collector, told)
    logged = collector.valued if wishes.off_policy_rows else []
    names = (CHANCE, *wishes.policies)
    valued, asked = Policies(settings).value(names, logged, lambda name: told(f"policy: {name}", 0, 1), wishes.direct)
    missing = [name for name in names if name not in {each.policy for each in valued}] if wishes.off_policy_rows else []
    warnings = [f"policy {name}: no logged decision that it could be valued on" for name in missing]
    report = summarised(collector, wishes.currency, valued, warnings, lambda part: told(part, 0, 1))
    return msgspec.structs.replace(report, direct=msgspec.to_builtins(asked)) if asked is not None else report


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files, those of folders by name.

    Raises:
        Refused: naming what is not there, or holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix in (".jsonl", ".ndjson") and each.is_file())
            if not inside:
                raise Refused(f"{path} holds no .jsonl or .ndjson file")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise Refused(f"{path} is neither a file nor a folder" if path.exists() else f"{path} is not there")
    return found


def take(path: Path, collector: Collector, told: Told) -> None:
    """Hand a file's lines to a collector, with their offsets where the file's name tells them."""
    dumped = _DUMPED.fullmatch(path.name)
    first = int(dumped[1]) if dumped else None
    done, total = 0, path.stat().st_size
    for number, line in enumerate(_lines(path), 1):
        collector.take(line, path.name, number, None if first is None else first + number - 1)
        done += len(line)
        if number % 500 == 0:
            told(path.name, done, total)
    told(path.name, total, total)


def _lines(path: Path) -> Iterator[bytes]:
    """Lines, each bounded: what is beyond the bound is passed over, and the cut line is refused as what it is."""
    try:
        with path.open("rb") as file:
            while line := file.readline(MOST_LINE_BYTES):
                yield line
                while len(line) == MOST_LINE_BYTES and not line.endswith(b"\n"):
                    line = file.readline(MOST_LINE_BYTES)
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror})") from None


def write(report: Report, out: Path) -> None:
    """Both files at once, in the place of a former report; a crash leaves the former one, or none.

    Raises:
        Refused: the folder cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    except OSError as error:
        raise Refused(f"{out} cannot be written ({error.strerror})") from None
    try:
        (partial / JSON).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        (partial / HTML).write_text(page(report), encoding="utf-8")
        partial.chmod(0o755)
        former = partial.with_suffix(".former")
        if out.exists():
            os.replace(out, former)  # noqa: PTH105 -- a directory, in place
        os.replace(partial, out)  # noqa: PTH105 -- the same
        shutil.rmtree(former, ignore_errors=True)
    except OSError as error:
        raise Refused(f"{out} cannot be written ({error.strerror})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def is_free(out: Path) -> bool:
    """Whether nothing but a former report, or nothing at all, is there."""
    return not out.exists() or (out.is_dir() and {each.name for each in out.iterdir()} <= {JSON, HTML})
