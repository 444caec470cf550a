"""Recorded rewards, updaters that are to be killed while they learn from them, and what they know in the end."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import structs
from safetensors.numpy import load_file

from model.critic import Critic
from model.registry import Registry
from services.settings import registry_address
from services.updater_learning import Learning
from services.updater_state import folder_of, load_learning, newest
from streaming.contracts.adapters import Serving, Version
from streaming.contracts.ids import reward_id
from streaming.contracts.rewards import Reward
from streaming.reward import Formula
from tests.faults.nursery import Forked, Nursery
from tests.model.closed import closed_rewards, response_of
from tests.services.updater_samples import Bench, environment

PATIENCE_S = 120.0
STRATEGIES = 150
SEED = 4
Said = Reward | bytes


def recorded_rewards(seed: int = SEED) -> list[Said]:
    """Responses, finals and corrections of the simulated shop, each stage some way after the one before; some twice, some bad."""
    rng = Random(seed)
    placed: list[tuple[float, int, Said]] = []

    def place(at: float, said: Said) -> None:
        placed.append((at, len(placed), said))

    for number, final in enumerate(closed_rewards(STRATEGIES)):
        at = float(number)
        if rng.random() < 0.9:
            place(at, response_of(final))
        place(at + rng.uniform(5, 60), final)
        if rng.random() < 0.3:
            place(at + rng.uniform(60, 120), correction_of(final))
        if rng.random() < 0.1:
            place(at + rng.uniform(0, 120), final)  # told twice, or before its response
        if rng.random() < 0.03:
            place(at, b'{"reward_id": 1}')
    return [said for _, _, said in sorted(placed, key=lambda each: each[:2])]


def correction_of(final: Reward) -> Reward:
    """What came after: the order went back, or there was none and they unsubscribed."""
    ordered = final.outcomes.ordered
    outcomes = structs.replace(
        final.outcomes,
        refunded=ordered,
        refunded_margin_minor=final.outcomes.margin_minor,
        unsubscribed=final.outcomes.unsubscribed or not ordered,
    )
    cause = f"late-{final.strategy_id}"
    return structs.replace(
        final,
        stage="correction",
        reward_id=reward_id(final.strategy_id, "correction", cause),
        cause=cause,
        outcomes=outcomes,
    )


class UpdaterBench(Bench):
    """One installation whose updater lives several lives."""

    nursery: Nursery
    log: Path

    def fork(self, trap: str = "", **settings: object) -> Forked:
        """Begin a life, perhaps with other settings."""
        return self.nursery.fork("updater", trap, environment(structs.replace(self.settings, **settings)), self.log)

    def wait(self, child: Forked, offset: int) -> None:
        """Until a snapshot holds everything before an offset."""
        self.until(lambda: self.offset() >= offset, f"offset {offset}", lambda: child.poll() is None)

    def knows(self) -> "Knowledge":
        """What the newest snapshot holds."""
        path = newest(folder_of(self.settings))
        assert path is not None
        return Knowledge(load_learning(path, self.settings, Formula())[0], load_file(path / "learner.safetensors"))

    def served(self) -> dict[str, npt.NDArray[Any]]:
        """The weights of the critic that is served, as any worker would fetch them."""
        records = self.announced()
        serving = next(record for record in reversed(records) if isinstance(record, Serving))
        version = next(each for each in records if isinstance(each, Version) and each.name == serving.critic)
        registry = Registry(registry_address(self.settings), self.settings.home / "fetched")
        return dict(Critic.load(registry.fetch(version), Formula()).weights)


class Knowledge:
    """A learner's whole state, to be compared."""

    def __init__(self, learning: Learning, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Keep both."""
        self.learning, self.arrays = learning, arrays

    def unlike(self, other: "Knowledge") -> list[str]:
        """Where another state differs: window, labels, weights and heads beyond 1e-9, ids, fates, counts, buffer, offset."""
        found = [
            name for name in self.arrays.keys() | other.arrays.keys() if not alike(self.arrays, other.arrays, name)
        ]
        ours, theirs = self.learning.learner, other.learning.learner
        facts = {
            "seen": (list(ours.seen), list(theirs.seen)),
            "fates": (dict(ours.fates), dict(theirs.fates)),
            "learned": (ours.learned, theirs.learned),
            "since_refit": (ours.since_refit, theirs.since_refit),
            "buffer": (list(self.learning.replay), list(other.learning.replay)),
            "offset": (self.learning.next_offset, other.learning.next_offset),
        }
        return sorted(found + [name for name, (one, another) in facts.items() if one != another])


def alike(one: dict[str, npt.NDArray[Any]], other: dict[str, npt.NDArray[Any]], name: str) -> bool:
    """Whether two arrays are equal to 1e-9."""
    first, second = one.get(name), other.get(name)
    if first is None or second is None or first.shape != second.shape:
        return False
    return bool(np.allclose(first, second, rtol=1e-9, atol=1e-12, equal_nan=True))
