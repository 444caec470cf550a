"""Message texts from elsewhere, kept per context: threads ask, the worker's loop takes what has come and never waits past its bound.

A raw text depends on kind, moment, language and closed values alone (`model/elsewhere/asking.py`), so that a text once written and
checked serves every request of its context. While a context has none, its messages are templates.
"""

import logging
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from msgspec import UNSET

from model.elsewhere.asking import Turn, raw_of, turns, unfit
from model.message import finish
from model.texts import MAX_CONTEXTS, MAX_TRIES, VARIANTS, Context
from model.writing import context
from services.deciding import TEMPLATE
from services.metrics import BUGS, WRITER_SECONDS, WRITER_TEXTS
from services.writer_client import Failed, WriterClient
from streaming.contracts.strategies import StrategyRequest

LOG = logging.getLogger(__name__)
SERVICE = "worker"
AGAIN_AFTER_S = 600.0
"""A context for which nothing that was written agreed is asked for again so much later: the server may have another model then."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""After a failure nothing is asked for so long; doubled by each further one."""


@dataclass
class _Known:
    """Texts of one context that agreed; how many did not; how many are being written; when it may be asked for again."""

    texts: list[str] = field(default_factory=list)
    refused: int = 0
    under_way: int = 0
    again_s: float = 0.0


class _Job(NamedTuple):
    of: Context
    request: StrategyRequest
    decision: Mapping[str, str]
    turns: tuple[Turn, ...]


class _Done(NamedTuple):
    job: _Job
    answer: str | Failed
    took_s: float


class RemoteTexts:
    """Raw message texts by context, from a server. `texts` is one thread's own.

    Attributes:
        waited_s: how long the last call of `texts` waited.
    """

    def __init__(self, client: WriterClient, *, wait_s: float, concurrency: int, variants: int = VARIANTS) -> None:
        """Start the threads that ask; each ends after its call once closed."""
        self._client, self._wait_s, self._most, self._variants = client, wait_s, concurrency, variants
        self._known: OrderedDict[Context, _Known] = OrderedDict()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
        self._under_way = 0
        self._pause_s, self._again_s = 0.0, 0.0
        self.waited_s = 0.0
        for number in range(concurrency):
            threading.Thread(target=self._ask, name=f"writer-{number}", daemon=True).start()

    def texts(
        self,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Mapping[str, str]],
        rng: np.random.Generator,
        due_s: float,
    ) -> list[str]:
        """One raw text per decision, each checked against its context; empty where there is none (yet).

        Args:
            requests: what was asked.
            decisions: slot → value.
            rng: draws among variants, and the examples that are shown to the server.
            due_s: on `time.monotonic`: nothing is waited for beyond.
        """
        contexts = [context(request, decision) for request, decision in zip(requests, decisions, strict=True)]
        self._take()
        for of, request, decision in zip(contexts, requests, decisions, strict=True):
            if request.grammar is UNSET:  # a declared kind brings its own text
                self._want(of, request, decision, rng)
        self._wait(set(contexts), due_s)
        chosen = [self._of(of).texts for of in contexts]
        return [texts[int(rng.integers(len(texts)))] if texts else TEMPLATE for texts in chosen]

    def close(self) -> None:
        """Ask no more; what is under way is let go."""
        for _ in range(self._most):
            self._jobs.put(None)
        self._client.close()

    def _want(
        self, of: Context, request: StrategyRequest, decision: Mapping[str, str], rng: np.random.Generator
    ) -> None:
        """Ask for another text of a context, where it lacks some and the server answers."""
        known, now_s = self._of(of), time.monotonic()
        if known.refused >= MAX_TRIES and now_s >= known.again_s:
            known.refused = 0
        enough = len(known.texts) + known.under_way >= self._variants or known.refused >= MAX_TRIES
        probing = self._pause_s > 0.0 and self._under_way > 0  # after a failure one call at a time finds out
        if enough or probing or self._under_way >= self._most or now_s < self._again_s:
            return
        known.under_way += 1
        self._under_way += 1
        self._jobs.put(_Job(of, request, decision, turns(request, decision, rng)))

    def _wait(self, contexts: set[Context], due_s: float) -> None:
        """Until each of the contexts that is being written has a text, but not long; not at all for a server that failed."""
        begun_s = time.monotonic()
        over_s = min(begun_s + self._wait_s, due_s)
        while self._pause_s == 0.0 and any(self._of(of).under_way and not self._of(of).texts for of in contexts):
            left_s = over_s - time.monotonic()
            if left_s <= 0.0:
                break
            try:
                self._book(self._done.get(timeout=left_s))
            except queue.Empty:
                break
        self.waited_s = time.monotonic() - begun_s

    def _take(self) -> None:
        """Whatever has come meanwhile."""
        while True:
            try:
                self._book(self._done.get_nowait())
            except queue.Empty:
                return

    def _book(self, done: _Done) -> None:
        known = self._of(done.job.of)
        known.under_way = max(known.under_way - 1, 0)
        self._under_way -= 1
        WRITER_SECONDS.observe(done.took_s)
        if isinstance(done.answer, Failed):
            WRITER_TEXTS.labels(done.answer.fault).inc()
            self._failed(done.answer)
            return
        self._pause_s = 0.0
        raw = raw_of(done.answer)
        message, _ = finish(raw, done.job.request, done.job.decision)
        if message.source == "model" and not unfit(raw, done.job.request.language):
            WRITER_TEXTS.labels("written").inc()
            if raw not in known.texts:
                known.texts.append(raw)
        else:
            WRITER_TEXTS.labels("disagrees" if raw else "garbage").inc()
            known.refused += 1
            known.again_s = time.monotonic() + AGAIN_AFTER_S

    def _failed(self, failure: Failed) -> None:
        if self._pause_s == 0.0:
            LOG.warning("texts are templates for now, the writer does not answer: %s", failure)
        self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        self._again_s = time.monotonic() + self._pause_s

    def _of(self, of: Context) -> _Known:
        """What is known of a context, which is thereby the last to be forgotten."""
        found = self._known.setdefault(of, _Known())
        self._known.move_to_end(of)
        while len(self._known) > MAX_CONTEXTS:
            self._known.popitem(last=False)
        return found

    def _ask(self) -> None:
        """A thread's whole life."""
        while (job := self._jobs.get()) is not None:
            begun_s = time.monotonic()
            answer: str | Failed
            try:
                answer = self._client.write(job.turns)
            except Failed as failure:
                answer = failure
            except Exception as bug:
                LOG.exception("asking the writer failed by our own fault")
                BUGS.labels(SERVICE).inc()
                answer = Failed("garbage", type(bug).__name__)
            self._done.put(_Done(job, answer, time.monotonic() - begun_s))
