"""Facts → outcomes → a reward record, for one strategy and one moment of event time. Pure."""

from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streaming.attribution_credit import Credited, Meaning, Timeline, meaning
from streaming.attribution_orders import Money, sold, taken_back
from streaming.contracts.codec import instant
from streaming.contracts.ids import reward_id, strategy_id
from streaming.contracts.money import to_major
from streaming.contracts.rewards import Outcomes, Reward, Stage
from streaming.contracts.strategies import Strategy, StrategyRequest
from streaming.open_state import Echo, OpenStrategy, Order, Subject
from streaming.reward import Formula

_SUBJECT = msgspec.json.Decoder(Subject)


class Scope(Struct, frozen=True):
    """What a decision sells: product ids, category paths, campaign ids."""

    products: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    campaigns: tuple[str, ...]


def opened(strategy: Strategy, issued_ms: int, valid_until_ms: int) -> OpenStrategy:
    """A strategy as attribution keeps it, without facts yet."""
    subject = Subject(
        request=strategy.request,
        assigned_arm=strategy.policy.assigned_arm,
        acting_arm=strategy.policy.acting_arm,
        decision=strategy.decision,
        policy=strategy.policy,
        propensity=strategy.propensity,
        slot_propensities=strategy.slot_propensities,
    )
    scope = scope_of(strategy.request, strategy.decision)
    return OpenStrategy(
        strategy_id=strategy.strategy_id,
        kind=strategy.kind,
        ghost=False,
        currency=strategy.request.currency,
        issued_ms=issued_ms,
        valid_until_ms=valid_until_ms,
        subject=msgspec.Raw(msgspec.json.encode(subject)),
        products=scope.products,
        categories=scope.categories,
        campaigns=scope.campaigns,
    )


def ghost(request: StrategyRequest, issued_ms: int) -> OpenStrategy:
    """The window of a customer in the holdout: what would have been asked, without a decision."""
    subject = Subject(request, request.arm, request.arm, {}, None, None, {})
    return OpenStrategy(
        strategy_id=strategy_id(request.request_id),
        kind=request.kind,
        ghost=True,
        currency=request.currency,
        issued_ms=issued_ms,
        valid_until_ms=issued_ms,
        subject=msgspec.Raw(msgspec.json.encode(subject)),
    )


def scope_of(request: StrategyRequest, decision: dict[str, str]) -> Scope:
    """What the decision's candidates sell."""
    chosen = [candidate for candidate in request.candidates if candidate.id in set(decision.values())]
    return Scope(
        products=tuple(c.id for c in chosen if c.what == "product"),
        categories=tuple(c.category or (c.id,) for c in chosen if c.what == "category"),
        campaigns=tuple(c.id for c in chosen if c.what == "campaign"),
    )


def responses(strategy: OpenStrategy, line: Timeline) -> Outcomes:
    """Outcomes of the response stage: exposure and click; nothing whose window is still open."""
    clicked = line.clicks[0] if line.clicks else None
    return Outcomes(
        currency=strategy.currency,
        shown=line.first_ms is not None,
        clicked=clicked is not None,
        shown_at=_instant(line.first_ms),
        clicked_at=_instant(clicked),
    )


def outcomes(
    strategy: OpenStrategy, line: Timeline, credited: list[Credited], orders: tuple[Order, ...], cutoff_ms: int
) -> Outcomes:
    """Everything known of a strategy before `cutoff_ms`, within its windows.

    `horizon_margin_minor` is net of what was taken back within the horizon too, in every arm alike, and does not
    move with later refunds: arms and holdout are compared by their finals.
    """
    if strategy.ghost:
        margin, count = _horizon(strategy, line, orders)
        return Outcomes(currency=strategy.currency, horizon_margin_minor=margin, horizon_orders=count)
    mine = [c for c in credited if c.order.at_ms < cutoff_ms]
    lost = [taken_back(c.order, cutoff_ms)[c.index] for c in mine]
    gross = sum((sold(c.order.lines[c.index]) for c in mine), Money())
    back = sum(lost, Money())
    refunds = [_first_reversal(c) for c, money in zip(mine, lost, strict=True) if money != Money()]
    margin, count = _horizon(strategy, line, orders)
    return msgspec.structs.replace(
        responses(strategy, line),
        ordered=bool(mine),
        refunded=bool(refunds),
        unsubscribed=bool(_within(strategy, line, "unsubscribed")),
        complained=bool(_within(strategy, line, "complained")),
        ordered_at=_instant(min((c.order.at_ms for c in mine), default=None)),
        refunded_at=_instant(min(refunds, default=None)),
        revenue_minor=gross.revenue_minor,
        margin_minor=gross.margin_minor,
        refunded_minor=back.revenue_minor,
        refunded_margin_minor=back.margin_minor,
        cost_minor=sum(f.amount_minor for f in _within(strategy, line, "cost") if f.currency == strategy.currency),
        horizon_margin_minor=margin,
        horizon_orders=count,
    )


