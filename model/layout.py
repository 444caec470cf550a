"""Where a prompt's tokens stand and what each of them sees: candidates beside each other, then the moment after all of them.

Pure NumPy. A candidate is read as though it were the only one: its tokens see what is before all of them (the head) and each other,
and it stands at the same positions whichever place it has. So it becomes the same in every prompt, may be kept, and the
order of candidates says nothing. The moment sees everything.

References:
    Ratner et al. (2023), Parallel context windows for large language models, arXiv 2212.10947: the same positions for each.
    Gim et al. (2024), Prompt Cache: modular attention reuse for low-latency inference, arXiv 2311.04934: parts read by themselves.
"""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from model.spelling import Spelled
from model.trie import Path

CANDIDATE_PLACES = 32
"""Positions between head and moment. A longer candidate shares positions with the moment: what sees what is told by no position."""
HEAD = 0
"""Whose tokens the head's are; candidates' are those of 1 and on, the moment's of one more."""

Chain = tuple[Path, ...]
"""A part's tokens, the last ones, and those of the parts before it, none of them empty."""


class Piece(msgspec.Struct, frozen=True):
    """A part of a prompt: what it is after and as (of the moment its tokens alone), whose it is, and its first position."""

    chain: Chain
    owner: int
    position: int

    @property
    def tokens(self) -> Path:
        """Its own."""
        return self.chain[-1]


class Plan(msgspec.Struct, frozen=True):
    """How a prompt is read: K tokens of it are known, F are fresh, the moment's the last of them.

    Args:
        known, fresh: the parts, in order.
        tokens, positions: (F,).
        sees: (F, K + F) whether a fresh token sees a known or a fresh one.
    """

    known: tuple[Piece, ...]
    fresh: tuple[Piece, ...]
    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    sees: npt.NDArray[np.bool_]

    @property
    def length(self) -> int:
        """K + F."""
        return int(self.sees.shape[1])

    @property
    def depth(self) -> int:
        """Position of what follows the prompt."""
        return int(self.positions[-1]) + 1

    @property
    def moment(self) -> int:
        """Whose tokens the moment's are: one more than there are candidates."""
        return self.fresh[-1].owner

    def owners(self) -> npt.NDArray[np.int64]:
        """(K + F,) whose tokens they are."""
        return _owners((*self.known, *self.fresh))


def pieces(spelled: Spelled) -> list[Piece]:
    """All parts of a prompt that have tokens."""
    head, found = spelled.head, list[Piece]()
    if head:
        found.append(Piece((head,), HEAD, 0))
    for owner, parts in enumerate(spelled.candidates, HEAD + 1):
        chain, position = found[0].chain if head else (), len(head)
        for part in filter(None, parts):
            chain = (*chain, part)
            found.append(Piece(chain, owner, position))
            position += len(part)
    return [*found, Piece((spelled.moment,), len(spelled.candidates) + 1, len(head) + CANDIDATE_PLACES)]


def plan(spelled: Spelled, is_known: Callable[[Chain], bool] | None = None) -> Plan:
    """How to read a prompt, some parts of which are known; None: none of them."""
    *before, moment = pieces(spelled)
    marks = [is_known is not None and is_known(piece.chain) for piece in before]
    known = tuple(piece for piece, mark in zip(before, marks, strict=True) if mark)
    fresh = (*(piece for piece, mark in zip(before, marks, strict=True) if not mark), moment)
    own, kept = _owners(fresh), _owners(known)
    seen = np.concatenate((kept, own))
    sees = (seen == HEAD) | (seen == own[:, None]) | (own == moment.owner)[:, None]
    sees[:, len(kept) :] &= np.tri(len(own), dtype=bool)
    positions = np.concatenate([np.arange(p.position, p.position + len(p.tokens)) for p in fresh])
    tokens = np.fromiter((token for piece in fresh for token in piece.tokens), np.int64, len(own))
    return Plan(known, fresh, tokens, positions, sees)


def _owners(of: Sequence[Piece]) -> npt.NDArray[np.int64]:
    return np.repeat(np.array([p.owner for p in of], dtype=np.int64), [len(p.tokens) for p in of])
