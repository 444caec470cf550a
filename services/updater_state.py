"""Snapshots of the updater on its own disk: complete or absent, verified, no pickle.

A snapshot is a directory written under another name and renamed when its manifest lies in it. The offset it includes is inside, and
nothing is committed to Kafka: after `kill -9` the updater seeks there and learns nothing twice.
"""

import logging
import os
import shutil
import zlib
from pathlib import Path

import msgspec

from model.formula import RewardFormula
from model.learner_state import load_learner, save_learner
from model.memory import Replay, Replayed
from model.registry_files import FileFact, facts_of, verify
from services.clients import topic_name
from services.settings import UpdaterSettings
from services.updater_learning import Learning, knobs_of
from services.updater_trials import Trials
from streaming.contracts.errors import BadEvent
from streaming.contracts.topics import REWARDS

LOG = logging.getLogger(__name__)

KEPT = 2
"""Snapshots kept: the newest and the one before it."""
FACTS, REPLAY, MANIFEST, TRIALS = "updater.json", "replay.zlib", "snapshot.json", "trials.zlib"
TRAINING = "training"
"""Folder of the adapter in training and its optimiser, when there is one."""


class UpdaterFacts(msgspec.Struct, frozen=True):
    """What a snapshot says beside learner and buffer.

    Args:
        topic: name of the topic the offset belongs to.
        trained: decisions seen when the last LoRA step was taken.
        topic_id: the broker's id of that topic; empty where it gave none.
        prior: what was believed before the first reward, in words; empty: nothing.
    """

    topic: str
    next_offset: int
    number: int
    trained: int = 0
    steps: int = 0
    topic_id: str = ""
    prior: str = ""


def folder_of(settings: UpdaterSettings) -> Path:
    """Where snapshots lie."""
    return settings.home.absolute() / "updater"


def save_learning(learning: Learning, facts: UpdaterFacts, into: Path) -> None:
    """Learner, buffer and facts into a directory."""
    save_learner(learning.learner, into)
    packed = msgspec.msgpack.encode(list(learning.replay))
    (into / REPLAY).write_bytes(zlib.compress(packed, level=1))
    (into / FACTS).write_bytes(msgspec.json.encode(facts))


def save_trials(trials: Trials, into: Path) -> None:
    """Customers and evidence of what is on trial."""
    (into / TRIALS).write_bytes(zlib.compress(msgspec.msgpack.encode(trials), level=1))


def load_trials(path: Path | None) -> Trials:
    """What `save_trials` wrote into a snapshot; none where it holds none, or those of other code."""
    if path is None or not (path / TRIALS).is_file():
        return Trials()
    try:
        return msgspec.msgpack.decode(zlib.decompress((path / TRIALS).read_bytes()), type=Trials)
    except msgspec.MsgspecError as error:
        LOG.warning("trials of snapshot %s cannot be continued, they begin anew: %s", path.name, error)
        return Trials()


def commit(partial: Path, folder: Path, number: int) -> Path:
    """Make a written directory a snapshot, then forget the oldest."""
    (partial / MANIFEST).write_bytes(msgspec.json.encode(facts_of(partial)))
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                os.fsync(stream.fileno())
    final = folder / f"snapshot-{number:09d}"
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in snapshots(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def snapshots(folder: Path) -> list[Path]:
    """Complete snapshots, oldest first."""
    return sorted(path for path in folder.glob("snapshot-*") if (path / MANIFEST).is_file())


def partial_folder(folder: Path) -> Path:
    """An empty folder to write the next snapshot into; what a crash left there is gone."""
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def newest(folder: Path) -> Path | None:
    """The newest snapshot whose files are what its manifest says."""
    for path in reversed(snapshots(folder)):
        try:
            verify(path, msgspec.json.decode((path / MANIFEST).read_bytes(), type=dict[str, FileFact]))
        except (BadEvent, msgspec.MsgspecError) as error:
            LOG.warning("snapshot %s is damaged, the one before it is taken: %s", path.name, error)
            continue
        return path
    return None


def load_learning(path: Path, settings: UpdaterSettings, formula: RewardFormula) -> tuple[Learning, UpdaterFacts]:
    """What `save_learning` wrote.

    Raises:
        BadEvent: written with other features, heads or seed, of another topic, or by a program that kept more.
    """
    facts = msgspec.json.decode((path / FACTS).read_bytes(), type=UpdaterFacts)
    learner = load_learner(path, knobs_of(settings), formula)
    packed = zlib.decompress((path / REPLAY).read_bytes())
    try:
        items = msgspec.msgpack.decode(packed, type=list[Replayed])
    except msgspec.MsgspecError as error:
        raise BadEvent(REPLAY, path.name, f"decisions as this program keeps them ({error})") from None
    return Learning(learner, Replay(settings.buffer, items), facts.next_offset), facts


def restored(settings: UpdaterSettings, formula: RewardFormula) -> tuple[Learning, UpdaterFacts | None]:
    """What the newest snapshot holds, or a fresh start when there is none that fits; why is logged."""
    path = newest(folder_of(settings))
    if path is None:
        return Learning.fresh(settings, formula), None
    try:
        learning, facts = load_learning(path, settings, formula)
    except BadEvent as error:
        LOG.warning("snapshot %s cannot be continued, learning starts anew: %s", path.name, error)
        return Learning.fresh(settings, formula), None
    if facts.topic != topic_name(settings, REWARDS):
        LOG.warning("snapshot %s is of topic %s, learning starts anew", path.name, facts.topic)
        return Learning.fresh(settings, formula), None
    return learning, facts
