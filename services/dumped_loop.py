"""The topics of what was said and what came of it, as files of JSON lines: what `stratagem evaluate --from-kafka` reads."""

import shutil
from pathlib import Path

from services.dumped_topics import COMPLETE, write_lines
from services.reading import read_all
from services.settings import Common
from streaming.contracts.topics import REWARDS, STRATEGIES


def dump_loop(settings: Common, folder: Path, *, resume: bool) -> Path:
    """Write all strategies and rewards that the topics hold at this moment.

    Args:
        resume: keep what an earlier call wrote completely.

    Raises:
        LookupError: a topic does not exist.
    """
    if resume and (folder / COMPLETE).is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for topic in (STRATEGIES, REWARDS):
        write_lines(read_all(settings, topic), topic.name, folder)
    (folder / COMPLETE).touch()
    return folder
