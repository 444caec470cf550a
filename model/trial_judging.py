"""What becomes of a trial, judged after every customer whose time is over (DESIGN §4, law 5). Pure, without tensors."""

import math
import re
from collections.abc import Callable, Iterator
from heapq import heappop
from typing import Literal

from msgspec import Struct

from model.cohort import Served, close, earn, serve
from model.rollout import AnchorVerdict, CanaryVerdict, judge_anchor, judge_canary, spent
from model.sequential import Observation, log_e_above, log_e_below, observe
from model.trial import REWARD, Item, Ledger, Stream, Trial, TrialDesign, treats
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.strategies import Check

Decision = Literal["promote", "roll_back", "renew", "time_out"]
MIN_HARMED = 20
"""Customers in each arm before a harm decides: a bound holds at any time, but two customers convince nobody."""


class Verdict(Struct, frozen=True):
    """What becomes of a trial, with everything it rests on; `carried` as in `rollout.AnchorVerdict`."""

    decision: Decision
    reason: str
    checks: tuple[Check, ...]
    numbers: dict[str, float]
    carried: float = 0.0


def judge(trial: Trial, design: TrialDesign, other: Callable[[str], bool]) -> Verdict | None:
    """Let enter what can, customer by customer, and stop at the first decision; None: it goes on.

    Args:
        other: whether another trial treats a customer, who is not enrolled then.
    """
    for stream in (trial.answers, trial.ends):
        _enter(trial, stream, other)
        for ledger in stream.ledgers:
            for observation in close(ledger.cohort, stream.watermark_ms):
                if (verdict := _look(trial, ledger, observation, design)) is not None:
                    return verdict
    return _ended(trial, design)


def _enter(trial: Trial, stream: Stream, other: Callable[[str], bool]) -> None:
    """Enrol and add up whatever nothing older can precede."""
    for item in _settled(stream):
        if stream.begun_ms < 0:
            if not other(item.customer) and _shows_difference(trial, item):
                stream.begun_ms, stream.first = item.issued_at_ms, item.customer
            continue
        if item.customer == stream.first:
            continue
        barred = other(item.customer)
        for ledger, value in zip(stream.ledgers, item.values, strict=True):
            served = Served(item.customer, treats(trial, item.customer), item.issued_at_ms, value)
            if not barred:
                serve(ledger.cohort, served)
            earn(ledger.cohort, served)


def _settled(stream: Stream) -> Iterator[Item]:
    while stream.held and stream.held[0].issued_at_ms <= stream.watermark_ms - stream.settle_ms:
        yield heappop(stream.held)


def _shows_difference(trial: Trial, item: Item) -> bool:
    if trial.role == "canary":
        return item.adapter == trial.version
    return _sequence(item.adapter) > _sequence(trial.version)


def _sequence(version: str) -> int:
    """Of an adapter's name; the base is before the first, and what is no adapter before that."""
    if version == BASE_ALONE:
        return 0
    found = re.fullmatch(r"adapter-(\d+)-\w+", version)
    return int(found[1]) if found else -1


def _look(trial: Trial, ledger: Ledger, observation: Observation, design: TrialDesign) -> Verdict | None:
    ledger.evidence = observe(ledger.evidence, [observation])
    if ledger.name == REWARD:
        return _decided(trial, design)
    check = harm_check(trial, ledger, design)
    return None if check.passed else _forced(trial, design, "roll_back", check)


def harm_check(trial: Trial, ledger: Ledger, design: TrialDesign) -> Check:
    """Passes while it is not shown that a harm happens too often to customers of the suspected version."""
    cap, evidence = design.caps[ledger.name], ledger.evidence
    suspected = trial.role == "canary"
    log_e = log_e_above(evidence, cap) if suspected else log_e_below(evidence, -cap)
    alpha = design.knobs.alpha if suspected else spent(design.knobs.alpha, trial.number)
    wanted = -math.log(alpha / len(design.caps))
    enough = min(evidence.treated, evidence.others) >= MIN_HARMED
    more = evidence.estimate if suspected else -evidence.estimate
    detail = (
        f"{more:+.4f} more customers on {evidence.treated} and {evidence.others}, cap {cap}: "
        f"log e-value {log_e:.2f}, {wanted:.2f} shows it exceeded"
    )
    return Check(ledger.name, passed=not (enough and log_e >= wanted), detail=detail)


def _harms(trial: Trial, design: TrialDesign) -> tuple[Check, ...]:
    ledgers = [*trial.ends.ledgers, *trial.answers.ledgers]
    return tuple(harm_check(trial, ledger, design) for ledger in ledgers if ledger.name != REWARD)


def _of_rewards(trial: Trial, design: TrialDesign) -> CanaryVerdict | AnchorVerdict:
    evidence, age_s = trial.ends.ledgers[0].evidence, _age_s(trial)
    if trial.role == "canary":
        return judge_canary(evidence, design.knobs, age_s)
    return judge_anchor(evidence, design.knobs, age_s, carried=trial.carried, trial=trial.number)


def _decided(trial: Trial, design: TrialDesign) -> Verdict | None:
    """What rewards, customers and time say."""
    found = _of_rewards(trial, design)
    if found.decision == "go_on":
        return None
    carried = found.carried if isinstance(found, AnchorVerdict) else 0.0
    return Verdict(found.decision, found.reason, (*found.checks, *_harms(trial, design)), found.numbers, carried)


def _forced(trial: Trial, design: TrialDesign, decision: Decision, why: Check) -> Verdict:
    """Decided by something else than rewards; what these say is told with it."""
    found = _of_rewards(trial, design)
    checks = (*found.checks, *_harms(trial, design))
    checks = checks if why in checks else (*checks, why)
    return Verdict(decision, f"{why.name}: {why.detail}", checks, found.numbers, trial.carried)


def _ended(trial: Trial, design: TrialDesign) -> Verdict | None:
    """Time or memory is used up."""
    for stream in (trial.ends, trial.answers):
        if len(stream.held) > stream.most_held:
            detail = f"{len(stream.held)} strategies wait for their time, at most {stream.most_held}"
            return _forced(trial, design, "time_out", Check("held", passed=False, detail=detail))
    return _decided(trial, design) if _age_s(trial) >= design.knobs.max_s else None


def _age_s(trial: Trial) -> float:
    newest = max(trial.ends.watermark_ms, trial.answers.watermark_ms)
    return 0.0 if trial.since_ms < 0 else max(newest - trial.since_ms, 0) / 1000.0
