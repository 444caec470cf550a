"""Requests and decisions for the tests of the language model's room."""

import numpy as np

from model.corpus import compose
from streaming.contracts.kinds import KIND_NAMES
from streaming.contracts.strategies import StrategyRequest

Decision = dict[str, str]


def requests(count: int, seed: int = 0) -> list[StrategyRequest]:
    """Composed requests, the four kinds in turn."""
    rng = np.random.default_rng(seed)
    return [compose(rng, KIND_NAMES[index % len(KIND_NAMES)]).request for index in range(count)]


def any_decision(request: StrategyRequest, rng: np.random.Generator) -> Decision:
    """A random allowed value per slot."""
    return {slot.name: slot.values[int(rng.integers(len(slot.values)))] for slot in request.slots}
