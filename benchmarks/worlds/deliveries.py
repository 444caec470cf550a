"""When outcomes close and how they come: response, final, correction, each perhaps twice. Pure."""

from typing import NamedTuple

import numpy as np
from msgspec import Struct, structs

from benchmarks.worlds.tampering import reported
from benchmarks.worlds.world import Moment, World
from streaming.contracts.ids import reward_id, stable_seed
from streaming.contracts.money import to_major
from streaming.contracts.rewards import Outcomes, Reward, Stage
from streaming.contracts.strategies import PolicyRecord
from streaming.reward import Formula


class Acted(Struct, frozen=True):
    """A decision as its strategy logs it."""

    index: tuple[int, ...]
    propensity: float
    policy: PolicyRecord


class Delivery(NamedTuple):
    """A reward and the interaction at which it closes."""

    due: int
    reward: Reward


def deliveries(world: World, moment: Moment, acted: Acted) -> list[Delivery]:
    """Everything that `strategy.rewards` will say of a decision."""
    knobs = world.knobs
    rng = np.random.default_rng(stable_seed("delivery", str(world.seed), str(moment.number)))
    happened = world.answer(moment, acted.index)
    outcomes = reported(knobs, world.seed, moment.number, moment.request.user_id, happened)
    late = outcomes.refunded and bool(rng.random() < knobs.late_refunds)
    response = Outcomes("USD", shown=outcomes.shown, clicked=outcomes.clicked)
    final = structs.replace(outcomes, refunded=False, refunded_margin_minor=0) if late else outcomes
    response_due = moment.number + knobs.response_delay + int(rng.geometric(0.1))
    final_due = max(moment.number + knobs.final_delay + int(rng.geometric(0.05)), response_due)
    found = [(response_due, "response", response), (final_due, "final", final)]
    if late:
        found.append((final_due + 50 + int(rng.integers(400)), "correction", outcomes))
    said = [Delivery(due, _reward(world.formula, moment, acted, stage, what)) for due, stage, what in found]  # type: ignore[arg-type]  # the stages are literals above
    again = [
        Delivery(one.due + 1 + int(rng.integers(100)), one.reward) for one in said if rng.random() < knobs.duplicates
    ]
    return said + again


def _reward(formula: Formula, moment: Moment, acted: Acted, stage: Stage, outcomes: Outcomes) -> Reward:
    request = moment.request
    strategy = f"str_{request.request_id}"
    decision = moment.grid.decision(acted.index)
    components = formula.components(
        clicked=float(outcomes.clicked),
        ordered=float(outcomes.ordered),
        margin=to_major(outcomes.margin_minor, "USD"),
        refunded_margin=to_major(outcomes.refunded_margin_minor, "USD"),
        unsubscribed=float(outcomes.unsubscribed),
        complained=0.0,
        cost=formula.cost_major(request.kind, decision),
        offer=formula.offer_major(decision),
    )
    parts = {name: float(part) for name, part in components.items()}
    return Reward(
        reward_id=reward_id(strategy, stage),
        strategy_id=strategy,
        request_id=request.request_id,
        user_id=request.user_id,
        stage=stage,
        kind=request.kind,
        assigned_arm=acted.policy.assigned_arm,
        acting_arm=acted.policy.acting_arm,
        ghost=False,
        issued_at=request.issued_at,
        closed_at=request.issued_at,
        request=request,
        decision=decision,
        policy=acted.policy,
        propensity=acted.propensity,
        slot_propensities={},
        outcomes=outcomes,
        reward=sum(parts.values()),
        components=parts,
    )
