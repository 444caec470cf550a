"""A shop's log with arms, whose expected rewards are known: random, a policy that is better by a known amount, and a holdout."""

from functools import lru_cache
from random import Random
from typing import NamedTuple

import numpy as np
from msgspec import structs

from benchmarks.simulated import POLICY, reward_of
from model.decode import log_softmax
from model.evaluation.estimates import Floats
from model.grid import ActionGrid
from streaming.contracts.ids import derive, stable_seed, stable_unit
from streaming.contracts.kinds import Arm
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import StrategyRequest
from tests.model.closed import simulation

SHARPNESS = 0.1
"""Temperature of the better policy's softmax over true values, units of reward."""


class Log(NamedTuple):
    """Rewards with what is known of each request: the true value of every action, and the better policy over them."""

    rewards: tuple[Reward, ...]
    values: tuple[Floats, ...]
    better: tuple[Floats, ...]

    def truth(self, arm: str) -> float:
        """Expected reward of an arm over all contacted requests."""
        pairs = [(v, p) for r, v, p in zip(self.rewards, self.values, self.better, strict=True) if not r.ghost]
        if arm == "random":
            return float(np.mean([v[p > 0.0].mean() for v, p in pairs]))
        return float(np.mean([(v * p).sum() for v, p in pairs]))


@lru_cache(maxsize=4)
def logged(count: int, seed: int = 1) -> Log:
    """So many moments of the simulated shop; a customer is of one arm."""
    world = simulation(seed)
    rewards, values, better = [], [], []
    for number, (customer, request) in enumerate(world.requests(count)):
        grid = ActionGrid.of(request)
        true = world.values(customer, request)
        flat = np.where(grid.allowed, true / SHARPNESS, -np.inf).ravel()
        policy = np.exp(log_softmax(flat)).reshape(grid.shape)
        even = grid.allowed / grid.count
        unit = stable_unit("arms", request.user_id)
        arm: Arm = "random" if unit < 0.4 else "critic" if unit < 0.85 else "holdout"
        spread = policy if arm == "critic" else even
        rng = np.random.default_rng(stable_seed("log", str(seed), str(number)))
        index = tuple(
            int(i) for i in np.unravel_index(rng.choice(spread.size, p=spread.ravel() / spread.sum()), grid.shape)
        )
        said = world.answer(customer, request, index, Random(stable_seed("said", str(seed), str(number))))
        cost = world.cost(request, index, said)
        rewards.append(
            _reward(structs.replace(request, arm=arm), grid.decision(index), said, float(spread[index]), cost)
        )
        values.append(true)
        better.append(policy)
    return Log(tuple(rewards), tuple(values), tuple(better))


def _reward(
    request: StrategyRequest, decision: dict[str, str], said: Outcomes, propensity: float, cost: float
) -> Reward:
    paid = 0.05 * said.clicked + (said.margin_minor - said.refunded_margin_minor) / 100
    paid -= 1.0 * said.unsubscribed + 3.0 * said.complained + cost
    said = structs.replace(said, revenue_minor=3 * said.margin_minor, horizon_margin_minor=said.margin_minor)
    made = reward_of(request, decision, said, propensity, paid)
    made = structs.replace(made, components={"cost": -cost, "rest": paid + cost})
    policy = structs.replace(POLICY, assigned_arm=request.arm, acting_arm=request.arm, adapter="none", heads=1)
    if request.arm != "holdout":
        return structs.replace(made, policy=policy)
    nothing = Outcomes(said.currency)
    return structs.replace(
        made, ghost=True, decision={}, policy=None, propensity=None, outcomes=nothing, reward=0.0, components={}
    )


def repeated(reward: Reward) -> Reward:
    """A correction that says the same, later."""
    return structs.replace(reward, stage="correction", reward_id=derive("rwd", reward.strategy_id, "again"))
