"""`strategy.rewards`: what a strategy brought, in stages; self-contained, so that the learner joins nothing."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from streaming.contracts.kinds import Arm, Kind
from streaming.contracts.money import Currency, Minor
from streaming.contracts.strategies import PolicyRecord, Probability, StrategyRequest

Stage = Literal["response", "final", "correction"]


class Outcomes(Struct, frozen=True):
    """What happened to one strategy within its windows. Money in integer minor units of `currency`.

    `revenue_minor` and `margin_minor` are of the attributed order lines after discount, before refunds;
    `refunded_margin_minor` is what refunds took back of that margin (>= 0). `horizon_margin_minor` is the
    margin of *all* the customer's orders within the horizon, attributed or not: arms and holdout are
    compared by it.
    """

    currency: Currency
    shown: bool = False
    clicked: bool = False
    ordered: bool = False
    refunded: bool = False
    unsubscribed: bool = False
    complained: bool = False
    shown_at: datetime | None = None
    clicked_at: datetime | None = None
    ordered_at: datetime | None = None
    refunded_at: datetime | None = None
    revenue_minor: Minor = 0
    margin_minor: Minor = 0
    refunded_minor: Minor = 0
    refunded_margin_minor: Minor = 0
    cost_minor: Minor = 0
    horizon_margin_minor: Minor = 0
    horizon_orders: int = 0


class Reward(Struct, frozen=True):
    """One stage of one strategy's outcome. `reward` is in major units of the currency.

    Args:
        decision: empty for a ghost (holdout).
        components: named parts that sum to `reward`.
        difference: a correction's reward minus the last one published; 0 otherwise.
        cause: the causing messageId of a correction.
        mixed_arms: the customer was merged from rows of two arms (`identify`): no evidence for any arm.
    """

    reward_id: str
    strategy_id: str
    request_id: str
    user_id: str
    stage: Stage
    kind: Kind
    assigned_arm: Arm
    acting_arm: Arm
    ghost: bool
    issued_at: datetime
    closed_at: datetime
    request: StrategyRequest
    decision: dict[str, str]
    policy: PolicyRecord | None
    propensity: Probability | None
    slot_propensities: dict[str, Probability]
    outcomes: Outcomes
    reward: float
    components: dict[str, float]
    difference: float = 0.0
    cause: str = ""
    schema_version: int = 1
    mixed_arms: bool = False
