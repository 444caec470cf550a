"""Facts → outcomes → a reward record, for one strategy and one moment of event time. Pure."""

from datetime import datetime

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from streaming.attribution_books import HORIZON, MONEY, books, by_currency, changes, parts
from streaming.attribution_credit import Credited, Meaning, Timeline, meaning
from streaming.contracts.carrying import SaidStrategy, with_parts
from streaming.contracts.codec import instant
from streaming.contracts.ids import reward_id, strategy_id
from streaming.contracts.rewards import CurrencyMoney, Outcomes, Reward, Stage
from streaming.contracts.strategies import Strategy, StrategyRequest, grammar_of
from streaming.open_state import Echo, OpenStrategy, Order, Subject
from streaming.reward import Formula, summed

_SUBJECT = msgspec.json.Decoder(Subject)


class _Repeated(Struct, frozen=True):
    request: msgspec.Raw
    policy: msgspec.Raw


_REPEATED = msgspec.json.Decoder(_Repeated)


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
        subject=msgspec.Raw(_encoded(subject, strategy)),
        products=scope.products,
        categories=scope.categories,
        campaigns=scope.campaigns,
        grammar=strategy.request.grammar,
    )


def _encoded(subject: Subject, strategy: Strategy) -> bytes:
    """With request and policy as they came, so that what a newer writer said in them is repeated by rewards."""
    if isinstance(strategy, SaidStrategy):
        return with_parts(subject, {"request": strategy.said_request, "policy": strategy.said_policy})
    return msgspec.json.encode(subject)


def repeating(reward: Reward, subject: msgspec.Raw) -> bytes:
    """The reward as canonical JSON, with the request and the policy of its strategy as they came."""
    repeated = _REPEATED.decode(subject)
    return with_parts(reward, {"request": bytes(repeated.request), "policy": bytes(repeated.policy)})


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
        grammar=request.grammar,
    )


def scope_of(request: StrategyRequest, decision: dict[str, str]) -> Scope:
    """What the decision's candidates sell."""
    pointed = {decision[slot] for slot in grammar_of(request).candidate_slots if slot in decision}
    chosen = [candidate for candidate in request.candidates if candidate.id in pointed]
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

    The horizon's margin is net of what was taken back within the horizon, in every arm alike, and does not move with
    later refunds: arms and holdout are compared by their finals.
    """
    own = [] if strategy.ghost else parts(credited, cutoff_ms)
    costs = [] if strategy.ghost else _within(strategy, line, "cost")
    money = books(own, costs, line, orders)
    what = _with_money(responses(strategy, line), money)
    if strategy.ghost:
        return what
    refunds = [at for part in own if (at := part.reversed_ms) is not None]
    first = min((part.credited for part in own), key=lambda c: (c.order.at_ms, c.order.order_id), default=None)
    return replace(
        what,
        ordered=first is not None,
        refunded=bool(refunds),
        unsubscribed=bool(_within(strategy, line, "unsubscribed")),
        complained=bool(_within(strategy, line, "complained")),
        ordered_at=_instant(first.order.at_ms if first else None),
        refunded_at=_instant(min(refunds, default=None)),
        order_credit=max((part.credited.part for part in own), default=1.0),
        converted_by=first.through if first else "",
    )


def _with_money(what: Outcomes, money: dict[str, CurrencyMoney]) -> Outcomes:
    own = money.get(what.currency)
    if own is not None:
        what = replace(what, **{name: getattr(own, name) for name in (*MONEY, *HORIZON)})
    others = tuple(money[currency] for currency in sorted(money) if currency != what.currency)
    return replace(what, other_currencies=others) if others else what


def same_apart_from_horizon(left: Outcomes, right: Outcomes) -> bool:
    """Whether two outcomes say the same of the strategy itself: only that is corrected."""
    return left == right or _without_horizon(left) == _without_horizon(right)


def _without_horizon(what: Outcomes) -> Outcomes:
    others = tuple(by_currency(what))[1:] if what.other_currencies else ()
    return replace(what, horizon_margin_minor=0, horizon_orders=0, other_currencies=others)


def reward_record(
    strategy: OpenStrategy, stage: Stage, what: Outcomes, closed_ms: int, formula: Formula, cause: str = ""
) -> Reward:
    """The record of one stage. A correction's differences are against what was published last."""
    subject = _SUBJECT.decode(strategy.subject)
    components = {} if strategy.ghost else formula.of_outcomes(subject.decision, strategy.kind, stage, what)
    value = float(summed(components))
    corrected = strategy.published if stage == "correction" else None
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
        components=components,
        difference=0.0 if corrected is None else value - strategy.reward,
        cause=cause,
        money_difference=() if corrected is None else changes(what, corrected),
    )


def _within(strategy: OpenStrategy, line: Timeline, wanted: Meaning) -> list[Echo]:
    return [f for f in strategy.facts if f.at_ms < line.closes_ms and meaning(strategy, f.name) == wanted]


def _instant(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else instant(at_ms)
