"""Closed rewards of decisions drawn by chance from the simulated customers' requests, for programs that load the updater."""

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import structs

from benchmarks.simulated import Simulation, reward_of
from model.grid import ActionGrid
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import PolicyRecord

CLICKED = 0.3
"""About as often as customers click."""


def by_chance(count: int, seed: int, policy_of: Callable[[int], PolicyRecord]) -> Iterator[Reward]:
    """So many rewards; who is said to have decided, by the number of allowed actions, is `policy_of`."""
    rng = np.random.default_rng(seed)
    for _, asked in Simulation(seed).requests(count):
        grid = ActionGrid.of(asked)
        policy = policy_of(grid.count)
        arm = policy.acting_arm
        index = tuple(int(place) for place in rng.choice(np.argwhere(grid.allowed)))
        clicked = bool(rng.random() < CLICKED)
        seen = Outcomes("USD", shown=True, clicked=clicked)
        request = structs.replace(asked, arm=arm)
        said = reward_of(request, grid.decision(index), seen, 1 / grid.count, 0.05 * clicked)
        yield structs.replace(said, assigned_arm=arm, acting_arm=arm, policy=policy)
