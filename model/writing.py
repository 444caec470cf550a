"""Message texts, sampled by the bare base from kind, moment, language and the decision's closed values.

Names of products and campaigns are strangers' text: they are not part of what is read here, and not of what is written
either; the text holds placeholders, which `message.py` fills. So nothing in a catalog can steer a sentence.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from transformers import DynamicCache

from model import prompt as text
from model.lm import LanguageModel
from model.trie import Path
from streaming.contracts.strategies import StrategyRequest, grammar_of

TEMPERATURE = 0.7
"""Of the message's words; decisions have their own."""


def context(request: StrategyRequest, decision: Mapping[str, str]) -> tuple[str, ...]:
    """The pieces before a message, hence all that it can depend on."""
    moment = (f" kind={request.kind}", f" trigger={request.trigger}", f" language={request.language}", text.START)
    closed = grammar_of(request).closed
    slots = (
        piece
        for slot in request.slots
        if slot.name in closed
        for piece in (text.slot_text(slot.name), text.value_text(decision[slot.name]))
    )
    return (*moment, *slots, text.MESSAGE)


@torch.no_grad()
def write(
    lm: LanguageModel,
    requests: Sequence[StrategyRequest],
    decisions: Sequence[Mapping[str, str]],
    *,
    max_tokens: int,
    rng: np.random.Generator,
) -> list[str]:
    """One raw text per request: `title | body` with placeholders, at most `max_tokens` tokens, unchecked."""
    if not requests:
        return []
    contexts = [
        tuple(token for piece in context(request, decision) for token in lm.spelling.ids(piece))
        for request, decision in zip(requests, decisions, strict=True)
    ]
    with lm.use_adapter(None):
        written = _continue(lm, contexts, max_tokens, rng)
    return [lm.spelling.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]


class _Flight:
    """The texts still being written: their cache, who sees what, and which rows of the batch they are."""

    def __init__(self, lm: LanguageModel, contexts: Sequence[Path]) -> None:
        """Contexts are padded on the left, so that every text goes on in the same column."""
        width = max(len(ids) for ids in contexts)
        self.lm, self.cache, self.rows = lm, DynamicCache(), np.arange(len(contexts))
        self.tokens = torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in contexts], device=lm.device)
        lengths = torch.tensor([len(ids) for ids in contexts], device=lm.device)
        columns = torch.arange(width, device=lm.device)
        self.real = columns >= width - lengths[:, None]
        triangle = torch.ones(width, width, dtype=torch.bool, device=lm.device).tril()
        self.sees = self.real[:, None] & triangle | torch.eye(width, dtype=torch.bool, device=lm.device)
        self.positions = (self.real.cumsum(1) - 1).clamp_min(0)

    def next_tokens(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """One sampled token per row in flight."""
        embedded = self.lm.backbone.get_input_embeddings()(self.tokens)
        states = self.lm.forward(embedded, self.positions, self.sees, self.cache)
        return _sample(self.lm.causal.get_output_embeddings()(states[:, -1]), rng)

    def go_on(self, sampled: npt.NDArray[np.int64], alive: npt.NDArray[np.bool_]) -> None:
        """Append the sampled tokens; rows that have ended leave when they are many, since a smaller batch is faster."""
        self.tokens = torch.from_numpy(sampled).to(self.lm.device)[:, None]
        self.real = torch.cat((self.real, self.real.new_ones(len(self.rows), 1)), 1)
        self.positions = self.positions[:, -1:] + 1
        if alive.sum() <= LEAVE_BELOW * len(alive):
            kept = torch.from_numpy(np.flatnonzero(alive)).to(self.lm.device)
            self.cache.batch_select_indices(kept)
            self.tokens, self.real, self.positions = self.tokens[kept], self.real[kept], self.positions[kept]
            self.rows = self.rows[alive]
        self.sees = self.real[:, None]


LEAVE_BELOW = 0.7
"""Share of rows alive below which the others are cut out of the batch."""


def _continue(
    lm: LanguageModel, contexts: Sequence[Path], max_tokens: int, rng: np.random.Generator
) -> list[list[int]]:
    """Sampling of the whole batch, one token a step, until every row has ended."""
    flight = _Flight(lm, contexts)
    written: list[list[int]] = [[] for _ in contexts]
    ended = np.zeros(len(contexts), dtype=bool)
    for _ in range(max_tokens):
        sampled = flight.next_tokens(rng)
        ended[flight.rows] |= np.isin(sampled, lm.spelling.ends)
        alive = ~ended[flight.rows]
        for row, token in zip(flight.rows[alive], sampled[alive], strict=True):
            written[row].append(int(token))
        if not alive.any():
            break
        flight.go_on(sampled, alive)
    return written


def _sample(logits: torch.Tensor, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """One token per row by inversion of the cumulated probabilities."""
    weights = torch.softmax(logits.float() / TEMPERATURE, -1).cumsum(-1).cpu().numpy()
    draws = rng.random((len(weights), 1)) * weights[:, -1:]
    tokens: npt.NDArray[np.int64] = (weights < draws).sum(-1).clip(max=weights.shape[1] - 1)
    return tokens
