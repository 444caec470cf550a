"""What plays in a world: the served policies and the bandits a user would pick instead, all through one door."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from benchmarks.worlds.deliveries import Acted
from benchmarks.worlds.world import World
from model.grid import ActionGrid
from streaming.contracts.rewards import Reward
from streaming.contracts.strategies import PolicyRecord, StrategyRequest

PRODUCTION = ("fused", "fused_frozen", "lm", "critic", "frozen")
PEERS = ("lints", "linucb", "vw", "epsilon")
NAMES = (*PRODUCTION, "random", *PEERS)

Knobs = dict[str, Any]
"""A peer's knobs, as its grid has them; of a served policy, settings of the updater."""
NO_POLICY = PolicyRecord("none", "none", "none", "random", "random", 1.0, 0.0, 0.0, 1.0, 1, 1)
"""What a peer's rewards carry: nothing reads it."""


class Arm(Protocol):
    """A policy that learns."""

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """One action per request; requests that are decided together know nothing of each other."""

    def learn(self, reward: Reward) -> None:
        """A reward as `strategy.rewards` has it: of any stage, perhaps for the second time."""

    def turn(self, number: int) -> None:
        """All rewards that closed before interaction `number` have been told: fit, train, swap."""


class Uniform:
    """Uniform over what rules allow."""

    def __init__(self, seed: int) -> None:
        """Draws belong to the seed."""
        self._rng = np.random.default_rng(seed)

    def decide(self, requests: Sequence[StrategyRequest], grids: Sequence[ActionGrid]) -> list[Acted]:
        """One uniform draw each."""
        del requests
        return [chosen(grid, int(self._rng.choice(np.flatnonzero(grid.allowed)))) for grid in grids]

    def learn(self, reward: Reward) -> None:
        """Nothing."""

    def turn(self, number: int) -> None:
        """Nothing."""


def chosen(grid: ActionGrid, flat: int) -> Acted:
    """A peer's action at a position of the flattened grid."""
    index = tuple(int(place) for place in np.unravel_index(flat, grid.shape))
    return Acted(index, 1.0, NO_POLICY)


def make(name: str, world: World, knobs: Knobs | None = None) -> Arm:
    """The arm of a name; with `knobs` instead of its tuned ones or of the settings' defaults.

    Raises:
        ValueError: an arm that is none of `NAMES`.
    """
    if name in PRODUCTION:
        from benchmarks.learning.production import Production

        return Production(name, world, knobs)
    if name == "random":
        return Uniform(world.seed)
    return _peer(name, world, knobs)


def _peer(name: str, world: World, knobs: Knobs | None) -> Arm:
    """A peer; its package is imported only when it plays."""
    if name == "epsilon":
        from benchmarks.learning.epsilon import Epsilon

        return Epsilon(world.seed, world.formula, knobs)
    if name == "vw":
        from benchmarks.learning.vw import VowpalWabbit

        return VowpalWabbit(world.seed, knobs)
    if name in ("lints", "linucb"):
        from benchmarks.learning.linear import LinTS, LinUCB

        return (LinTS if name == "lints" else LinUCB)(world.seed, knobs)
    raise ValueError(f"arm {name!r}: one of {', '.join(NAMES)} wanted")
