"""A strategy in words: what was said to whom, how likely that was, why, what was checked, what came of it. Pure."""

import math
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from streaming.contracts.rewards import Outcomes
from streaming.contracts.strategies import Effect, Strategy, candidate_by_id


class Happened(Struct, frozen=True):
    """What is known of a strategy's outcome.

    Args:
        stage: `open`, or the last stage that was published.
    """

    stage: str
    reward: float | None
    outcomes: Outcomes | None
    components: dict[str, float]
    at: datetime | None = None


class Choice(NamedTuple):
    """One slot: what was chosen, how likely it was there, and what else could have been."""

    slot: str
    value: str
    name: str
    probability: float | None
    others: list[tuple[str, float]]


class Line(NamedTuple):
    """A strategy in one line of a list."""

    id: str
    at: datetime
    user_id: str
    kind: str
    arm: str
    adapter: str
    said: str
    title: str
    propensity: float
    reward: float | None
    stage: str


def named(strategy: Strategy, value: str) -> str:
    """A slot's value as people call it: the name of the product, campaign or category where it is one."""
    found = candidate_by_id(strategy.request).get(value)
    return value if found is None else found.name


def line(strategy: Strategy, happened: Happened | None) -> Line:
    """For a list."""
    said = ", ".join(f"{slot} {named(strategy, value)}" for slot, value in strategy.decision.items())
    policy = strategy.policy
    return Line(
        strategy.strategy_id,
        strategy.issued_at,
        strategy.user_id,
        strategy.kind,
        policy.assigned_arm,
        policy.adapter,
        said,
        strategy.message.title,
        strategy.propensity,
        happened.reward if happened else None,
        happened.stage if happened else "open",
    )


def choices(strategy: Strategy) -> list[Choice]:
    """Slot by slot, in the order in which they were decided."""
    order = [slot.name for slot in strategy.request.slots]
    return [
        Choice(
            slot,
            strategy.decision[slot],
            named(strategy, strategy.decision[slot]),
            strategy.slot_propensities.get(slot),
            [
                (named(strategy, other.value), other.probability)
                for other in strategy.explanation.alternatives
                if other.slot == slot
            ],
        )
        for slot in (*order, *(name for name in strategy.decision if name not in order))
        if slot in strategy.decision
    ]


def effect(found: Effect) -> str:
    """What a feature did, in words: without it the choice would have been so much less, or more, likely."""
    factor = math.exp(min(abs(found.effect_nats), 20.0))
    way = "more" if found.effect_nats >= 0 else "less"
    return f"made the chosen {found.slot} {factor:.2f} times {way} likely"


def facts(outcomes: Outcomes) -> list[tuple[str, datetime | None]]:
    """What happened, each with its time where one is known."""
    happened = [
        ("shown", outcomes.shown, outcomes.shown_at),
        ("clicked", outcomes.clicked, outcomes.clicked_at),
        ("ordered", outcomes.ordered, outcomes.ordered_at),
        ("refunded", outcomes.refunded, outcomes.refunded_at),
        ("unsubscribed", outcomes.unsubscribed, None),
        ("complained of", outcomes.complained, None),
    ]
    return [(name, at) for name, yes, at in happened if yes]
