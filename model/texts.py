"""Message texts kept per context: what a text may depend on is little, so the model need not write it anew each time.

A raw text depends on kind, moment, language and closed values alone (`model/writing.py`). Per such context the model
writes until a few variants have passed the checks of `message.py`; after that requests share them. At a steady state that saves most of the decoding time, because a
served policy keeps to few contexts per customer group.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np

from model.lm import LanguageModel
from model.writing import context, write
from streaming.contracts.strategies import StrategyRequest

VARIANTS = 4
"""Texts per context before they are shared: customers should not all read the same sentence."""
MAX_CONTEXTS = 50_000
"""Contexts remembered, the longest unused forgotten first; some tens of megabytes."""

Context = tuple[str, ...]


class TextPool:
    """Raw message texts by context. One thread's own."""

    def __init__(self, lm: LanguageModel, *, variants: int = VARIANTS, max_contexts: int = MAX_CONTEXTS) -> None:
        """Begin empty.

        Args:
            lm: writes, by its bare base.
            variants: different texts per context before they are shared, at least 1.
            max_contexts: bound of the memory.
        """
        self._lm, self._variants, self._most = lm, variants, max_contexts
        self._texts: OrderedDict[Context, list[str]] = OrderedDict()

    def texts(
        self,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Mapping[str, str]],
        max_tokens: int,
        rng: np.random.Generator,
    ) -> list[str]:
        """One raw text per decision, kept or written just now.

        Args:
            requests: what was asked.
            decisions: slot → value.
            max_tokens: bound of a text that is written.
            rng: draws the words, and among variants.
        """
        contexts = [context(request, decision) for request, decision in zip(requests, decisions, strict=True)]
        full = [len(self._texts.get(known, ())) >= self._variants for known in contexts]
        chosen = [self._one_of(known, rng) if enough else "" for known, enough in zip(contexts, full, strict=True)]
        new = [row for row, enough in enumerate(full) if not enough]
        written = write(
            self._lm, [requests[row] for row in new], [decisions[row] for row in new], max_tokens=max_tokens, rng=rng
        )
        for row, text in zip(new, written, strict=True):
            chosen[row] = text
        return chosen

    def keep(self, request: StrategyRequest, decision: Mapping[str, str], text: str) -> None:
        """A raw text has passed its checks: others of its context may have it too."""
        known = self._texts.setdefault(context(request, decision), [])
        if len(known) < self._variants and text not in known:
            known.append(text)
        while len(self._texts) > self._most:
            self._texts.popitem(last=False)

    def _one_of(self, known: Context, rng: np.random.Generator) -> str:
        self._texts.move_to_end(known)
        kept = self._texts[known]
        return kept[int(rng.integers(len(kept)))]
