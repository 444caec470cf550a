"""One batch from records to acknowledged answers, with every record ending in exactly one of them.

A strategy, a suppression, a dead letter, or nothing (a tombstone). Our own bug does not stop the stream: the records of a
batch that trips it are tried once more alone, and what trips again is dead-lettered as `bug` (law 7).

A batch is finished before the next is begun: of its time the decoding's steps, between which requests could join, are a tenth
(`benchmarks/joining.py`, docs/measured.md).
"""

import logging
import threading
import time
from collections.abc import Sequence

import msgspec

from services import metrics
from services.deciding import encoded
from services.logs import without_values
from services.records import Record
from services.settings import WorkerSettings
from services.worker_answers import Answerer
from services.worker_intake import Ask, Pace, bug_letter, is_late, refusal, suppression, take
from services.worker_sending import Sender, Stopped, patiently
from services.worker_store import DEFAULTED, SUPPRESSED, AnswerStore
from streaming.contracts.kinds import kind_label
from streaming.contracts.strategies import Strategy, Suppression
from streaming.contracts.topics import STRATEGIES, SUPPRESSIONS
from streaming.contracts.tracing import headers_of, said, span_id
from streaming.effects import Publish
from streaming.facts import ITEMS

LOG = logging.getLogger(__name__)
ITEM_LOG = logging.getLogger(ITEMS)
SERVICE = "worker"
SPARE_S = 0.25
"""Before a deadline: texts from elsewhere are waited for until then, at most."""


class Batch:
    """Handles batches, one after the other."""

    def __init__(
        self, settings: WorkerSettings, answerer: Answerer, store: AnswerStore, sender: Sender, stop: threading.Event
    ) -> None:
        """Join the parts of the loop."""
        self._settings, self._answerer = settings, answerer
        self._store, self._sender, self._stop = store, sender, stop
        self._pace = Pace()

    def handle(self, records: Sequence[Record]) -> None:
        """Answer every record and wait until all answers are acknowledged.

        Raises:
            Stopped: the service stops while Kafka or Redis is unavailable; nothing may be committed.
        """
        try:
            self._answer(records)
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 -- each record is tried alone, and what trips again is dead-lettered
            LOG.error("a batch of %d requests failed, each is tried alone: %s", len(records), without_values(error))  # noqa: TRY400 -- the message may quote a customer
            for record in records:
                self._alone(record)

    def _alone(self, record: Record) -> None:
        try:
            self._answer([record])
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 -- dead-lettered as a bug with its traceback
            LOG.error("request at %s[%d]@%d is dead-lettered as a bug: %s", *_where(record), without_values(error))  # noqa: TRY400 -- the same
            metrics.BUGS.labels(SERVICE).inc()
            self._letters([(bug_letter(record, error), "bug")])

    def _answer(self, records: Sequence[Record]) -> None:
        taken = [take(record) for record in records]
        self._letters([(one, "bad_request") for one in taken if isinstance(one, Publish)])
        asks = list({one.strategy_id: one for one in taken if isinstance(one, Ask)}.values())
        if not asks:
            return
        paused, stored = patiently(
            lambda: self._store.look([ask.strategy_id for ask in asks]), "redis", SERVICE, self._stop
        )
        again = [(ask, answer) for ask, answer in zip(asks, stored, strict=True) if answer is not None]
        fresh = [ask for ask, answer in zip(asks, stored, strict=True) if answer is None]
        made = self._make(fresh, paused=paused)
        self._publish([(ask, _spoken(ask, answer)) for ask, answer in (*again, *self._keep(made))])

    def _make(self, asks: Sequence[Ask], *, paused: bool) -> list[tuple[Ask, bytes]]:
        """An answer for every request: suppressed, by the critic alone, or by the language model and it."""
        now_ms = round(time.time() * 1000)
        made: list[tuple[Ask, bytes]] = []
        late: list[Ask] = []
        in_time: list[Ask] = []
        for ask in asks:
            reason = refusal(ask, now_ms=now_ms, strategy_ttl_s=self._settings.strategy_ttl_s, paused=paused)
            if reason is not None:
                waited = f"waited {(now_ms - ask.record.timestamp_ms) / 1000:.1f} s"
                made.append((ask, msgspec.json.encode(suppression(ask, reason, waited))))
            else:
                (late if is_late(ask, now_ms=now_ms, expected_s=self._pace.expected_s) else in_time).append(ask)
        if late:
            made += encoded(late, self._answerer.answer_late(late))
        if in_time:
            begun = time.perf_counter()
            made += encoded(in_time, self._answerer.answer(in_time, time.monotonic() + _left_s(in_time, now_ms)))
            self._pace.took(time.perf_counter() - begun - self._answerer.waited_s)
        elif late:
            self._pace.skipped()
        return made

    def _keep(self, made: Sequence[tuple[Ask, bytes]]) -> list[tuple[Ask, bytes]]:
        """Store first, and go on with what is stored: another worker may have been faster."""
        if not made:
            return []
        items = [(ask.strategy_id, answer) for ask, answer in made]
        kept = patiently(lambda: self._store.keep(items), "redis", SERVICE, self._stop)
        return [(ask, answer) for (ask, _), answer in zip(made, kept, strict=True)]

    def _publish(self, answers: Sequence[tuple[Ask, bytes]]) -> None:
        effects = [_effect(ask, answer) for ask, answer in answers]
        patiently(lambda: self._sender.send(effects), "kafka", SERVICE, self._stop)
        now_s = time.time()
        for ask, answer in answers:
            _count(answer)
            if ITEM_LOG.isEnabledFor(logging.INFO):
                ITEM_LOG.info("suppressed" if answer.startswith(SUPPRESSED) else "answered", extra=_said_of(ask))
            if not answer.startswith(SUPPRESSED):
                waited_s = max(0.0, now_s - ask.record.timestamp_ms / 1000)
                kind = kind_label(ask.request.kind)
                metrics.REQUEST_TO_STRATEGY.labels(kind).observe(waited_s)
                timely = waited_s <= ask.request.deadline_s
                metrics.ANSWERED.labels(kind, "yes").inc(timely)
                metrics.ANSWERED.labels(kind, "no").inc(not timely)

    def _letters(self, letters: Sequence[tuple[Publish, str]]) -> None:
        if letters:
            patiently(lambda: self._sender.send([letter for letter, _ in letters]), "kafka", SERVICE, self._stop)
        for _, reason in letters:
            metrics.DEAD_LETTERS.labels(SERVICE, reason).inc()


