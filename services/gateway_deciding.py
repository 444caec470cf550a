"""`POST /v1/decide`: a strategy within the caller's deadline, asked for by an event like any other.

The event goes to the agents, so that consent, caps and arm hold and everything is logged and learned from. At the deadline the critic
answers alone, as it does in the worker for a request that is late; what the worker stores later is what was answered.
"""

import asyncio
import contextlib
import queue
import secrets
import time
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from model.critic import Critic
from model.policy import NO_MODEL, Knobs
from services import metrics
from services.deciding import Ready, answer_late, encoded
from services.gateway_bodies import decoded
from services.gateway_events import judge
from services.gateway_hub import Expected, Hub
from services.gateway_intake import Intake
from services.gateway_problems import refusal
from services.publish import Record as Publishes
from services.records import Record
from services.settings_gateway import GatewaySettings
from services.worker_intake import Ask, Pace, take
from services.worker_store import DEFAULTED, SUPPRESSED, AnswerStore
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.codec import instant
from streaming.contracts.errors import Unavailable
from streaming.contracts.events import Id
from streaming.contracts.ids import request_id, strategy_id
from streaming.contracts.tracing import Headers

MAX_DEADLINE_MS = 60_000
Status = Literal["decided", "fallback", "suppressed", "default"]
KNOBS = Knobs(NO_MODEL, BASE_ALONE, temperature=1.0, lm_weight=0.0)
"""No base and no adapter has a part."""
_SEED = 0


