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
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import StrategyRequest

TEMPERATURE = 0.7
"""Of the message's words; decisions have their own."""


def context(request: StrategyRequest, decision: Mapping[str, str]) -> tuple[str, ...]:
    """The pieces before a message, hence all that it can depend on."""
    moment = (f" kind={request.kind}", f" trigger={request.trigger}", f" language={request.language}", text.START)
    closed = GRAMMARS[request.kind].closed
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


def _continue(
    lm: LanguageModel, contexts: Sequence[Path], max_tokens: int, rng: np.random.Generator
) -> list[list[int]]:
    """Sampling of the whole batch, one token a step, until every row has ended. Contexts are padded on the left."""
    width = max(len(ids) for ids in contexts)
    tokens = torch.tensor([[0] * (width - len(ids)) + list(ids) for ids in contexts], device=lm.device)
    real = torch.tensor([[False] * (width - len(ids)) + [True] * len(ids) for ids in contexts], device=lm.device)
    triangle = torch.ones(width, width, dtype=torch.bool, device=lm.device).tril()
    sees = real[:, None] & triangle | torch.eye(width, dtype=torch.bool, device=lm.device)
    positions = (real.cumsum(1) - 1).clamp_min(0)
    cache = DynamicCache()
    written: list[list[int]] = [[] for _ in contexts]
    ended = np.zeros(len(contexts), dtype=bool)
    embed, head = lm.backbone.get_input_embeddings(), lm.causal.get_output_embeddings()
    for step in range(max_tokens):
        states = lm.forward(embed(tokens), positions, sees, cache)
        sampled = _sample(head(states[:, -1]), rng)
        ended |= np.isin(sampled, lm.spelling.ends)
        for row in np.flatnonzero(~ended):
            written[row].append(int(sampled[row]))
        if ended.all() or step == max_tokens - 1:
            break
        tokens = torch.from_numpy(sampled).to(lm.device)[:, None]
        real = torch.cat((real, real.new_ones(len(contexts), 1)), 1)
        sees, positions = real[:, None], positions[:, -1:] + 1
    return written


def _sample(logits: torch.Tensor, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """One token per row by inversion of the cumulated probabilities."""
    weights = torch.softmax(logits.double() / TEMPERATURE, -1).cumsum(-1).cpu().numpy()
    draws = rng.random((len(weights), 1)) * weights[:, -1:]
    return np.minimum((weights < draws).sum(-1), weights.shape[1] - 1).astype(np.int64)
