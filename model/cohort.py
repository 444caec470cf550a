"""The customers of a trial: who is in it since when, what each has earned, and whose time is over. Pure.

It keeps what `model/sequential.py` rests on: a customer counts once, from the first request within the trial, in the arm
that was assigned; what is earned by strategies of a fixed window is one sum; and sums are handed on in order of
enrolment, at a moment that depends on neither arm nor outcome.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from model.sequential import Observation


class Served(NamedTuple):
    """A strategy that was issued within the trial, with what it has earned in the end.

    Args:
        customer: a pseudonymous id.
        treated: the arm assigned to the customer, whatever acted.
        issued_at_ms: event time.
        reward: its final reward, units of reward; 0 while there is none.
        expected: what is expected of the customer, known before the arm; used at enrolment.
    """

    customer: str
    treated: bool
    issued_at_ms: int
    reward: float
    expected: float | None = None


class Enrolled(Struct):
    """A customer whose time is not over."""

    treated: bool
    since_ms: int
    total: float
    expected: float | None = None


class Cohort(Struct):
    """The books of one trial. Changed in place by `serve`, `earn` and `close`.

    Args:
        window_ms: strategies issued so long after enrolment count.
        settle_ms: after that, until the last of these strategies has its final reward: the longest horizon and lateness.
        max_customers: nobody is enrolled beyond.
        open: customer → what is known so far.
        closed: ids of those who were handed on, who are not enrolled again.
    """

    window_ms: int
    settle_ms: int
    max_customers: int
    open: dict[str, Enrolled] = {}
    closed: set[str] = set()


def serve(cohort: Cohort, served: Served) -> bool:
    """Enrol the customer at the first strategy within the trial, earned or not; True if that was it.

    Must be told of strategies in order of issue, each at once: enrolment by what has been earned would choose customers by
    their arm's success.
    """
    known = served.customer in cohort.open or served.customer in cohort.closed
    if known or len(cohort.open) + len(cohort.closed) >= cohort.max_customers:
        return False
    cohort.open[served.customer] = Enrolled(served.treated, served.issued_at_ms, 0.0, served.expected)
    return True


def earn(cohort: Cohort, served: Served) -> bool:
    """Add a strategy's final reward, once per strategy; False when it was issued outside the customer's window."""
    enrolled = cohort.open.get(served.customer)
    if enrolled is None or not 0 <= served.issued_at_ms - enrolled.since_ms < cohort.window_ms:
        return False
    enrolled.total += served.reward
    return True


def close(cohort: Cohort, watermark_ms: int) -> list[Observation]:
    """Hand on everybody whose window and settling are over at this event time, in order of enrolment."""
    ready = watermark_ms - cohort.window_ms - cohort.settle_ms
    over = _in_order((name, each) for name, each in cohort.open.items() if each.since_ms <= ready)
    for name, _ in over:
        del cohort.open[name]
        cohort.closed.add(name)
    return [Observation(each.treated, each.total, each.expected) for _, each in over]


def _in_order(customers: Iterable[tuple[str, Enrolled]]) -> list[tuple[str, Enrolled]]:
    """By time of enrolment, then id, so that a replay hands on the same order."""
    return sorted(customers, key=lambda named: (named[1].since_ms, named[0]))
