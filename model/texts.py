"""Message texts kept per context: what a text may depend on is little, so the model need not write it anew each time.

A raw text depends on kind, moment, language and closed values alone (`model/writing.py`). Per such context the model
writes until variants have passed the checks of `message.py`; requests share them. At a steady state that saves most of the decoding time, because a
served policy keeps to few contexts per customer group.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import UNSET

from model.lm import LanguageModel
from model.writing import context, write
from streaming.contracts.strategies import StrategyRequest

VARIANTS = 4
"""Different texts per context at most: customers should not all read the same sentence."""
MAX_TRIES = 8
"""Texts written for a context without one that passes the checks; after that it is the template's."""
MAX_CONTEXTS = 50_000
"""Contexts remembered, the longest unused forgotten first; some tens of megabytes."""

Context = tuple[str, ...]


@dataclass
class _Known:
    """Texts of one context that passed, and how many were written."""

    texts: list[str] = field(default_factory=list)
    tries: int = 0


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
        self._contexts: OrderedDict[Context, _Known] = OrderedDict()

    def texts(
        self,
        requests: Sequence[StrategyRequest],
        decisions: Sequence[Mapping[str, str]],
        max_tokens: int,
        rng: np.random.Generator,
    ) -> list[str]:
        """One raw text per decision, kept or written just now; empty where the model has failed too often.

        A step of writing costs almost the same for one row as for all, so the model writes when some context has nothing
        yet, and then for every context that lacks variants.

        Args:
            requests: what was asked.
            decisions: slot → value.
            max_tokens: bound of a text that is written.
            rng: draws the words, and among variants.
        """
        contexts = [context(request, decision) for request, decision in zip(requests, decisions, strict=True)]
        known = [self._known(of) for of in contexts]
        shipped = [request.grammar is UNSET for request in requests]  # a declared kind brings its own text
        if any(own and not each.texts and each.tries < MAX_TRIES for own, each in zip(shipped, known, strict=True)):
            new = [row for row, each in enumerate(known) if shipped[row] and len(each.texts) < self._variants]
        else:
            new = []
        chosen = [each.texts[int(rng.integers(len(each.texts)))] if each.texts else "" for each in known]
        written = write(
            self._lm, [requests[row] for row in new], [decisions[row] for row in new], max_tokens=max_tokens, rng=rng
        )
        for row, text in zip(new, written, strict=True):
            chosen[row] = text
            known[row].tries += 1
        return chosen

    def keep(self, request: StrategyRequest, decision: Mapping[str, str], text: str) -> None:
        """A raw text has passed its checks: others of its context may have it too."""
        known = self._known(context(request, decision))
        if len(known.texts) < self._variants and text not in known.texts:
            known.texts.append(text)

    def _known(self, of: Context) -> _Known:
        """What is known of a context, which is thereby the last to be forgotten."""
        found = self._contexts.setdefault(of, _Known())
        self._contexts.move_to_end(of)
        while len(self._contexts) > self._most:
            self._contexts.popitem(last=False)
        return found
