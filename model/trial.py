"""A trial of a version on customers: what it is told, and in which order that enters (DESIGN §4, law 5). Pure, without tensors.

A trial is told two things, each in any order: the *answers* that are given (fallback or not, late or not), and the *ends*
of strategies (final reward, complaint). Each is held back until everything issued before it must have been told
(`settle_ms`), and enters in order of issue; so what a trial decides does not depend on the order in which
strategies close, which follows from what they brought.

It begins at the first strategy that shows the two arms to be served different versions. Its customer does not count, being
chosen by arm. Customers whom another trial treats are not enrolled: that is another salt, so that it leaves both arms alike.

Four quantities are compared per customer: reward, complaints, fallbacks, late answers. The last three are harms, each 0 or
1 per customer, with a cap on how much more often they may happen to the customers of the version that is suspected: the
canary, or the line beside its anchor. A cap that is exceeded beyond doubt ends the trial whatever is earned; all harms
together have alpha.
"""

from heapq import heappush
from typing import Literal

from msgspec import Struct

from model.betting import Design, candidates, restarts
from model.cohort import Cohort
from model.rollout import TrialKnobs
from model.sequential import Evidence, begin
from streaming.contracts.ids import stable_unit

Role = Literal["canary", "anchor"]
REWARD, COMPLAINTS, FALLBACKS, LATE = "reward", "complaints", "fallbacks", "late"
HELD_PER_CUSTOMER = 4
"""Strategies that may be held back per customer of `max_customers`; beyond, the trial times out: it cannot be kept fairly."""


class Item(Struct, order=True, frozen=True, array_like=True):
    """A strategy that was answered or has ended.

    Args:
        issued_at_ms: event time.
        adapter: version that wrote it, as its policy record names it.
        values: one per ledger of its stream.
    """

    issued_at_ms: int
    strategy_id: str
    customer: str
    adapter: str
    values: tuple[float, ...]


class Ledger(Struct):
    """One quantity: customers under way, and the evidence of those whose time is over."""

    name: str
    cohort: Cohort
    evidence: Evidence


class Stream(Struct):
    """What is told of one kind, put in order.

    Args:
        held: a heap of items that something older may still precede.
        watermark_ms: newest event time told; -1 before any.
        begun_ms: issue of the strategy that showed the arms to differ, -1 before; `first` is its customer.
    """

    settle_ms: int
    most_held: int
    ledgers: list[Ledger]
    held: list[Item] = []
    watermark_ms: int = -1
    begun_ms: int = -1
    first: str = ""


class TrialDesign(Struct, frozen=True):
    """What a trial is begun and decided by.

    Args:
        low, high: of a customer's clipped sum of rewards; see `model/sequential.py`.
        window_ms, settle_ms: see `model/cohort.py`; `answer_...` the same of answers, known at once.
        caps: harm → how much more often it may happen, as a share of customers.
    """

    knobs: TrialKnobs
    low: float
    high: float
    window_ms: int
    settle_ms: int
    caps: dict[str, float]
    answer_window_ms: int = 3_600_000
    answer_settle_ms: int = 600_000


class Trial(Struct):
    """A trial under way. Changed in place by `tell` and by `trial_judging.judge`.

    Args:
        version: what treated customers get; `salt`, `share` say who they are.
        number, carried: see `rollout.judge_anchor`.
        since_ms: event time at which something was told first; -1 before. Its time runs from then.
    """

    role: Role
    version: str
    salt: str
    share: float
    ends: Stream
    answers: Stream
    number: int = 1
    carried: float = 0.0
    since_ms: int = -1


def start(
    role: Role, version: str, salt: str, share: float, design: TrialDesign, *, number: int = 1, carried: float = 0.0
) -> Trial:
    """A trial that nothing was told yet."""
    most, knobs = design.knobs.max_customers, design.knobs
    anew = restarts(most) if role == "anchor" else ()  # a line slides, a canary is what it is
    reward = Design(share, design.low, design.high, candidates(design.high, design.low, knobs.delta), anew)

    def ledger(name: str, sums: Design, window_ms: int, settle_ms: int) -> Ledger:
        return Ledger(name, Cohort(window_ms, settle_ms, most), begin(sums))

    def harm(name: str) -> Design:
        cap = design.caps[name]
        return Design(share, 0.0, 1.0, tuple(sorted({-cap, 0.0, cap})), anew)

    ends, answers = (design.window_ms, design.settle_ms), (design.answer_window_ms, design.answer_settle_ms)
    return Trial(
        role,
        version,
        salt,
        share,
        Stream(
            design.settle_ms,
            HELD_PER_CUSTOMER * most,
            [ledger(REWARD, reward, *ends), ledger(COMPLAINTS, harm(COMPLAINTS), *ends)],
        ),
        Stream(
            design.answer_settle_ms,
            HELD_PER_CUSTOMER * most,
            [ledger(name, harm(name), *answers) for name in (FALLBACKS, LATE)],
        ),
        number,
        carried,
    )


def treats(trial: Trial, customer: str) -> bool:
    """Whether a customer is assigned the version on trial, as the worker assigns it."""
    return stable_unit(trial.salt, customer) < trial.share


def passes(trial: Trial, stream: Stream, at_ms: int) -> None:
    """Event time has come so far."""
    stream.watermark_ms = max(stream.watermark_ms, at_ms)
    if trial.since_ms < 0:
        trial.since_ms = at_ms


def tell(trial: Trial, stream: Stream, item: Item, at_ms: int) -> None:
    """One answer or end.

    Args:
        at_ms: event time at which it is told: of an answer its issue, of an end its closing.
    """
    heappush(stream.held, item)
    passes(trial, stream, at_ms)
