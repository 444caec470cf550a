"""The peer of serving: transformers' `generate` with the adapter active by peft and a grammar by llguidance.

It reads the same prompt and writes the same document, slot by slot in the base's own words, which is the shortest form (JSON has more
tokens). It explains nothing and knows no exact probability. The message is written from the short context on which the base was
trained to write it, as ours is: after the whole prompt this base writes long nonsense, which would cost the peer more.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from llguidance.torch import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask
from torch import Tensor
from transformers import LogitsProcessor

from model import prompt as text
from model.lm import LanguageModel
from model.writing import TEMPERATURE, context
from streaming.contracts.kinds import GRAMMARS
from streaming.contracts.strategies import StrategyRequest

MAX_DECISION_TOKENS = 64


def grammar(request: StrategyRequest) -> str:
    """What may follow the prompt, in llguidance's Lark: every slot with one of its values; candidates by their tags."""
    pointed = GRAMMARS[request.kind].candidate_slots
    places = {candidate.id: place for place, candidate in enumerate(request.candidates)}
    parts = [json.dumps(text.START)]
    for slot in request.slots:
        named = [text.tag(places[v]) if slot.name in pointed else text.value_text(v) for v in slot.values]
        parts += [json.dumps(text.slot_text(slot.name)), f"({' | '.join(json.dumps(value) for value in named)})"]
    return "start: " + " ".join(parts)


class Constrained(LogitsProcessor):
    """A grammar per row."""

    def __init__(self, tokenizer: Any, grammars: Sequence[str], width: int) -> None:
        """Compile the grammars; `width` tokens are the prompt."""
        self._matchers = [LLMatcher(tokenizer, each) for each in grammars]
        if errors := [matcher.get_error() for matcher in self._matchers if matcher.is_error()]:
            raise ValueError(errors[0])
        self._width, self._mask = width, allocate_token_bitmask(len(grammars), tokenizer.vocab_size)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores with what the grammar forbids at minus infinity."""
        for row, matcher in enumerate(self._matchers):
            if input_ids.shape[1] > self._width and not matcher.is_stopped():
                matcher.consume_token(int(input_ids[row, -1]))
            fill_next_token_bitmask(matcher, self._mask, row)
        apply_token_bitmask_inplace(scores, self._mask)
        return scores


class Generator:
    """Plain `generate` over a base with peft's layers."""

    def __init__(self, lm: LanguageModel, slot: str, temperature: float) -> None:
        """Serve `slot` of this base."""
        self._lm, self._slot, self._temperature = lm, slot, temperature
        self._grammar_tokenizer = from_tokenizer(lm.spelling.tokenizer)

    def decide(self, requests: Sequence[StrategyRequest]) -> list[str]:
        """A document per request."""
        prompts = [self._lm.spelling.prompt(request)[0] for request in requests]
        ids, mask = self._padded(prompts)
        constrained = Constrained(self._grammar_tokenizer, [grammar(request) for request in requests], ids.shape[1])
        with self._lm.use_adapter(self._slot):
            return self._generate(ids, mask, self._temperature, MAX_DECISION_TOKENS, [constrained])

    def write(
        self, requests: Sequence[StrategyRequest], decisions: Sequence[dict[str, str]], max_tokens: int
    ) -> list[str]:
        """A message per decision, by the bare base."""
        spelling = self._lm.spelling
        contexts = [
            [token for piece in context(request, decision) for token in spelling.ids(piece)]
            for request, decision in zip(requests, decisions, strict=True)
        ]
        ids, mask = self._padded(contexts)
        with self._lm.use_adapter(None):
            return self._generate(ids, mask, TEMPERATURE, max_tokens, [])

    def _generate(
        self, ids: Tensor, mask: Tensor, temperature: float, max_tokens: int, processors: list[Any]
    ) -> list[str]:
        tokenizer = self._lm.spelling.tokenizer
        with torch.inference_mode():
            out = self._lm.causal.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max_tokens,
                logits_processor=processors,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=list(self._lm.spelling.ends),
            )
        texts: list[str] = tokenizer.batch_decode(out[:, ids.shape[1] :], skip_special_tokens=True)
        return texts

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        width, pad = max(len(ids) for ids in prompts), self._lm.spelling.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(each)) + list(each) for each in prompts], device=self._lm.device)
        mask = torch.tensor([[0] * (width - len(each)) + [1] * len(each) for each in prompts], device=self._lm.device)
        return ids, mask
