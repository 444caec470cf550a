"""The examination of a candidate: each part is kept as it is found, so that an interrupted run does not repeat it.

What critics came to in the base that ships is the same for every candidate, and may be kept outside of the run as well.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec
import torch

from model.evaluation.estimates import clopper_pearson
from model.lm import LanguageModel
from model.report import own_words_share
from model.strategy.held import Held, Seen, seen_by, side_by_side
from model.strategy.saving import CANDIDATE, base_sha256
from model.strategy.teachability import Examination, Teachability, compared
from model.strategy.trying import Tried
from model.strategy.verdict import Verdict, Words, verdict
from model.strategy.work import Work
from model.training.loop import Cost, Told, memory_gb
from model.training.runs import Run, code_sha256, written

T = TypeVar("T")
Telling = Callable[[str], Told]
Load = Callable[[], LanguageModel]


class Examined(msgspec.Struct, frozen=True):
    """All that was found of a candidate."""

    held: Held
    teachability: Teachability
    composed_words: dict[str, Words]
    verdict: Verdict


def examined(work: Work, run: Run, telling: Telling, kept: Path | None = None) -> Examined:
    """Judge the candidate in the run's folder beside the base it came from, and beside the one that ships.

    Args:
        kept: a folder for what critics came to in the base that ships, read and added to; None: found anew.
    """
    held = _held(work, run, telling)
    taught = _taught(work, run, telling, kept)
    words = {}
    for who, load in _bases(work, run).items():
        share = partial(_own_words, load, work.examination.test)
        words[who] = _kept(run, f"words-{who}", Words, share)
    return Examined(held, taught, words, verdict(held, taught, words))


def _bases(work: Work, run: Run) -> dict[str, Load]:
    """Loaders of the candidate, and of the base that ships: each use begins with a base that nothing was attached to."""
    where = str(work.device)
    return {
        "new": partial(LanguageModel.load, str(run.path / CANDIDATE), where),
        "shipped": partial(LanguageModel.load, "", where),
    }


def _own_words(load: Load, count: int) -> Words:
    share = own_words_share(load(), count)
    return Words(share, *clopper_pearson(share * count, count))


def _held(work: Work, run: Run, telling: Telling) -> Held:
    loaders: dict[str, Load] = {"new": _bases(work, run)["new"], "old": lambda: work.original()[0]}
    found = {
        who: _kept(run, f"held-{who}", Seen, partial(_seen, work, load, telling(f"held-out, {who} base")))
        for who, load in loaders.items()
    }
    known = frozenset(reward.user_id for reward in (*work.parts.train, *work.parts.valid))
    return side_by_side(work.parts.judged, work.judged_values, work.judged_weights, known, found["new"], found["old"])


def _seen(work: Work, load: Load, told: Told) -> Seen:
    def tell(done: int, of: int) -> None:
        told(done, of, {}, None)

    return seen_by(load(), work.parts.judged, work.judged_values, work.formula, work.settings.temperature, tell)


def _taught(work: Work, run: Run, telling: Telling, kept: Path | None) -> Teachability:
    exam, told = work.examination, telling("teachability")
    meter = Meter(2 * exam.critics * exam.steps, told)
    trials: dict[str, list[Tried]] = {"new": [], "shipped": []}
    before = None if kept is None else kept / _sameness(work)
    for index in range(exam.critics):
        for who, load in _bases(work, run).items():
            make = partial(_tried, exam, load, index, meter)
            if who == "shipped" and before is not None:
                make = partial(_known, before / f"{index}.json", make)
            trials[who].append(_kept(run, f"trial-{who}-{index}", Tried, make))
    return compared(trials["new"], trials["shipped"])


def _sameness(work: Work) -> str:
    """Hash of all that shapes what a critic comes to in the base that ships; the number of critics does not."""
    exam = work.examination
    told = (base_sha256(""), code_sha256(), exam.steps, exam.train, exam.test, str(work.device), torch.__version__, torch.get_num_threads())  # fmt: skip
    return sha256(repr(told).encode()).hexdigest()[:16]


def _known(path: Path, make: Callable[[], Tried]) -> Tried:
    """What an earlier run found, or is found now and kept for the next."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Tried)
    found = make()
    own = path.with_name(f"{path.name}.{os.getpid()}")  # two runs may find the same at once
    written(own, msgspec.json.encode(found))
    own.replace(path)
    return found


def _tried(exam: Examination, load: Load, index: int, meter: "Meter") -> Tried:
    found = exam.one(load(), index, meter.step)
    meter.begin_next(exam.steps)
    return found


class Meter:
    """Tells how far the distillations are, and after the first one what all of them will take."""

    def __init__(self, steps: int, told: Told) -> None:
        """Begin now."""
        self._steps, self._told, self._done, self._began = steps, told, 0, time.monotonic()

    def step(self, step: int, kl: float) -> None:
        """A step of the present distillation."""
        self._told(self._done + step, self._steps, {"kl": kl}, None)

    def begin_next(self, steps: int) -> None:
        """A distillation of so many steps has ended."""
        self._done += steps
        minutes = (time.monotonic() - self._began) / self._done * (self._steps - self._done) / 60
        self._told(self._done, self._steps, {}, Cost(minutes, memory_gb()))


def _kept(run: Run, name: str, of: type[T], make: Callable[[], T]) -> T:
    """What was found before, or is found now and kept."""
    path = f"examined/{name}.json"
    before = run.read(path)
    if before is not None:
        return msgspec.json.decode(before, type=of)
    found = make()
    run.write(path, msgspec.json.encode(found))
    return found
