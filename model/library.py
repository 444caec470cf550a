"""The door for those who use this room without the shop's streams: a request of any kind, and what its answer brought. Pure.

Everything else is called as the worker and the updater call it; `docs/library.md` shows the whole loop.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import UNSET

from model.policy import Decided
from streaming.contracts.ids import request_id, reward_id, strategy_id
from streaming.contracts.kinds import GRAMMARS, Arm, Grammar
from streaming.contracts.rewards import Outcomes, Reward
from streaming.contracts.strategies import Candidate, Exclusion, Features, Slot, StrategyRequest

DEADLINE_S = 10.0


def ask(
    kind: str,
    grammar: Grammar,
    user_id: str,
    features: Features,
    issued_at: datetime,
    *,
    candidates: Sequence[Candidate] = (),
    allowed: Mapping[str, tuple[str, ...]] | None = None,
    exclusions: Sequence[Exclusion] = (),
    arm: Arm = "fused",
    language: Literal["en", "zh"] = "en",
    currency: str = "USD",
) -> StrategyRequest:
    """A request for one decision.

    Args:
        kind: its name; `grammar`: what it may say.
        user_id: a pseudonym.
        issued_at: with its time zone; user, kind and moment make the request's id.
        candidates: what the candidate slots may point at, at most `MAX_CANDIDATES`.
        allowed: slot → values, where rules leave fewer than the grammar (law 6); all of them otherwise.
        exclusions: rules between slots.

    Raises:
        BadPart: a name that no kind may have, or that means another kind.
    """
    ids = tuple(candidate.id for candidate in candidates)
    whole = {slot: grammar.closed.get(slot, ids) for slot in grammar.slots}
    values = whole | dict(allowed or {})
    return StrategyRequest(
        request_id=request_id(user_id, "decision_requested", kind, issued_at.isoformat()),
        user_id=user_id,
        kind=kind,
        trigger="decision_requested",
        arm=arm,
        issued_at=issued_at,
        deadline_s=DEADLINE_S,
        language=language,
        currency=currency,
        features=features,
        candidates=tuple(candidates),
        slots=tuple(Slot(slot, values[slot]) for slot in grammar.slots),
        exclusions=tuple(exclusions),
        grammar=UNSET if GRAMMARS.get(kind) == grammar else grammar,
    )


def answered(request: StrategyRequest, said: Decided, outcomes: Outcomes, components: Mapping[str, float]) -> Reward:
    """The final reward of a decision.

    Args:
        request: what was asked; `said`: what was decided.
        outcomes: what happened.
        components: what that is worth, by the formula that the critic values actions with
            (`Formula.of_outcomes(said.decision, request.kind, "final", outcomes)`).
    """
    strategy = strategy_id(request.request_id)
    return Reward(
        reward_id=reward_id(strategy, "final"),
        strategy_id=strategy,
        request_id=request.request_id,
        user_id=request.user_id,
        stage="final",
        kind=request.kind,
        assigned_arm=said.record.assigned_arm,
        acting_arm=said.record.acting_arm,
        ghost=False,
        issued_at=request.issued_at,
        closed_at=request.issued_at,
        request=request,
        decision=said.decision,
        policy=said.record,
        propensity=said.propensity,
        slot_propensities=said.slot_propensities,
        outcomes=outcomes,
        reward=sum(components.values()),
        components=dict(components),
    )
