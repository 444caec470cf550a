"""From a record of `strategy.requests` to what is to be done with it. Pure: the clock is an argument."""

from typing import Literal

from msgspec import Struct

from model.grid import ActionGrid
from services.records import Record
from streaming.contracts.codec import decode
from streaming.contracts.errors import BadEvent
from streaming.contracts.ids import derive, strategy_id
from streaming.contracts.strategies import StrategyRequest, Suppression
from streaming.dead_letters import refused, tripped
from streaming.effects import Publish

Refusal = Literal["paused", "stale", "defaulted"]
PACE_MEMORY = 0.8
"""Weight of the past in a batch's expected time."""


class Ask(Struct, frozen=True):
    """A request that can be answered, checked against its grammar."""

    record: Record
    request: StrategyRequest
    grid: ActionGrid
    strategy_id: str


class Pace:
    """How long a batch takes at the moment: a moving mean, by which lateness is foreseen."""

    def __init__(self) -> None:
        """Nothing is late by expectation alone before the first batch."""
        self.expected_s = 0.0

    def took(self, seconds: float) -> None:
        """A batch was decoded in this time."""
        self.expected_s = PACE_MEMORY * self.expected_s + (1 - PACE_MEMORY) * seconds

    def skipped(self) -> None:
        """All were late, nothing was decoded: expect less, or one slow batch would make everything late for ever."""
        self.expected_s *= PACE_MEMORY


def take(record: Record) -> Ask | Publish | None:
    """The request in a record, its dead letter, or None for a tombstone or an empty value."""
    if not record.value:
        return None
    try:
        request = _contacted(decode(record.value, StrategyRequest))
        return Ask(record, request, ActionGrid.of(request), strategy_id(request.request_id))
    except BadEvent as error:
        return refused(record, record.origin, "bad_request", error)


def _contacted(request: StrategyRequest) -> StrategyRequest:
    if request.arm == "holdout":
        raise BadEvent("arm", "holdout", "an arm that is contacted; for the holdout no request is sent")
    return request


def bug_letter(record: Record, error: BaseException) -> Publish:
    """A record that tripped our own code, twice, as a dead letter with its traceback."""
    return tripped(record, record.origin, error, "our code to handle it")


def refusal(ask: Ask, *, now_ms: int, strategy_ttl_s: float, paused: bool) -> Refusal | None:
    """Why a request is not to be decided now, if so.

    Past half the time that stored strategies live, a redelivery could be decided twice: it is recorded, never decoded.
    """
    if now_ms - ask.record.timestamp_ms > strategy_ttl_s * 1000 / 2:
        return "stale"
    return "paused" if paused else None


def is_late(ask: Ask, *, now_ms: int, expected_s: float) -> bool:
    """Whether the deadline would pass before the language model has answered.

    Args:
        expected_s: how long a batch takes at the moment.
    """
    waited_s = (now_ms - ask.record.timestamp_ms) / 1000
    return waited_s + expected_s >= ask.request.deadline_s


def suppression(ask: Ask, reason: Refusal, detail: str) -> Suppression:
    """The record of a request that is not answered."""
    request = ask.request
    return Suppression(
        suppression_id=derive("sup", request.request_id, reason),
        request_id=request.request_id,
        user_id=request.user_id,
        kind=request.kind,
        trigger=request.trigger,
        arm=request.arm,
        reason=reason,
        detail=detail,
        issued_at=request.issued_at,
        by="worker",
        cause=request.cause,
    )