def same_apart_from_horizon(left: Outcomes, right: Outcomes) -> bool:
    """Whether two outcomes say the same of the strategy itself: only that is corrected."""
    frozen = replace(
        left,
        horizon_margin_minor=right.horizon_margin_minor,
        horizon_orders=right.horizon_orders,
    )
    return frozen == right


def reward_record(
    strategy: OpenStrategy, stage: Stage, what: Outcomes, closed_ms: int, formula: Formula, cause: str = ""
) -> Reward:
    """The record of one stage. A correction's difference is against what was published last."""
    subject = _SUBJECT.decode(strategy.subject)
    parts = {} if strategy.ghost else _components(subject, stage, what, formula)
    value = float(sum(parts.values()))
    return Reward(
        reward_id=reward_id(strategy.strategy_id, stage, cause),
        strategy_id=strategy.strategy_id,
        request_id=subject.request.request_id,
        user_id=subject.request.user_id,
        stage=stage,
        kind=strategy.kind,
        assigned_arm=subject.assigned_arm,
        acting_arm=subject.acting_arm,
        ghost=strategy.ghost,
        issued_at=instant(strategy.issued_ms),
        closed_at=instant(closed_ms),
        request=subject.request,
        decision=subject.decision,
        policy=subject.policy,
        propensity=subject.propensity,
        slot_propensities=subject.slot_propensities,
        outcomes=what,
        reward=value,
        components=parts,
        difference=value - strategy.reward if stage == "correction" else 0.0,
        cause=cause,
    )


def _components(subject: Subject, stage: Stage, what: Outcomes, formula: Formula) -> dict[str, float]:
    """The formula's parts. A recorded cost replaces the price list; an ad that nobody saw cost nothing."""
    kind, decision = subject.request.kind, subject.decision
    if what.cost_minor and stage != "response":
        cost = to_major(what.cost_minor, what.currency)
    else:
        cost = formula.cost_major(kind, decision) if what.shown or kind != "ad" else 0.0
    parts = formula.components(
        clicked=float(what.clicked),
        ordered=float(what.ordered),
        margin=to_major(what.margin_minor, what.currency),
        refunded_margin=to_major(what.refunded_margin_minor, what.currency),
        unsubscribed=float(what.unsubscribed),
        complained=float(what.complained),
        cost=cost,
        offer=formula.offer_major(decision),
    )
    return {name: float(part) for name, part in parts.items()}


def _horizon(strategy: OpenStrategy, line: Timeline, orders: tuple[Order, ...]) -> tuple[int, int]:
    within = [
        order
        for order in orders
        if order.lines and order.currency == strategy.currency and line.opens_ms <= order.at_ms < line.closes_ms
    ]
    margin = 0
    for order in within:
        gross = sum(sold(each).margin_minor for each in order.lines)
        margin += gross - sum(money.margin_minor for money in taken_back(order, line.closes_ms))
    return margin, len(within)


def _within(strategy: OpenStrategy, line: Timeline, wanted: Meaning) -> list[Echo]:
    return [f for f in strategy.facts if f.at_ms < line.closes_ms and meaning(strategy.kind, f.name) == wanted]


def _first_reversal(credited: Credited) -> int:
    """When the line was first touched by a reversal: the first that names it or names nothing."""
    line = credited.order.lines[credited.index]
    return min(r.at_ms for r in credited.order.reversals if not r.units or line.product_id in r.units)


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else instant(at_ms)
