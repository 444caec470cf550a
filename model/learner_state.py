"""The learner's whole state as files: safetensors and JSON, exact to the last bit, no pickle.

What belongs to the seed (noise of rows and weights) is drawn again; what the rewards made is stored.
"""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from model.critic import OUTCOMES
from model.critic_features import FEATURES_VERSION
from model.drift import DriftWatch
from model.formula import RewardFormula
from model.learner import CriticLearner
from model.lessons import KindState, LearnerKnobs
from model.memory import Example, Outages, Row, SeenIds, Window
from streaming.contracts.errors import BadEvent

TENSORS, FACTS = "learner.safetensors", "learner.json"

_Arrays = dict[str, npt.NDArray[np.generic]]


class LearnerFacts(msgspec.Struct, frozen=True):
    """All of the state that is not numbers in arrays."""

    knobs: LearnerKnobs
    strategy_ids: list[str]
    kinds: list[str]
    seen: list[str]
    runs: dict[str, list[str]]
    residuals: dict[str, list[float]]
    clocks: dict[str, tuple[float, int]]
    learned: int
    since_refit: int
    fates: dict[str, int]
    features_version: int = FEATURES_VERSION


def save_learner(learner: CriticLearner, directory: Path) -> None:
    """Write the state into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    examples = list(learner.window)
    save_file(_arrays(learner, examples), directory / TENSORS)
    facts = LearnerFacts(
        knobs=learner.knobs,
        strategy_ids=[example.strategy_id for example in examples],
        kinds=[example.kind for example in examples],
        seen=list(learner.seen),
        runs=learner.outages.runs,
        residuals=learner.watch.residuals(),
        clocks={kind: (state.tick, state.alarm_left) for kind, state in learner.kinds.items()},
        learned=learner.learned,
        since_refit=learner.since_refit,
        fates=dict(learner.fates),
    )
    (directory / FACTS).write_bytes(msgspec.json.encode(facts))


def load_learner(directory: Path, knobs: LearnerKnobs, formula: RewardFormula) -> CriticLearner:
    """The learner as it was saved; `knobs` may differ in what does not shape the stored state.

    Raises:
        BadEvent: a state of other features, heads or seed, or no state at all.
    """
    try:
        facts = msgspec.json.decode((directory / FACTS).read_bytes(), type=LearnerFacts)
    except (FileNotFoundError, msgspec.MsgspecError) as error:
        raise BadEvent(FACTS, directory.name, f"a learner's facts ({error})") from None
    if facts.features_version != FEATURES_VERSION:
        raise BadEvent("features_version", facts.features_version, str(FEATURES_VERSION))
    if (facts.knobs.heads, facts.knobs.seed) != (knobs.heads, knobs.seed):
        raise BadEvent("knobs", f"{facts.knobs.heads} heads, seed {facts.knobs.seed}", f"{knobs.heads}, {knobs.seed}")
    arrays = load_file(directory / TENSORS)
    learner = CriticLearner(knobs, formula)
    learner.window = Window(knobs.window, _examples(arrays, facts))
    learner.seen = SeenIds(4 * knobs.window, facts.seen)
    learner.outages = Outages(knobs.outage_after, facts.runs)
    learner.watch = DriftWatch(dict(facts.residuals))
    learner.kinds |= {kind: KindState(tick, left) for kind, (tick, left) in facts.clocks.items()}
    for spec in OUTCOMES:
        learner.means[spec.name] = arrays[f"mean.{spec.name}"]
        if spec.headed:
            learner.drawn[spec.name] = arrays[f"drawn.{spec.name}"]
            learner.precisions[spec.name] = arrays[f"precisions.{spec.name}"]
    learner.learned, learner.since_refit = facts.learned, facts.since_refit
    learner.fates.update(facts.fates)
    return learner


def _arrays(learner: CriticLearner, examples: list[Example]) -> _Arrays:
    found: _Arrays = {f"mean.{name}": mean for name, mean in learner.means.items()}
    found |= {f"drawn.{name}": np.ascontiguousarray(drawn) for name, drawn in learner.drawn.items()}
    found |= {f"precisions.{name}": learned for name, learned in learner.precisions.items()}
    rows = [example.row for example in examples]
    found["rows.indices"] = np.concatenate([np.zeros(0, np.uint16), *(row.indices for row in rows)])
    found["rows.data"] = np.concatenate([np.zeros(0, np.float32), *(row.data for row in rows)])
    found["rows.ends"] = np.array([_ends(row) for row in rows], np.int64).reshape(-1, 4)
    found["labels"] = np.array([example.labels for example in examples], np.float64).reshape(-1, len(OUTCOMES))
    numbers = [(float(e.rank), e.tick, e.unit_margin, e.margin) for e in examples]
    found["numbers"] = np.array(numbers, np.float64).reshape(-1, 4)
    return found


def _ends(row: Row) -> tuple[int, int, int, int]:
    return row.context, row.closed, row.candidates, len(row.indices)


def _examples(arrays: _Arrays, facts: LearnerFacts) -> list[Example]:
    start = 0
    examples = []
    for place, (strategy_id, kind) in enumerate(zip(facts.strategy_ids, facts.kinds, strict=True)):
        context, closed, candidates, length = (int(end) for end in arrays["rows.ends"][place])
        part = slice(start, start + length)
        start += length
        rank, tick, unit_margin, margin = (float(number) for number in arrays["numbers"][place])
        row = Row(
            np.asarray(arrays["rows.indices"][part], np.uint16),
            np.asarray(arrays["rows.data"][part], np.float32),
            context,
            closed,
            candidates,
        )
        labels = tuple(float(label) for label in arrays["labels"][place])
        examples.append(Example(strategy_id, kind, row, labels, int(rank), tick, unit_margin, margin))
    return examples
