"""What the adapters brought: the expected reward of arm `lm`'s strategies beside that of the base without an adapter.

A measuring module like `oracle.py`, used by the demo's report alone. Rewards of some hundred strategies are too noisy to
tell two policies apart; their expectations under the simulated customers are not. The base alone decides on the very
requests that arm `lm` answered, at the temperature it was served with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from model.critic import Critic
from model.grid import ActionGrid
from model.lm import LanguageModel
from model.policy import Knobs, decide
from services.shop.oracle import expected_rewards
from services.shop.summary import AdaptersWorth, interval
from services.shop.world import World
from streaming.contracts.strategies import Strategy
from streaming.reward import Formula

MOST = 400
"""Strategies that are valued at most: an even sample."""
DRAWS = 4
"""Decisions of the base per request: its expectation, with little noise beside that between requests."""
LEAST = 30
BATCH = 16

Floats = npt.NDArray[np.float64]


def adapters_worth(
    world: World, strategies: Iterable[Strategy], formula: Formula, lm: LanguageModel, rng: np.random.Generator
) -> AdaptersWorth | None:
    """Value arm `lm` and the base on the same requests.

    Args:
        world: the simulated customers.
        strategies: of any arm; those of arm `lm` that the language model decided count.
        lm: the base, without adapter.

    Returns:
        None where too few of them are of known customers.
    """
    known = [s for s in strategies if s.policy.acting_arm == "lm" and s.user_id in world.customers]
    if len(known) < LEAST:
        return None
    chosen = known[:: -(-len(known) // MOST)]
    tables = [expected_rewards(world, one.request, formula) for one in chosen]
    ours = np.array(
        [table[ActionGrid.of(one.request).index(one.decision)] for one, table in zip(chosen, tables, strict=True)]
    )
    theirs = np.mean([_of_base(lm, chosen, tables, rng) for _ in range(DRAWS)], axis=0)
    gain = interval([float(one) for one in ours - theirs])
    return AdaptersWorth(float(ours.mean()), float(theirs.mean()), gain.mean, gain.low95, gain.high95, gain.strategies)


def _of_base(
    lm: LanguageModel, strategies: Sequence[Strategy], tables: Sequence[Floats], rng: np.random.Generator
) -> Floats:
    """(N,) expected rewards of one decision of the base for each request."""
    nobody, found = Critic.prior(0, 1, Formula()), list[float]()
    for start in range(0, len(strategies), BATCH):
        batch = strategies[start : start + BATCH]
        requests, grids = [one.request for one in batch], [ActionGrid.of(one.request) for one in batch]
        knobs = [Knobs(lm.name, "base", one.policy.temperature, 1.0) for one in batch]
        session = lm.session(lm.encode(requests), requests)
        decided = decide(requests, grids, nobody, session, [*rng.spawn(len(batch))], knobs)
        found += [float(tables[start + row][one.index]) for row, one in enumerate(decided)]
    return np.asarray(found)
