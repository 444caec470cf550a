"""Files of `strategy.rewards` → the last word on each closed strategy, for `stratagem finetune --task strategy`."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from model.data.errors import Refused
from model.evaluation.collecting import Collector
from services.evaluating import Told, files_of, take
from streaming.contracts.rewards import Reward

CHUNK_BYTES = 1 << 20


class Log(NamedTuple):
    """Closed strategies with their probability, in order of closing, and what else the files held."""

    rewards: list[Reward]
    counts: dict[str, Any]


def read_log(paths: Sequence[Path], most: int, told: Told) -> Log:
    """Read files and folders of JSON lines, as `stratagem evaluate` takes them.

    Args:
        most: of the closed strategies, the newest so many.

    Raises:
        Refused: nothing to read, or no closed strategy that can be learned from.
    """
    collector = Collector((), most)
    for path in files_of(paths):
        take(path, collector, told)
    counts = {name: collector.counts[name] for name in ("rewards", "strategies", "repeated", "refused", "other")}
    found = [each.reward for each in collector.valued]
    if not found:
        first = collector.refusals[0] if collector.refusals else None
        why = f"; first refused, {first.file}:{first.line}: {first.field} wanted {first.wanted}" if first else ""
        raise Refused(
            f"{', '.join(map(str, paths))}: no closed strategy with its probability (a final of `strategy.rewards` that is no holdout): "
            f"{counts['rewards']:,} rewards, {collector.books.open:,} still open, {counts['refused']:,} lines refused, "
            f"{counts['strategies'] + counts['other']:,} of something else{why}"
        )
    return Log(found, counts | {"open": collector.books.open, "taken": len(found)})


def sha256_of(paths: Sequence[Path]) -> str:
    """Hash of the files' names and bytes."""
    digest = sha256()
    for path in files_of(paths):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
