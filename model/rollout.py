"""What becomes of a canary, and of an anchor: decisions on a trial's evidence (DESIGN §4, law 5). Pure, without tensors.

Both may be asked after every customer: each way of deciding wrongly has probability alpha at most over the whole trial
(`model/sequential.py` says on what that rests). Each says the numbers it was taken on, as the gate does.

A *canary* is a change. Treated customers get it, the others the champion. It is promoted when it is shown to be better,
rolled back when it is shown to be worse, at all. A trial that ends with neither says whether it was at least shown to be
not worse by delta; what follows from that is the operator's.

An *anchor* is a version of the champion's own line, frozen long ago. Treated customers get it, the others the line, which
goes on being refreshed. The line may lose delta against the first anchor, not against each: otherwise every renewal
would forgive another delta, and a slow slide never be caught. So what the line may have lost when an anchor is renewed
(the bound, not the estimate) is carried to the next, and only the rest may still be lost there. The line is rolled back
when it has lost more than this rest beyond doubt; the anchor is renewed when it has lost less than half of the rest
beyond doubt, so that something is always left. A line that is shown to have gained wins the loss back.
"""

import math
from typing import Annotated, Literal

from msgspec import Meta, Struct

from model.sequential import Evidence, interval, log_e_above, log_e_below
from streaming.contracts.strategies import Check

Probability = Annotated[float, Meta(gt=0.0, lt=1.0)]
RENEWAL_SHARE = 0.5
"""Of what may still be lost, the most that one renewal may use up."""
CanaryDecision = Literal["promote", "roll_back", "time_out", "go_on"]
AnchorDecision = Literal["roll_back", "renew", "time_out", "go_on"]


class TrialKnobs(Struct, frozen=True):
    """When a trial may decide, and what it may get wrong.

    Args:
        alpha: probability of each kind of wrong decision over the whole trial.
        delta: a loss that is put up with, units of reward per customer (of their sums over the window).
        min_customers: in each arm; with fewer nothing is decided but the end of time.
        max_customers: of both arms: then the trial times out.
        max_s: from the first enrolment, event time: likewise.
    """

    alpha: Probability = 0.05
    delta: Annotated[float, Meta(gt=0.0)] = 0.02
    min_customers: Annotated[int, Meta(ge=1)] = 100
    max_customers: Annotated[int, Meta(ge=1)] = 100_000
    max_s: Annotated[float, Meta(gt=0.0)] = 28 * 86_400.0


class CanaryVerdict(Struct, frozen=True):
    """What becomes of the canary, with everything it rests on."""

    decision: CanaryDecision
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]


class AnchorVerdict(Struct, frozen=True):
    """What becomes of the line and its anchor.

    Args:
        carried: what the next trial of this line is to carry: changed by a renewal alone.
    """

    decision: AnchorDecision
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]
    carried: float


def judge_canary(evidence: Evidence, knobs: TrialKnobs, age_s: float) -> CanaryVerdict:
    """Promote, roll back, go on, or end with neither.

    Args:
        evidence: of a trial whose treated customers get the canary.
        age_s: since the first enrolment, event time.
    """
    wanted = -math.log(knobs.alpha)
    better, worse = log_e_above(evidence, 0.0), log_e_below(evidence, 0.0)
    enough, over = _enough(evidence, knobs), _over(evidence, knobs, age_s)
    checks = (
        enough,
        _evidence("better", "better than the champion", better, wanted),
        _evidence("worse", "worse than the champion", worse, wanted),
        _evidence("not_worse_by_delta", f"not worse by {knobs.delta}", log_e_above(evidence, -knobs.delta), wanted),
        over,
    )
    if enough.passed and worse >= wanted:  # first: when both are shown, the customers have changed
        return CanaryVerdict("roll_back", _said(checks[2]), checks, _numbers(evidence, knobs.alpha, age_s))
    if enough.passed and better >= wanted:
        return CanaryVerdict("promote", _said(checks[1]), checks, _numbers(evidence, knobs.alpha, age_s))
    decision: CanaryDecision = "time_out" if over.passed else "go_on"
    reason = _said(over) if over.passed else "neither better nor worse is shown yet"
    return CanaryVerdict(decision, reason, checks, _numbers(evidence, knobs.alpha, age_s))


def judge_anchor(
    evidence: Evidence, knobs: TrialKnobs, age_s: float, *, carried: float = 0.0, trial: int = 1
) -> AnchorVerdict:
    """Roll the line back, renew its anchor, go on, or end with neither.

    Args:
        evidence: of a trial whose treated customers get the anchor: above 0 the line has lost.
        age_s: since the first enrolment, event time.
        carried: what the line may have lost against former anchors, units of reward per customer.
        trial: which of this anchor's trials it is, from 1: one that timed out is followed by another, and all of an anchor's
            trials together have alpha.
    """
    alpha = spent(knobs.alpha, trial)
    wanted, rest = -math.log(alpha), max(knobs.delta - carried, 0.0)
    renewable = RENEWAL_SHARE * rest
    lost, kept = log_e_above(evidence, rest), log_e_below(evidence, renewable)
    enough, over = _enough(evidence, knobs), _over(evidence, knobs, age_s)
    checks = (
        enough,
        _evidence("lost", f"the anchor is better by more than {rest:.4g}", lost, wanted),
        _evidence("kept", f"the anchor is not better by {renewable:.4g}", kept, wanted),
        over,
    )
    numbers = _numbers(evidence, alpha, age_s) | {"carried": carried, "rest": rest, "trial": float(trial)}
    if enough.passed and lost >= wanted:
        return AnchorVerdict("roll_back", _said(checks[1]), checks, numbers, carried)
    if enough.passed and kept >= wanted:
        owed = max(carried + interval(evidence, alpha).upper, 0.0)
        return AnchorVerdict("renew", _said(checks[2]), checks, numbers, owed)
    decision: AnchorDecision = "time_out" if over.passed else "go_on"
    reason = _said(over) if over.passed else "neither is shown yet"
    return AnchorVerdict(decision, reason, checks, numbers, carried)


def spent(alpha: float, trial: int) -> float:
    """The part of alpha that an anchor's trial of a number from 1 may use; over all trials they sum to alpha."""
    return alpha / (trial * (trial + 1))


def _enough(evidence: Evidence, knobs: TrialKnobs) -> Check:
    detail = f"{evidence.treated} treated, {evidence.others} others, at least {knobs.min_customers} each"
    return Check("customers", passed=min(evidence.treated, evidence.others) >= knobs.min_customers, detail=detail)


def _over(evidence: Evidence, knobs: TrialKnobs, age_s: float) -> Check:
    detail = f"{evidence.customers} customers of {knobs.max_customers}, {age_s:.0f} s of {knobs.max_s:.0f}"
    return Check("over", passed=evidence.customers >= knobs.max_customers or age_s >= knobs.max_s, detail=detail)


def _evidence(name: str, claim: str, log_e: float, wanted: float) -> Check:
    """A check that passes when something is shown."""
    return Check(name, passed=log_e >= wanted, detail=f"{claim}: log e-value {log_e:.2f}, {wanted:.2f} shows it")


def _said(check: Check) -> str:
    return f"{check.name}: {check.detail}"


def _numbers(evidence: Evidence, alpha: float, age_s: float) -> dict[str, float]:
    bounds = interval(evidence, alpha)
    return {
        "customers_treated": float(evidence.treated),
        "customers_others": float(evidence.others),
        "difference": evidence.estimate,
        "lower": bounds.lower,
        "upper": bounds.upper,
        "alpha": alpha,
        "age_s": age_s,
    }
