"""The one formula: outcomes → money → reward.

Attribution calls it with what happened, the critic with probabilities of it; both get the same numbers
because it is linear in the outcomes. Pure; floats or NumPy arrays alike. Amounts are in units of reward: major units of
the request's currency, unless `Formula.worth` says otherwise.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypeAlias

from msgspec import Meta, Struct, field

from streaming.contracts.money import to_major
from streaming.contracts.rewards import Outcomes, Stage
from streaming.contracts.strategies import Candidate, Slot, StrategyRequest, grammar_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Value: TypeAlias = "float | NDArray[np.float64]"
"""One outcome, or an array of outcomes (or of their probabilities), broadcast against the others."""

NonNegative = Annotated[float, Meta(ge=0.0)]
NonPositive = Annotated[float, Meta(le=0.0)]


PLACEMENT_FACTOR = {"home": 1.0, "search": 1.5, "category": 1.0, "checkout": 1.2}
"""What a place costs beside the home page's."""


class Weights(Struct, frozen=True):
    """What outcomes and contacts are worth, in units of reward (defaults: a grocery shop in dollars).

    Args:
        click_major: a click within its window: a fraction of a typical unit's margin (0.3 to 3).
        order_major: an order beyond its margin; 0: the margin says it all.
        margin: factor on the margin before discount; 1: one unit of money is one of reward, here and below.
        discount: factor on what was given away; above 1 where discounts hurt the prices of tomorrow.
        refund: factor on the margin that refunds took back.
        email_major: sending one e-mail; `push_major`, `sms_major` likewise; the shop's own site is free.
        bid_low_major: one exposure of an ad at that tier, about a thousandth of its price per thousand.
        placement_factor: multiplies the bid: sought-after places cost more.
        free_shipping_major: what a delivery costs beyond what small baskets pay anyway, per order.
        unsubscribe_major: a customer who may not be written to any more.
        complaint_major: marked as spam: hurts every later delivery.
    """

    click_major: NonNegative = 0.05
    order_major: NonNegative = 0.0
    margin: NonNegative = 1.0
    discount: NonNegative = 1.0
    refund: NonNegative = 1.0
    email_major: NonNegative = 0.002
    push_major: NonNegative = 0.001
    sms_major: NonNegative = 0.03
    bid_low_major: NonNegative = 0.003
    bid_medium_major: NonNegative = 0.008
    bid_high_major: NonNegative = 0.02
    placement_factor: dict[str, NonNegative] = field(default_factory=PLACEMENT_FACTOR.copy)
    free_shipping_major: NonNegative = 0.2
    unsubscribe_major: NonPositive = -1.0
    complaint_major: NonPositive = -3.0


