"""Whether and what to ask the model: caps, cooldown, quiet hours, consent, staleness, arms. Pure."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from streaming.behaviour import currency_of
from streaming.candidates import Proposal, propose
from streaming.contracts.codec import instant
from streaming.contracts.ids import derive, request_id
from streaming.contracts.strategies import Features, StrategyRequest, Suppression, SuppressionReason
from streaming.features import Relations, features, language_of
from streaming.local_time import same_day
from streaming.reference import Reference
from streaming.row import MAX_ISSUED, Asked, Row
from streaming.rules import Rules
from streaming.triggers import Moment

MAX_PRICES = 32
NOTHING_SAID: Mapping[str, str] = MappingProxyType({})


class Answer(NamedTuple):
    """What became of a moment.

    A request alone is asked; a suppression alone is not; both together are the holdout's: the request is what would
    have been asked, for the ghost's window, and is never sent. Neither: what was said before stays said.
    """

    row: Row
    request: StrategyRequest | None
    suppression: Suppression | None


def ask(
    row: Row,
    moment: Moment,
    reference: Reference,
    now_ms: int,
    rules: Rules,
    paused: bool = False,  # noqa: FBT001, FBT002 -- the interface's
    said: Mapping[str, str] = NOTHING_SAID,
) -> Answer:
    """The request of a moment, or the reason why there is none.

    Args:
        now_ms: event time the agents are at; a moment ahead of it is asked at its own time.
        said: what became of moments that Redis forgot, by request id (`recall.py`): that stays so, and is not repeated.
    """
    at_ms = max(now_ms, moment.at_ms)
    before = said.get(request_id(row.user_id, moment.trigger, moment.kind, moment.cause)) if said else None
    if before == "asked":
        return Answer(replace(row, asked=_noted(row.asked, moment, at_ms)), None, None)
    if before is not None and before != "holdout":
        return Answer(row, None, None)
    refused = _refused(row, moment, at_ms, rules, paused=paused)
    if refused is not None:
        return Answer(row, None, _suppression(row, moment, at_ms, *refused))
    relations = Relations(row.profile, at_ms, reference, moment.context.get("query", ""))
    proposal = propose(row, moment, relations, at_ms, rules)
    if proposal.blocked == "no_candidates" and moment.instead is not None and moment.instead != moment.kind:
        moment = replace(moment, kind=moment.instead, instead=None)
        proposal = propose(row, moment, relations, at_ms, rules)
    if proposal.blocked is not None:
        detail = ", ".join(f"{gone.slot} {gone.value}: {gone.reason}" for gone in proposal.removed)[:500]
        return Answer(row, None, _suppression(row, moment, at_ms, proposal.blocked, detail))
    told = features(row.profile, row.asked, at_ms, rules.currency, relations.affinities)
    request = _request(row, moment, proposal, told, at_ms, rules)
    asked = replace(row, asked=_noted(row.asked, moment, at_ms))
    if row.arm == "holdout":
        return Answer(asked, request, _suppression(row, moment, at_ms, "holdout", "control arm without contact"))
    return Answer(asked, request, None)


def _refused(
    row: Row, moment: Moment, at_ms: int, rules: Rules, *, paused: bool
) -> tuple[SuppressionReason, str] | None:
    """Reason and detail of the first rule that forbids to ask at all."""
    if row.state != "live":
        return "erased", row.state
    age_ms = at_ms - moment.at_ms
    if age_ms > rules.stale_after_ms:
        return "stale", f"{age_ms / 1000:.0f} s old, at most {rules.stale_after_ms / 1000:.0f} s wanted"
    if paused:
        return "paused", "stratagem pause"
    personal = row.profile.consent.get("personalization")
    if personal is not None and not personal.granted:
        return "no_consent", "personalization"
    last_ms, wait_ms = row.asked.last_ms.get(moment.trigger), rules.cooldown_ms.get(moment.trigger, 0)
    if last_ms is not None and abs(at_ms - last_ms) < wait_ms:
        return "cooldown", f"{moment.trigger} asked at {instant(last_ms).isoformat()}"
    today = sum(same_day(row.profile, at_ms, issued_ms) for issued_ms in row.asked.issued_ms)
    return ("daily_cap", f"{today} of {rules.daily_cap} today") if today >= rules.daily_cap else None


def _request(row: Row, moment: Moment, proposal: Proposal, told: Features, at_ms: int, rules: Rules) -> StrategyRequest:
    return StrategyRequest(
        request_id=request_id(row.user_id, moment.trigger, moment.kind, moment.cause),
        user_id=row.user_id,
        kind=moment.kind,
        trigger=moment.trigger,
        arm=row.arm,
        issued_at=instant(at_ms),
        deadline_s=rules.deadline_s,
        language="zh" if language_of(row.profile) == "zh" else "en",
        currency=currency_of(row.profile, rules.currency),
        features=told,
        candidates=proposal.candidates,
        slots=proposal.slots,
        exclusions=proposal.exclusions,
        removed=proposal.removed,
        cause=moment.cause,
        context=moment.context,
        mixed_arms=row.mixed_arms,
    )


def _suppression(row: Row, moment: Moment, at_ms: int, reason: SuppressionReason, detail: str) -> Suppression:
    would_be = request_id(row.user_id, moment.trigger, moment.kind, moment.cause)
    return Suppression(
        suppression_id=derive("sup", would_be, reason),
        request_id=would_be,
        user_id=row.user_id,
        kind=moment.kind,
        trigger=moment.trigger,
        arm=row.arm,
        reason=reason,
        detail=detail,
        issued_at=instant(at_ms),
        by="agents",
        cause=moment.cause,
    )


def _noted(asked: Asked, moment: Moment, at_ms: int) -> Asked:
    prices = asked.price_minor
    if moment.trigger == "price_drop":
        prices = {key: value for key, value in prices.items() if key != moment.context["product"]}
        prices = dict(list(prices.items())[-MAX_PRICES + 1 :]) | {
            moment.context["product"]: int(moment.context["price_minor"])
        }
    return Asked(
        issued_ms=tuple(sorted((*asked.issued_ms, at_ms))[-MAX_ISSUED:]),
        last_ms=asked.last_ms | {moment.trigger: at_ms},
        fired=asked.fired,
        campaigns=asked.campaigns,
        price_minor=prices,
    )
