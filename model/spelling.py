"""One tokenizer's spelling of what we say: prompts, slots, values, tags and messages as token ids."""

from functools import lru_cache
from typing import Any

from model import prompt as text
from model.trie import Path, TokenTrie, build, prefix_free
from streaming.contracts.strategies import Slot, StrategyRequest, grammar_of

MAX_WORD_TOKENS = 14
"""Of a candidate's words: a long name may not make the prompt long, nor push out what relates it to the customer."""
MAX_PIECE_TOKENS = 24


class Spelling:
    """Token ids of every piece, each tokenised alone; special ids never come out of written text."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a fast tokenizer of transformers."""
        self.tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids)
        self.ids = lru_cache(maxsize=65536)(self._ids)
        self.slot_trie = lru_cache(maxsize=4096)(self._slot_trie)
        self.paths = lru_cache(maxsize=4096)(self._paths)
        self.start = self.ids(text.START)
        self.message = self.ids(text.MESSAGE)
        self.end = self.ids(text.END)
        self.ends = (self.end[0], *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []))

    def _ids(self, piece: str) -> Path:
        ids = self.tokenizer(piece, add_special_tokens=False)["input_ids"]
        return tuple(token for token in ids if token not in self._special)

    def tag(self, place: int) -> Path:
        """The token path that names the candidate at `place`."""
        return self.ids(text.tag(place))

    def slot(self, name: str) -> Path:
        """What the suffix says before the value of slot `name`."""
        return self.ids(text.slot_text(name))

    def value_path(self, closed: tuple[str, ...], value: str) -> Path:
        """The canonical path of a value of a slot, the same whichever of its values a request allows.

        Args:
            closed: all values of the slot by its kind's grammar; `ValueError` where `value` is none of them.
            value: the one to spell.
        """
        return self.paths(closed)[closed.index(value)]

    def _paths(self, closed: tuple[str, ...]) -> tuple[Path, ...]:
        """One path per value, none of them another's prefix. Numbered where this tokenizer writes two of them alike."""
        spelled = [self.ids(text.value_text(value)) for value in closed]
        if not all(spelled) or len(set(spelled)) < len(spelled):
            spelled = [self.ids(text.value_text(f"{place} {value}")) for place, value in enumerate(closed)]
        return prefix_free(spelled, self.end[-1])

    def _slot_trie(self, closed: tuple[str, ...], values: tuple[str, ...]) -> TokenTrie:
        return build(tuple(self.value_path(closed, value) for value in values))

    def trie_of(self, request: StrategyRequest, slot: Slot) -> TokenTrie:
        """The trie of the values that a request allows in a closed slot."""
        return self.slot_trie(grammar_of(request).closed[slot.name], slot.values)

    def candidate(self, words: str) -> Path:
        """A candidate's text: as much of its words as is read, then all of its levels."""
        end = words.index(text.LEVELS_BEGIN)
        return self.ids(words[:end])[:MAX_WORD_TOKENS] + self.ids(words[end:])

    def prompt(self, request: StrategyRequest) -> tuple[Path, tuple[tuple[int, int], ...]]:
        """The prompt's ids, and per candidate the half-open span of its text among them."""
        rendered = text.render(request)
        ids = [self.tokenizer.bos_token_id] if self.tokenizer.bos_token_id is not None else []
        spans = []
        for words, tag in zip(rendered.candidates, rendered.tags, strict=True):
            begin = len(ids)
            ids += self.candidate(words)
            spans.append((begin, len(ids)))
            ids += self.ids(tag)
        for piece in rendered.moment:
            ids += self.ids(piece)[:MAX_PIECE_TOKENS]
        return tuple(ids), tuple(spans)