class Formula(Struct, frozen=True):
    """Outcomes → reward, by the given weights.

    Args:
        worth: currency → units of reward that one major unit of it is worth, e.g. `{"USD": 1.0, "JPY": 0.0065}`. These
            are fixed weights of the shop's, no exchange rates: books stay in minor units per currency. A currency
            that is not named is worth 1 where it is the strategy's own, and nothing where it is not.
    """

    weights: Weights = Weights()
    worth: dict[str, NonNegative] = {}

    def value(self, minor: float, currency: str, own: str) -> float:
        """Units of reward that an amount in minor units is worth to a strategy whose own currency is `own`."""
        return to_major(minor, currency) * self.worth.get(currency, 1.0 if currency == own else 0.0)

    def total_value(self, outcomes: Outcomes, field: str) -> float:
        """Units of reward of one money field, over all currencies."""
        own = outcomes.currency
        value = self.value(getattr(outcomes, field), own, own)
        return value + sum(
            self.value(getattr(other, field), other.currency, own) for other in outcomes.other_currencies
        )

    def margin_of(self, outcomes: Outcomes) -> float:
        """The attributed margin after discount, before refunds, units of reward."""
        return self.total_value(outcomes, "margin_minor")

    def of_outcomes(self, decision: dict[str, str], kind: str, stage: Stage, what: Outcomes) -> dict[str, float]:
        """`components` of what happened. A recorded cost replaces the price list; an ad that nobody saw cost nothing."""
        cost = 0.0 if stage == "response" else self.total_value(what, "cost_minor")
        if not cost and (what.shown or not _is_paid_when_seen(kind)):
            cost = self.cost_major(kind, decision)
        parts = self.components(
            clicked=float(what.clicked),
            ordered=what.order_credit if what.ordered else 0.0,
            margin=self.margin_of(what),
            refunded_margin=self.total_value(what, "refunded_margin_minor"),
            unsubscribed=float(what.unsubscribed),
            complained=float(what.complained),
            cost=cost,
            offer=self.offer_major(decision),
            discount=self.total_value(what, "discount_minor"),
        )
        return {name: float(part) for name, part in parts.items()}

    def margin_major(self, candidate: Candidate, decision: dict[str, str], currency: str) -> float:
        """One unit's margin after the decision's discount; may be negative where rules were not applied."""
        off_minor = candidate.price_minor * discount_pct(decision) / 100
        return self.value(candidate.margin_minor - off_minor, currency, currency)

    def cost_major(self, kind: str, decision: dict[str, str]) -> float:
        """What the contact costs: the channel's message, or an ad's exposure by bid tier and placement."""
        if kind == "ad":
            tier = self._by_tier().get(decision.get("bid_tier", ""), 0.0)
            return tier * self.weights.placement_factor.get(decision.get("placement", ""), 1.0)
        return self._by_channel().get(decision.get("channel", ""), 0.0)

    def offer_major(self, decision: dict[str, str]) -> float:
        """What the offer costs per order beyond the discount, which is in the margin already."""
        return self.weights.free_shipping_major if decision.get("offer_type") == "free_shipping" else 0.0

    def components(
        self,
        clicked: Value,
        ordered: Value,
        margin: Value,
        refunded_margin: Value,
        unsubscribed: Value,
        complained: Value,
        cost: Value,
        offer: Value = 0.0,
        discount: Value = 0.0,
    ) -> dict[str, Value]:
        """Named parts that sum to the reward.

        Args:
            clicked: 0 or 1, or its probability.
            ordered: likewise; a part of 1 where an order is shared.
            margin: of the attributed lines after discount, before refunds (expected: p(order) * margin_major).
            refunded_margin: what refunds took back of it.
            unsubscribed: 0 or 1, or its probability.
            complained: likewise.
            cost: of the contact, `cost_major` or what the ad server recorded.
            offer: `offer_major` of the decision, paid once per order.
            discount: what the attributed lines were sold below full price; `margin` is after it.
        """
        w = self.weights
        return {
            "click": w.click_major * clicked,
            "order": w.order_major * ordered,
            "margin": w.margin * (margin + discount),
            "discount": -w.discount * discount,
            "refund": -w.refund * refunded_margin,
            "offer": -1.0 * offer * ordered,
            "unsubscribe": w.unsubscribe_major * unsubscribed,
            "complaint": w.complaint_major * complained,
            "cost": -1.0 * cost,
        }

    def total(
        self,
        clicked: Value,
        ordered: Value,
        margin: Value,
        refunded_margin: Value,
        unsubscribed: Value,
        complained: Value,
        cost: Value,
        offer: Value = 0.0,
        discount: Value = 0.0,
    ) -> Value:
        """The reward: the sum of `components`."""
        parts = self.components(
            clicked,
            ordered,
            margin,
            refunded_margin,
            unsubscribed,
            complained,
            cost,
            offer,
            discount,
        )
        return summed(parts)

    def margin_grid(self, request: StrategyRequest) -> "NDArray[np.float64]":
        """`margin_major` of every action, shape: one axis per slot in order, as many as its values.

        A ranking sells from its category and its pinned product: the mean of the two candidates' margins.
        """
        pointed = [slot for slot in request.slots if slot.name in grammar_of(request).candidate_slots]
        margin = self._of_candidates(request, pointed, [c.margin_minor for c in request.candidates])
        grid: NDArray[np.float64] = margin - self.discount_grid(request)
        return grid

    def discount_grid(self, request: StrategyRequest) -> "NDArray[np.float64]":
        """What one unit is sold below full price, for every action, shape as `margin_grid`."""
        pointed = [slot for slot in request.slots if slot.name in grammar_of(request).candidate_slots]
        off = {s.name: [int(v) / 100 for v in s.values] for s in request.slots if s.name == "discount"}
        if not off:
            return self._axes(request, {})
        price = self._of_candidates(request, pointed, [c.price_minor for c in request.candidates])
        grid: NDArray[np.float64] = price * self._axes(request, off)
        return grid

    def _of_candidates(self, request: StrategyRequest, pointed: list[Slot], minor: list[int]) -> "NDArray[np.float64]":
        """Mean over the slots that point at candidates of an amount per candidate, minor units."""
        by_id = {
            c.id: self.value(each, request.currency, request.currency)
            for c, each in zip(request.candidates, minor, strict=True)
        }
        share = 1.0 / max(len(pointed), 1)
        return share * self._axes(request, {s.name: [by_id[v] for v in s.values] for s in pointed})

    def cost_grid(self, request: StrategyRequest) -> "NDArray[np.float64]":
        """`cost_major` of every action, shape as `margin_grid`."""
        tiers, channels, places = self._by_tier(), self._by_channel(), self.weights.placement_factor
        if request.kind != "ad":
            costs = {s.name: [channels.get(v, 0.0) for v in s.values] for s in request.slots if s.name == "channel"}
            return self._axes(request, costs)
        tier = {s.name: [tiers.get(v, 0.0) for v in s.values] for s in request.slots if s.name == "bid_tier"}
        place = {s.name: [places.get(v, 1.0) - 1.0 for v in s.values] for s in request.slots if s.name == "placement"}
        grid: NDArray[np.float64] = self._axes(request, tier) * (1.0 + self._axes(request, place))
        return grid

    def expected_cost_grid(
        self, request: StrategyRequest, shown: "NDArray[np.float64] | np.float64"
    ) -> "NDArray[np.float64]":
        """What every action costs on the mean: a message when it is sent, an ad's exposure when it is seen.

        Args:
            shown: chance of being seen, of a shape that broadcasts with that of `margin_grid`.
        """
        cost = self.cost_grid(request)
        return cost * shown if _is_paid_when_seen(request.kind) else cost

    def offer_grid(self, request: StrategyRequest) -> "NDArray[np.float64]":
        """`offer_major` of every action, shape as `margin_grid`."""
        slots = [slot for slot in request.slots if slot.name == "offer_type"]
        return self._axes(request, {s.name: [self.offer_major({"offer_type": v}) for v in s.values] for s in slots})

    def _by_channel(self) -> dict[str, float]:
        w = self.weights
        return {"email": w.email_major, "push": w.push_major, "sms": w.sms_major}

    def _by_tier(self) -> dict[str, float]:
        w = self.weights
        return {"low": w.bid_low_major, "medium": w.bid_medium_major, "high": w.bid_high_major}

    @staticmethod
    def _axes(request: StrategyRequest, by_slot: dict[str, list[float]]) -> "NDArray[np.float64]":
        """The sum over slots of a number per value, over the whole grid; slots not named add nothing."""
        import numpy as np  # grids are the critic's; the agents start without it

        shape = tuple(len(slot.values) for slot in request.slots)
        grid = np.zeros(shape)
        for axis, slot in enumerate(request.slots):
            if slot.name in by_slot:
                along = [1] * len(shape)
                along[axis] = shape[axis]
                grid = grid + np.asarray(by_slot[slot.name]).reshape(along)
        return grid


def summed(components: Mapping[str, Value]) -> Value:
    """The reward of given components, added in their order: the same bits wherever it is computed."""
    total: Value = 0.0
    for part in components.values():
        total = total + part
    return total


def discount_pct(decision: dict[str, str]) -> int:
    """The decision's discount in percent; 0 where the kind offers none."""
    return int(decision.get("discount", "0") or "0")


def _is_paid_when_seen(kind: str) -> bool:
    """Whether exposures are paid for rather than what is sent."""
    return kind == "ad"
