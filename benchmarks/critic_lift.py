"""How fast the critic learns in the demo's simulated shop: lift per thousand interactions, beside LinTS on the same rows.

    lift = (true value of the chosen actions - random) / (oracle - random), of the policy's own expectation

Usage: python -m benchmarks.critic_lift --seeds 4 5 --events 4000
"""

import argparse
import time
from random import Random

import msgspec
import numpy as np
from numpy.linalg import LinAlgError

from benchmarks.simulated import Simulation, reward_of
from model.critic import Critic
from model.critic_features import encode
from model.grid import ActionGrid
from model.learner import CriticLearner
from model.lessons import LearnerKnobs
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import StrategyRequest

LINTS_FEATURES = 1024


class LinTS:
    """Linear Thompson sampling on the main features, hashed to a small space: the peer. Reward is the label."""

    def __init__(self, seed: int) -> None:
        """A ridge of 1 and exploration 0.05."""
        self.precision = np.eye(LINTS_FEATURES)
        self.moment = np.zeros(LINTS_FEATURES)
        self.mean = np.zeros(LINTS_FEATURES)
        self.half = np.eye(LINTS_FEATURES)
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def rows(self, request: StrategyRequest, decision: dict[str, str] | None) -> list[np.ndarray]:
        """(values, LINTS_FEATURES) per slot; the first has the context too."""
        encoded = encode(request, decision)
        dense = np.zeros((len(encoded.indptr) - 1, LINTS_FEATURES))
        for row in range(len(dense)):
            part = slice(encoded.indptr[row], encoded.indptr[row + 1])
            np.add.at(dense[row], encoded.indices[part] % LINTS_FEATURES, encoded.data[part])
        return [
            dense[rows.start : rows.stop] + (dense[0] if place == 0 else 0) for place, rows in enumerate(encoded.rows)
        ]

    def values(self, request: StrategyRequest) -> np.ndarray:
        """One Thompson draw over the grid."""
        draw = self.mean + 0.05 * self.half @ self.rng.standard_normal(LINTS_FEATURES)
        total: np.ndarray | float = 0.0
        per_slot = [rows @ draw for rows in self.rows(request, None)]
        for axis, scores in enumerate(per_slot):
            along = [1] * len(per_slot)
            along[axis] = len(scores)
            total = total + scores.reshape(along)
        return np.asarray(total)

    def learn(self, request: StrategyRequest, decision: dict[str, str], reward: float) -> None:
        """One observation; the solution every 50."""
        row = sum(rows[0] for rows in self.rows(request, decision))
        self.precision += np.outer(row, row)
        self.moment += row * reward
        self.count += 1
        if self.count % 100 == 0:
            try:
                self.half = np.linalg.inv(np.linalg.cholesky(self.precision)).T
            except LinAlgError:
                return
            self.mean = self.half @ (self.half.T @ self.moment)


def run(
    seed: int, events: int, knobs: LearnerKnobs, arm: str, candidates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """One arm from nothing. Returns chosen, random and oracle values per event, and CPU seconds of learning."""
    world = Simulation(seed, candidates=candidates)
    learner = CriticLearner(knobs, world.formula)
    critic: Critic = learner.snapshot()
    peer = LinTS(seed)
    chosen, uniform, best, spent_s = [], [], [], 0.0
    for number, (customer, request) in enumerate(world.requests(events)):
        rng = np.random.default_rng(stable_seed("act", str(seed), str(number)))
        grid = ActionGrid.of(request)
        truth = world.values(customer, request)
        if arm == "critic":
            value = critic.values(request, grid)[1 + rng.integers(knobs.heads)]
            logits = np.where(grid.allowed, value / critic.beta, -np.inf).ravel()
            pick = int(np.argmax(logits + rng.gumbel(size=logits.shape)))
        elif arm == "lints":
            pick = int(np.argmax(np.where(grid.allowed, peer.values(request), -np.inf)))
        else:
            pick = int(rng.choice(np.flatnonzero(grid.allowed)))
        index = tuple(int(i) for i in np.unravel_index(pick, grid.shape))
        outcomes = world.answer(customer, request, index, Random(stable_seed("answer", str(seed), str(number))))
        chosen.append(truth[index])
        uniform.append(truth[grid.allowed].mean())
        best.append(truth[grid.allowed].max())
        start = time.process_time()
        if arm == "critic":
            reward = reward_of(request, grid.decision(index), outcomes, 1.0, 0.0)
            if learner.learn(reward).refitted:
                critic = learner.snapshot()
        elif arm == "lints":
            paid = 0.05 * outcomes.clicked + (outcomes.margin_minor - outcomes.refunded_margin_minor) / 100
            peer.learn(request, grid.decision(index), paid - world.cost(request, index, outcomes))
        spent_s += time.process_time() - start
    return np.array(chosen), np.array(uniform), np.array(best), spent_s


def main() -> None:
    """Print lift per thousand for each seed and arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5])
    parser.add_argument("--events", type=int, default=4000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--arms", nargs="+", default=["critic", "lints"])
    parser.add_argument("--set", nargs="*", default=[], help="learner knobs, name=value")
    options = parser.parse_args()
    changed = dict(pair.split("=") for pair in options.set)
    knobs = msgspec.convert({**msgspec.structs.asdict(LearnerKnobs()), **changed}, LearnerKnobs, strict=False)
    for arm in options.arms:
        for seed in options.seeds:
            chosen, uniform, best, spent_s = run(seed, options.events, knobs, arm, options.candidates)
            edges = range(0, options.events, 1000)
            lifts = [
                (chosen[a : a + 1000] - uniform[a : a + 1000]).mean()
                / (best[a : a + 1000] - uniform[a : a + 1000]).mean()
                for a in edges
            ]
            shown = " ".join(f"{lift:5.2f}" for lift in lifts)
            print(
                f"{arm:8s} seed {seed}: {shown}   random {uniform.mean():.4f} oracle {best.mean():.4f} {spent_s:.1f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
