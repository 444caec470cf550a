"""Closed rewards of the simulated shop under the random arm: real contract objects, equal for equal seeds."""

from functools import lru_cache
from random import Random

import numpy as np
from msgspec import structs

from benchmarks.simulated import POLICY, Simulation, reward_of
from model.grid import ActionGrid
from streaming.contracts.ids import reward_id, stable_seed
from streaming.contracts.rewards import Reward

RANDOM = structs.replace(POLICY, assigned_arm="random", acting_arm="random", adapter="base", heads=1)


@lru_cache(maxsize=8)
def simulation(seed: int = 1) -> Simulation:
    """The shop of a seed, small requests."""
    return Simulation(seed, candidates=6, households=200)


@lru_cache(maxsize=8)
def closed_rewards(count: int, seed: int = 1) -> tuple[Reward, ...]:
    """Final rewards of uniformly random decisions."""
    world = simulation(seed)
    found = []
    for number, (customer, request) in enumerate(world.requests(count)):
        rng = np.random.default_rng(stable_seed("uniform", str(seed), str(number)))
        grid = ActionGrid.of(request)
        flat = int(rng.choice(np.flatnonzero(grid.allowed)))
        index = tuple(int(i) for i in np.unravel_index(flat, grid.shape))
        outcomes = world.answer(customer, request, index, Random(stable_seed("said", str(seed), str(number))))
        paid = 0.05 * outcomes.clicked + (outcomes.margin_minor - outcomes.refunded_margin_minor) / 100
        paid -= world.cost(request, index, outcomes)
        reward = reward_of(request, grid.decision(index), outcomes, 1.0 / grid.count, paid)
        found.append(structs.replace(reward, policy=RANDOM))
    return tuple(found)


def response_of(reward: Reward) -> Reward:
    """The response stage that came before a final: exposure and click only."""
    known = structs.replace(
        reward.outcomes, ordered=False, refunded=False, unsubscribed=False, margin_minor=0, refunded_margin_minor=0
    )
    return structs.replace(
        reward, stage="response", reward_id=reward_id(reward.strategy_id, "response"), outcomes=known
    )
