"""Where an operator may put an adapter: a folder below `HOME/registry/inbox/`. What was judged is moved to `.judged/`."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from model.registry_files import facts_of
from services.settings import Common
from streaming.contracts.errors import BadEvent

QUIET_S = 1.0
"""A folder that changed within this time may still be being copied."""
JUDGED = ".judged"
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def inbox_of(settings: Common) -> Path:
    """The folder that is watched."""
    return settings.home.absolute() / "registry" / "inbox"


def waiting(inbox: Path, now_s: float) -> Iterator[Path]:
    """Complete entries, oldest name first.

    Args:
        now_s: the wall clock, as file times are.
    """
    if not inbox.is_dir():
        return
    for path in sorted(inbox.iterdir()):
        if path.name.startswith("."):
            continue
        try:
            times = [path.lstat().st_mtime, *(file.lstat().st_mtime for file in path.rglob("*"))]
        except OSError:  # somebody is at work in it
            continue
        if now_s - max(times) >= QUIET_S:
            yield path


def plain_name(path: Path) -> str:
    """The entry's name as decisions carry it: `inbox-` and harmless characters."""
    return f"inbox-{_PLAIN.sub('-', path.name)[:80]}"


def check(path: Path) -> None:
    """Only plain files of the kinds that a version may hold.

    Raises:
        BadEvent: anything else.
    """
    if path.is_symlink() or not path.is_dir():
        raise BadEvent("files", path.name, "a folder with an adapter's files")
    try:
        facts_of(path)
    except OSError as error:
        raise BadEvent("files", str(error), "readable files") from None


def put_away(inbox: Path, path: Path) -> None:
    """Move a judged entry aside, so that it is judged once; where its owner has removed it, that is done."""
    judged = inbox / JUDGED
    judged.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        path.rename(judged / f"{time.time_ns()}-{_PLAIN.sub('-', path.name)[:80]}")
