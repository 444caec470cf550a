"""From requests to finished strategies: encode, decide, write, explain. No Kafka, no Redis, no clock."""

from collections.abc import Mapping, Sequence

import numpy as np

from model.explain import explain
from model.lm import LanguageModel
from model.message import finish
from model.policy import Decided, decide
from model.spelling import Spelling
from model.texts import TextPool
from model.validity import valid_until
from services.metrics import TOKENS
from services.worker_intake import Ask
from services.worker_serving import ServingTable
from streaming.contracts.adapters import BASE_ALONE
from streaming.contracts.ids import stable_seed
from streaming.contracts.strategies import Strategy, StrategyRequest, grammar_of

MAX_MESSAGE_TOKENS = 48
TEMPLATE = ""
"""An empty raw text: the message is a plain template."""


class Answerer:
    """Answers requests with what the serving table holds."""

    def __init__(self, lm: LanguageModel, table: ServingTable, *, temperature: float, seed: int) -> None:
        """Join base and table.

        Args:
            lm: with its slots attached.
            table: what is served; it is changed between calls only.
            temperature: of the language model's slot distributions.
            seed: with the request's id it seeds a request's decision, so that a repeat decides alike.
        """
        self._lm, self.table = lm, table
        self._texts = TextPool(lm)
        self._temperature, self._seed = temperature, seed

    def answer(self, asks: Sequence[Ask]) -> list[Strategy]:
        """Strategies for requests in time, in order: one session per adapter that is served."""
        groups: dict[str, list[int]] = {}
        for position, ask in enumerate(asks):
            groups.setdefault(self.table.version_for(ask.request), []).append(position)
        answers: dict[int, Strategy] = {}
        for version, positions in groups.items():
            # Admission: until release this slot cannot be overwritten, whatever is announced meanwhile.
            admitted = [self.table.slots.admit(version) for _ in positions]
            try:
                answered = self._decode([asks[position] for position in positions], version, admitted[0])
            finally:
                for slot in admitted:
                    self.table.slots.release(slot)
            answers.update(zip(positions, answered, strict=True))
        return [answers[position] for position in range(len(asks))]

    def answer_late(self, asks: Sequence[Ask]) -> list[Strategy]:
        """Strategies for requests past their deadline: the critic alone, and template texts."""
        decided = self._decide(asks, BASE_ALONE, None)
        return [self._strategy(ask, one, TEMPLATE) for ask, one in zip(asks, decided, strict=True)]

    def _decode(self, asks: Sequence[Ask], version: str, slot: str | None) -> list[Strategy]:
        requests = [ask.request for ask in asks]
        prompts = self._lm.encode(requests)
        TOKENS.labels("prompt").inc(sum(prompts.lengths))
        with self._lm.use_adapter(slot):
            session = self._lm.session(prompts, requests)
            decided = self._decide(asks, version, session)
        spelled = zip(requests, decided, strict=True)
        TOKENS.labels("decision").inc(
            sum(decision_tokens(self._lm.spelling, request, one.decision) for request, one in spelled)
        )
        rng = np.random.default_rng(stable_seed("message", asks[0].request.request_id, str(self._seed)))
        texts = self._texts.texts(requests, [one.decision for one in decided], MAX_MESSAGE_TOKENS, rng)
        TOKENS.labels("message").inc(sum(len(self._lm.spelling.ids(text)) for text in texts))
        return [self._strategy(ask, one, text) for ask, one, text in zip(asks, decided, texts, strict=True)]

    def _decide(self, asks: Sequence[Ask], version: str, session: object) -> list[Decided]:
        return decide(
            [ask.request for ask in asks],
            [ask.grid for ask in asks],
            self.table.critic,
            session,  # type: ignore[arg-type]  # None or a session of the language model
            [np.random.default_rng(stable_seed(ask.request.request_id, str(self._seed))) for ask in asks],
            self.table.knobs(version, self._temperature),
        )

    def _strategy(self, ask: Ask, decided: Decided, raw: str) -> Strategy:
        message, checks = finish(raw, ask.request, decided.decision)
        if message.source == "model":
            self._texts.keep(ask.request, decided.decision, raw)
        return Strategy(
            strategy_id=ask.strategy_id,
            request_id=ask.request.request_id,
            user_id=ask.request.user_id,
            kind=ask.request.kind,
            issued_at=ask.request.issued_at,
            decision=decided.decision,
            message=message,
            valid_until=valid_until(ask.request, decided.decision),
            policy=decided.record,
            propensity=decided.propensity,
            slot_propensities=decided.slot_propensities,
            explanation=explain(ask.request, decided, self.table.mean_values, self.table.weights),
            checks=checks,
            request=ask.request,
        )


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
