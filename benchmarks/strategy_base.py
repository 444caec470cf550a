"""What a base gains from logged strategies, in a simulated shop where every action's worth is known.

A log as a shop would have it: most customers are served by the loop as it learns (`fused`), a quarter by chance. `stratagem finetune --task
strategy` learns from it; then the base before and after decides alone, without adapter and critic, for moments of the same shop that come after
the log. Lift is exact: (expected reward of what is chosen - random) / (oracle - random).
"""

import argparse
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.learning.play import TURN
from benchmarks.learning.production import Production
from benchmarks.worlds.deliveries import Acted, deliveries
from benchmarks.worlds.knobs import WorldKnobs
from benchmarks.worlds.shop import INTERACTIONS_PER_DAY
from benchmarks.worlds.world import START, Moment, World
from model.lm import LanguageModel
from streaming.contracts.ids import stable_seed, stable_unit
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import PolicyRecord

RANDOM_SHARE = 0.25
"""Of the customers."""
CHANCE = PolicyRecord("none", "none", "none", "random", "random", 1.0, 0.0, 0.0, 1.0, 1, 1)
TEMPERATURE = 0.4
SLICE = 32
KNOBS = WorldKnobs(drift_from=0, drift_to=0)
"""Without the one abrupt drift; slow drift, new products and campaigns stay."""


def logged(world: World, count: int, served: str) -> Iterator[Reward]:
    """Rewards in the order of closing, the arm `served` learning from all of them."""
    arm = Production(served, world)
    waiting: list[tuple[int, Reward]] = []
    for start in range(0, count, TURN):
        moments = [world.moment(number) for number in range(start, min(start + TURN, count))]
        for moment, acted in zip(moments, _acted(arm, moments), strict=True):
            waiting += [(due, _closed(reward, due)) for due, reward in deliveries(world, moment, acted)]
        due = sorted((each for each in waiting if each[0] <= start + TURN), key=lambda each: each[0])
        waiting = [each for each in waiting if each[0] > start + TURN]
        for _, reward in due:
            arm.learn(reward)
            yield reward
        arm.turn(start + TURN)


def _closed(reward: Reward, due: int) -> Reward:
    return msgspec.structs.replace(reward, closed_at=START + timedelta(days=due / INTERACTIONS_PER_DAY))


def _acted(arm: Production, moments: list[Moment]) -> list[Acted]:
    """The arm's decisions, and chance's for the customers that are left to it."""
    chosen = arm.decide([moment.request for moment in moments], [moment.grid for moment in moments])
    return [
        _by_chance(moment) if stable_unit("arm", moment.request.user_id) < RANDOM_SHARE else acted
        for moment, acted in zip(moments, chosen, strict=True)
    ]


def _by_chance(moment: Moment) -> Acted:
    rng = np.random.default_rng(stable_seed("chance", moment.request.request_id))
    flat = int(rng.choice(np.flatnonzero(moment.grid.allowed)))
    index = tuple(int(place) for place in np.unravel_index(flat, moment.grid.shape))
    return Acted(index, 1.0 / moment.grid.count, msgspec.structs.replace(CHANCE, actions=moment.grid.count))


def lift(lm: LanguageModel, world: World, begin: int, count: int, temperature: float) -> float:
    """Of the base alone on moments from `begin` on; temperature 0: its likeliest values."""
    gaps = np.zeros(3)
    for start in range(begin, begin + count, SLICE):
        moments = [world.moment(number) for number in range(start, min(start + SLICE, begin + count))]
        session = lm.session(lm.encode([moment.request for moment in moments]), [moment.request for moment in moments])
        rng = np.random.default_rng((world.seed, start))
        chosen: list[list[int]] = [[] for _ in moments]
        while not session.done:
            session.choose([_value(moment, chosen[row], logs, temperature, rng) for row, (moment, logs) in enumerate(zip(moments, session.log_probs(), strict=True))])  # fmt: skip
        for moment, index in zip(moments, chosen, strict=True):
            gaps += (float(moment.values[tuple(index)]), moment.random, moment.oracle)
    value, random, best = gaps
    return float((value - random) / (best - random))


def _value(moment: Moment, chosen: list[int], logs: np.ndarray, temperature: float, rng: np.random.Generator) -> int:  # type: ignore[type-arg]
    """The next slot's value among those that rules allow after the chosen ones, which it joins; 0 where all are chosen."""
    if not len(logs):
        return 0
    left = moment.grid.allowed[tuple(chosen)]
    possible = left.reshape(len(logs), -1).any(1)
    noisy = np.where(possible, logs + temperature * rng.gumbel(size=len(logs)), -np.inf)
    chosen.append(int(noisy.argmax()))
    return chosen[-1]


def main() -> None:
    """Make a log, or tell what bases are worth in its shop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=71)
    parser.add_argument("--count", type=int, default=6_000, help="moments of the log")
    parser.add_argument("--served", default="fused", choices=("fused", "critic"))
    parser.add_argument("--log", type=Path, help="write the log there")
    parser.add_argument("--bases", nargs="*", default=[], help="folders; empty: the base that ships")
    parser.add_argument("--judged", type=int, default=1_500, help="moments after the log")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    world = World(asked.seed, KNOBS)
    if asked.log is not None:
        partial = asked.log.with_suffix(".partial")
        with partial.open("wb") as file:
            for reward in logged(world, asked.count, asked.served):
                file.write(msgspec.json.encode(reward) + b"\n")
        partial.replace(asked.log)
    for source in asked.bases:
        lm = LanguageModel.load(source, "cpu")
        found = [lift(lm, world, asked.count, asked.judged, temperature) for temperature in (0.0, TEMPERATURE)]
        print(
            f"{source or 'the base that ships'}: greedy {found[0]:.3f}, at T = {TEMPERATURE:g} {found[1]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