def _spoken(ask: Ask, answer: bytes) -> bytes:
    """The answer; where the gateway's caller was told to do without us, what is said of it: the same each time."""
    if answer != DEFAULTED:
        return answer
    return msgspec.json.encode(suppression(ask, "defaulted", "its caller's deadline came before the request"))


def _left_s(asks: Sequence[Ask], now_ms: int) -> float:
    """Until the first of the deadlines, less what storing and publishing may take."""
    waited_s = [(now_ms - ask.record.timestamp_ms) / 1000 for ask in asks]
    return min(ask.request.deadline_s - own_s for ask, own_s in zip(asks, waited_s, strict=True)) - SPARE_S


def _effect(ask: Ask, answer: bytes) -> Publish:
    topic = SUPPRESSIONS if answer.startswith(SUPPRESSED) else STRATEGIES
    key = ask.request.user_id.encode("utf-8", "surrogatepass")
    return Publish(topic.name, key, answer, ask.strategy_id, headers_of(ask.request, ask.strategy_id))


def _said_of(ask: Ask) -> dict[str, str | float]:
    """Ids, and the span from the request's time in Kafka to now."""
    request = ask.request
    return {
        "event_id": request.cause,
        "request_id": request.request_id,
        "strategy_id": ask.strategy_id,
        "traceparent": said(headers_of(request, ask.strategy_id)),
        "parent_id": span_id(request.request_id),
        "began_s": ask.record.timestamp_ms / 1000,
    }


def _count(answer: bytes) -> None:
    if answer.startswith(SUPPRESSED):
        refused = msgspec.json.decode(answer, type=Suppression)
        metrics.SUPPRESSIONS.labels(refused.reason, refused.trigger).inc()
        return
    strategy = msgspec.json.decode(answer, type=Strategy)
    policy = strategy.policy
    metrics.STRATEGIES.labels(kind_label(strategy.kind), policy.assigned_arm, policy.acting_arm).inc()
    metrics.MESSAGES.labels(strategy.message.source, strategy.message.language).inc()
    if policy.late:
        metrics.LATE.labels(kind_label(strategy.kind)).inc()


def _where(record: Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset
