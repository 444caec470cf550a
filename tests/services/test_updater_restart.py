"""The updater's other lives: it goes on from where it was, in every part of its state, and learns nothing twice."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from model import adapter
from services.local.stack import Endpoints
from services.updater import Updater
from services.updater_state import FACTS, TRAINING, UpdaterFacts, folder_of, newest
from services.updater_training import OPTIMISER
from tests.model.closed import closed_rewards
from tests.services.updater_samples import Bench, quick_settings


@pytest.fixture
def bench(stack: Endpoints, topic_prefix: str, tmp_path: Path) -> Iterator[Bench]:
    """An installation of the test's own, with quick steps."""
    made = Bench(quick_settings(stack, topic_prefix, tmp_path))
    yield made
    made.close()


def files(bench: Bench) -> dict[str, bytes]:
    """The newest snapshot's files: critic, window, ids, buffer, adapter, optimiser."""
    path = newest(folder_of(bench.settings))
    assert path is not None
    found = {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    return {name: content for name, content in found.items() if name not in (FACTS, "snapshot.json")}


def facts(bench: Bench) -> UpdaterFacts:
    """What the newest snapshot says beside them."""
    path = newest(folder_of(bench.settings))
    assert path is not None
    return msgspec.json.decode((path / FACTS).read_bytes(), type=UpdaterFacts)


def one_life(bench: Bench, rewards: int) -> None:
    """Learn so many and take every step that is owed for them."""
    bench.say(closed_rewards(300)[:rewards])
    with bench.running() as thread:
        bench.until(lambda: bench.offset() == rewards, "everything learned", thread.is_alive)
        bench.until(lambda: bench.loaded() and facts(bench).trained > rewards - 20, "all steps", thread.is_alive)


def test_a_life_without_anything_new_changes_nothing(bench: Bench) -> None:
    """Window, buffer, weights, the optimiser's moments and the step count come back to the last bit."""
    one_life(bench, 120)
    before, told = files(bench), facts(bench)
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
    assert facts(bench) == msgspec.structs.replace(told, number=facts(bench).number)
    assert facts(bench).number > told.number
    assert told.steps > 0
    assert files(bench) == before
    assert {f"{TRAINING}/{adapter.TENSORS}", f"{TRAINING}/{OPTIMISER}", "replay.zlib"} <= set(before)


def test_rewards_told_again_teach_nothing(bench: Bench) -> None:
    """The shop's side repeats what was learned before a restart: only the offset moves, no step is taken for it."""
    one_life(bench, 120)
    before, told = files(bench), facts(bench)
    bench.say(closed_rewards(300)[:120])
    with bench.running() as thread:
        bench.until(bench.loaded, "the base", thread.is_alive)
        bench.until(lambda: bench.offset() == 240, "everything read", thread.is_alive)
    after = files(bench)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"learner.json"}  # it counts the duplicates
    counts = [msgspec.json.decode(content["learner.json"]) for content in (before, after)]
    assert counts[1]["fates"].pop("duplicate") == 120
    assert counts[1] == counts[0]
    assert (facts(bench).trained, facts(bench).steps) == (told.trained, told.steps)


def test_a_life_that_ends_before_its_base_is_loaded_keeps_the_adapter(bench: Bench) -> None:
    """A snapshot written meanwhile carries over the adapter in training, its optimiser and the step count."""
    one_life(bench, 60)
    before, told = files(bench), facts(bench)
    early = Updater(bench.settings, threading.Event())
    early._save()
    early.announcer.close()
    assert files(bench) == before
    assert (facts(bench).trained, facts(bench).steps) == (told.trained, told.steps)