class Decide(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/decide`; `user_id` or `anonymous_id` is needed.

    Args:
        kind: of strategy.
        category: that it is about, if any; so with `query`.
        deadline_ms: it is answered after so long at the latest, with less than was asked for if need be; else a setting's.
        message_id: the same one gives the same strategy; else it is random.
        timestamp: the moment, ISO 8601; else that of receipt.
        context: `locale`, `timezone`, `consent`, as in events.
    """

    kind: str
    user_id: Id | None = None
    anonymous_id: Id | None = None
    category: str = ""
    query: str = ""
    deadline_ms: Annotated[int, Meta(ge=1, le=MAX_DEADLINE_MS)] | None = None
    message_id: Id | None = None
    timestamp: Annotated[str, Meta(max_length=100)] = ""
    context: dict[str, Raw] = {}


class Decision(Struct, frozen=True, omit_defaults=True):
    """The answer.

    Args:
        status: `decided`: by the worker; `fallback`: at the deadline, by the critic alone; `suppressed`: nothing may be
            shown, `suppression` says why; `default`: at the deadline nothing was known yet: show what you would without us.
        strategy: as it is published.
        suppression: as it is published.
    """

    status: Status
    request_id: str
    strategy: Raw | UnsetType = UNSET
    suppression: Raw | UnsetType = UNSET


_BODY = msgspec.json.Decoder(Decide)


def parsed(body: bytes) -> Decide:
    """What is asked.

    Raises:
        Refused: the body is no question.
    """
    asked = decoded(_BODY, body, "the body asks for no decision")
    if (asked.user_id is None) == (asked.anonymous_id is None):
        raise refusal("malformed", "wanted either `user_id` or `anonymous_id`")
    return asked


def event_of(asked: Decide, owner: str, message_id: str, now_iso: str) -> bytes:
    """The event that asks, in bytes; the contract has still to judge it.

    Args:
        owner: the customer that the id stands for.
    """
    anonymous = asked.anonymous_id is not None and owner == asked.anonymous_id
    named = {"category": asked.category, "query": asked.query}
    return msgspec.json.encode(
        {
            "messageId": message_id,
            "type": "track",
            "event": "Decision Requested",
            "anonymousId" if anonymous else "userId": owner,
            "timestamp": asked.timestamp or now_iso,
            "properties": {"kind": asked.kind, **{name: text for name, text in named.items() if text}},
            "context": asked.context,
        }
    )


def decision_of(request: str, answer: bytes, *, ours: bool) -> Decision:
    """The answer to the caller.

    Args:
        answer: what is stored or published under the request.
        ours: the gateway decided.
    """
    if answer == DEFAULTED:
        return Decision("default", request)
    if answer.startswith(SUPPRESSED):
        return Decision("suppressed", request, suppression=Raw(answer))
    return Decision("fallback" if ours else "decided", request, strategy=Raw(answer))


MOST_UNDER_WAY = 1000
"""Events of callers that were answered or still wait, which Kafka has not acknowledged."""


class Reads(Protocol):
    """What is asked of Redis, without holding up the event loop."""

    async def owner(self, user_id: str) -> str:
        """The customer that an id stands for."""

    async def stored(self, strategy: str) -> bytes | None:
        """What is stored under a strategy's id."""


class Decider:
    """Asks, waits, and answers for the worker at the deadline.

    Args:
        served: the critic, until another comes out of `critics`.
        critics: those that are announced; None says nothing.
    """

    def __init__(
        self, settings: GatewaySettings, hub: Hub, intake: Intake, reads: Reads, store: AnswerStore, served: Critic,
        critics: "queue.SimpleQueue[Critic | None]",
    ) -> None:  # fmt: skip
        """Nothing is asked yet."""
        self._settings, self._hub, self._intake = settings, hub, intake
        self._reads, self._store = reads, store
        self._critics, self._pace = critics, Pace()
        self._served = Ready(served)
        self._publishing: set[asyncio.Task[None]] = set()

    async def decide(self, body: bytes, now_ms: int, headers: Headers = ()) -> Decision:
        """The answer to one body; `headers` go with the event.

        Raises:
            Refused: it asks for nothing that can be asked.
            Unavailable: Kafka refused the event within the deadline, or Redis does not answer.
        """
        asked, began_s = parsed(body), time.monotonic()
        ends_s = began_s + (asked.deadline_ms or self._settings.gateway_decide_ms) / 1000
        owner = await self._reads.owner(asked.user_id or asked.anonymous_id or "")
        message_id = asked.message_id or f"dec_{secrets.token_hex(12)}"
        event = event_of(asked, owner, message_id, instant(now_ms).isoformat())
        judged = judge([event], now_ms, self._settings.bounds)
        if judged.all_refused:
            raise refusal("all-refused", "nothing was published", verdicts=judged.verdicts)
        request = request_id(owner, "decision_requested", asked.kind, message_id)
        ours, answer = False, await self._reads.stored(strategy_id(request))
        if answer is None:
            with self._hub.expect(request) as expected:
                answer = await self._awaited(expected, self._publish(judged.records, headers), ends_s)
                if answer is None and expected.request is not None:
                    ours, answer = await asyncio.to_thread(self._fallback, expected.request)
            if answer is None or answer.startswith(SUPPRESSED):
                answer = await asyncio.to_thread(self._kept, strategy_id(request), answer or DEFAULTED)
        decision = decision_of(request, answer, ours=ours)
        metrics.GATEWAY_DECISIONS.labels(decision.status).inc()
        return decision

    def _publish(self, records: Sequence[Publishes], headers: Headers) -> "asyncio.Task[None]":
        if len(self._publishing) >= MOST_UNDER_WAY:
            detail = f"{MOST_UNDER_WAY} events wait for Kafka"
            raise refusal("busy", detail, retry_after_s=self._settings.gateway_retry_after_s)
        task = asyncio.create_task(self._intake.publish(records, headers))
        self._publishing.add(task)
        task.add_done_callback(self._published)
        return task

    async def _awaited(self, expected: Expected, publishing: "asyncio.Task[None]", ends_s: float) -> bytes | None:
        """The answer, or None when there is just time enough for one of our own."""
        left_s = ends_s - time.monotonic() - self._pace.expected_s
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await asyncio.shield(publishing)
                return await expected.answer
        except TimeoutError:
            return None

    def _published(self, task: "asyncio.Task[None]") -> None:
        """Its error, if any, was told to the caller, or came after the deadline."""
        self._publishing.discard(task)
        if not task.cancelled():
            task.exception()

    def _fallback(self, record: Record) -> tuple[bool, bytes | None]:
        """Whether the gateway decided, and what is stored; in a thread.

        Raises:
            Unavailable: Redis does not answer.
        """
        began_s = time.monotonic()
        ask = take(record)
        if not isinstance(ask, Ask):
            return False, None
        self._renew()
        [(_, answer)] = encoded([ask], answer_late([ask], self._served, KNOBS, _SEED))
        [kept] = self._store.keep([(ask.strategy_id, answer)])
        self._pace.took(time.monotonic() - began_s)
        return kept == answer, kept

    def _kept(self, strategy: str, answer: bytes) -> bytes:
        """What is stored under the id now, this answer or an earlier one; in a thread.

        So a call that comes again is told the same at once, and no worker answers a request whose caller went on without
        us. A Redis that does not answer costs no caller the deadline.
        """
        with contextlib.suppress(Unavailable):
            [answer] = self._store.keep([(strategy, answer)])
        return answer

    def _renew(self) -> None:
        """Take in the critics that were announced meanwhile."""
        with contextlib.suppress(queue.Empty):
            while True:
                if (critic := self._critics.get_nowait()) is not None:
                    self._served = Ready(critic)
