"""From requests to finished strategies: encode, decide, write, explain. No Kafka, no Redis, no clock."""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.batch import PromptBatch
from model.lm import LanguageModel
from model.policy import Decided, Decoder, decide
from model.spelling import Spelling
from model.texts import TextPool
from services.deciding import answer_late, rng_of, strategy_of
from services.metrics import PREFIX_BYTES, PROMPTS, TOKENS
from services.worker_intake import Ask
from services.worker_serving import ServingTable
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import Strategy, StrategyRequest, grammar_of

MAX_MESSAGE_TOKENS = 48
TOLD_APART = ("prompt", "prompt_kept", "decision", "message")
"""Tokens by what they are: each is there from the first scrape on, none of them or many."""


class Elsewhere(Protocol):
    """Writes texts instead of the base (`services/writer.py`)."""

    @property
    def waited_s(self) -> float:
        """How long the last call waited for somebody else."""

    def texts(
        self,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Mapping[str, str]],
        rng: np.random.Generator,
        due_s: float,
    ) -> list[str]:
        """One raw text per decision, empty for a template; not later than `due_s` on `time.monotonic`."""


class Answerer:
    """Answers requests with what the serving table holds."""

    def __init__(
        self,
        lm: LanguageModel,
        table: ServingTable,
        *,
        temperature: float,
        seed: int,
        alone: float | None = None,
        texts: TextPool | None = None,
        writer: Elsewhere | None = None,
    ) -> None:
        """Join base and table.

        Args:
            lm: with its slots attached.
            table: what is served; it is changed between calls only.
            temperature: of the language model's slot distributions.
            alone: the same where it decides without a critic; None: no other.
            seed: with the request's id it seeds a request's decision, so that a repeat decides alike.
            texts: where messages come from; by default an empty pool.
            writer: writes the texts instead.
        """
        for what in TOLD_APART:
            TOKENS.labels(what)
        self._lm, self.table = lm, table
        self._texts = texts or TextPool(lm)
        self._writer = writer
        self._temperatures, self._seed = (temperature, alone), seed

    @property
    def waited_s(self) -> float:
        """How long the last batch waited for texts from elsewhere: nothing that the next one must expect."""
        return self._writer.waited_s if self._writer is not None else 0.0

    def answer(self, asks: Sequence[Ask], due_s: float = math.inf) -> list[Strategy]:
        """Strategies for requests in time, in order: one batch, whatever their kinds, arms and adapters.

        Args:
            asks: the requests.
            due_s: on `time.monotonic`: texts from elsewhere are not waited for beyond.
        """
        versions = [self.table.version_for(ask.request) for ask in asks]
        # Rows of one adapter stand together, so that each adapter is one product a layer.
        order = sorted(range(len(asks)), key=versions.__getitem__)
        # Admission: until release these slots cannot be overwritten, whatever is announced meanwhile.
        admitted = [self.table.slots.admit(versions[place]) for place in order]
        try:
            answered = self._decode(
                [asks[place] for place in order], [versions[place] for place in order], admitted, due_s
            )
        finally:
            for slot in admitted:
                self.table.slots.release(slot)
        answers = dict(zip(order, answered, strict=True))
        return [answers[place] for place in range(len(asks))]

    def answer_late(self, asks: Sequence[Ask]) -> list[Strategy]:
        """Strategies for requests past their deadline: the critic alone, and template texts."""
        return answer_late(asks, self.table, self.table.knobs(BASE_ALONE, *self._temperatures), self._seed)

    def _decode(
        self, asks: Sequence[Ask], versions: Sequence[str], slots: Sequence[str | None], due_s: float
    ) -> list[Strategy]:
        requests = [ask.request for ask in asks]
        asked = [row for row, version in enumerate(versions) if self.table.asks_lm(requests[row], version)]
        prompts = self._encoded([requests[row] for row in asked]) if asked else None
        with self._lm.use_adapters([slots[row] for row in asked]):
            session = self._lm.session(prompts, [requests[row] for row in asked]) if prompts else None
            decided = self._decide(asks, versions, _Session(session, asked, len(asks)))
        spelling = self._lm.spelling
        TOKENS.labels("decision").inc(
            sum(decision_tokens(spelling, requests[row], decided[row].decision) for row in asked)
        )
        texts = self._texts_of(asks, decided, due_s)
        return [self._strategy(ask, one, text) for ask, one, text in zip(asks, decided, texts, strict=True)]

    def _encoded(self, requests: Sequence[StrategyRequest]) -> PromptBatch:
        """The prompts, counted."""
        prefixes = self._lm.prefixes
        before = copy(prefixes.figures) if prefixes else None
        prompts = self._lm.encode(requests)
        TOKENS.labels("prompt").inc(sum(prompts.lengths))
        found = 0
        if prefixes and before:
            found = prefixes.figures.found - before.found
            TOKENS.labels("prompt_kept").inc(prefixes.figures.tokens - before.tokens)
            PREFIX_BYTES.set(prefixes.nbytes)
        PROMPTS.labels("yes").inc(found)
        PROMPTS.labels("no").inc(len(prompts) - found)
        return prompts

    def _texts_of(self, asks: Sequence[Ask], decided: Sequence[Decided], due_s: float) -> list[str]:
        requests, decisions = [ask.request for ask in asks], [one.decision for one in decided]
        rng = np.random.default_rng(stable_seed("message", asks[0].request.request_id, str(self._seed)))
        if self._writer is not None:
            return self._writer.texts(requests, decisions, rng, due_s)
        texts = self._texts.texts(requests, decisions, MAX_MESSAGE_TOKENS, rng)
        TOKENS.labels("message").inc(sum(len(self._lm.spelling.ids(text)) for text in texts))
        return texts

    def _decide(self, asks: Sequence[Ask], versions: Sequence[str], session: Decoder) -> list[Decided]:
        return decide(
            [ask.request for ask in asks],
            [ask.grid for ask in asks],
            self.table.critic,
            session,
            [rng_of(ask, self._seed) for ask in asks],
            [self.table.knobs(version, *self._temperatures) for version in versions],
        )

    def _strategy(self, ask: Ask, decided: Decided, raw: str) -> Strategy:
        made = strategy_of(ask, decided, raw, self.table)
        if made.message.source == "model" and self._writer is None:
            self._texts.keep(ask.request, decided.decision, raw)
        return made


class _Session:
    """A session of some rows of a batch: those in whose decision the language model has a share. The others cost it nothing."""

    def __init__(self, session: Decoder | None, rows: Sequence[int], size: int) -> None:
        self._session, self._rows, self._size = session, rows, size

    def log_probs(self) -> list[npt.NDArray[np.floating]]:
        found: list[npt.NDArray[np.floating]] = [np.zeros(0)] * self._size
        for row, logs in zip(self._rows, self._session.log_probs() if self._session else (), strict=True):
            found[row] = logs
        return found

    def choose(self, indices: Sequence[int]) -> None:
        if self._session is not None:
            self._session.choose([indices[row] for row in self._rows])


def decision_tokens(spelling: Spelling, request: StrategyRequest, decision: Mapping[str, str]) -> int:
    """Tokens after the prompt that a decision is: the start, and each slot with the value that was chosen."""
    grammar = grammar_of(request)
    places = {candidate.id: place for place, candidate in enumerate(request.candidates)}
    count = len(spelling.start)
    for slot, value in decision.items():
        pointed = slot in grammar.candidate_slots
        path = spelling.tag(places[value]) if pointed else spelling.value_path(grammar.closed[slot], value)
        count += len(spelling.slot(slot)) + len(path)
    return count
