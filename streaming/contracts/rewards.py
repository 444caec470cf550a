"""`strategy.rewards`: what a strategy brought, in stages; self-contained, so that the learner joins nothing."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from streaming.contracts.errors import BadPart
from streaming.contracts.kinds import Arm
from streaming.contracts.money import Currency, Minor
from streaming.contracts.strategies import PolicyRecord, Probability, StrategyRequest

Stage = Literal["response", "final", "correction"]


class CurrencyMoney(Struct, frozen=True):
    """Money in one currency, integer minor units; the fields mean what they mean on `Outcomes`."""

    currency: Currency
    revenue_minor: Minor = 0
    margin_minor: Minor = 0
    refunded_minor: Minor = 0
    refunded_margin_minor: Minor = 0
    cost_minor: Minor = 0
    horizon_margin_minor: Minor = 0
    horizon_orders: int = 0
    discount_minor: Minor = 0
    view_through_minor: Minor = 0


class Outcomes(Struct, frozen=True):
    """What happened to one strategy within its windows. Money in integer minor units of `currency`.

    `revenue_minor` and `margin_minor` are of the attributed order lines after discount, before refunds;
    `discount_minor` is what those lines were sold below full price; `refunded_margin_minor` is what refunds took
    back of that margin. `view_through_minor` is the part of `revenue_minor` that was credited to views without a
    click. `horizon_margin_minor` is the margin of *all* the customer's orders within the horizon, attributed or
    not: arms and holdout are compared by it. Definitions: `docs/attribution.md`.

    Args:
        order_credit: the strategy's part of the order line it has most of; 1 where a line has one owner.
        converted_by: the touch that earned the first attributed order, empty without one.
        other_currencies: what was sold, spent or ordered in other currencies; never added to `currency`'s.
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
    discount_minor: Minor = 0
    view_through_minor: Minor = 0
    order_credit: Annotated[float, Meta(ge=0.0, le=1.0)] = 1.0
    converted_by: Literal["", "click", "view"] = ""
    other_currencies: tuple[CurrencyMoney, ...] = ()


class Reward(Struct, frozen=True):
    """One stage of one strategy's outcome.

    `reward` is in units of reward: major units of the currency, unless the settings give the currency another worth.

    Args:
        decision: empty for a ghost (holdout).
        components: named parts that sum to `reward`.
        difference: a correction's reward minus the last one published; 0 otherwise.
        cause: the causing messageId of a correction.
        mixed_arms: the customer was merged from rows of two arms (`identify`): no evidence for any arm.
        money_difference: a correction's money minus the last published, per currency that changed; without what is
            frozen at the final (`horizon_*`).
    """

    reward_id: str
    strategy_id: str
    request_id: str
    user_id: str
    stage: Stage
    kind: str
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
    money_difference: tuple[CurrencyMoney, ...] = ()

    def __post_init__(self) -> None:
        """Refuse another kind than the request's."""
        if self.kind != self.request.kind:
            raise BadPart("kind", self.kind, f"the request's, {self.request.kind}")
