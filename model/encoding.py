"""Prompts from tokens to what decoding needs of them, by the bare base; what was read before is not read again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from model.batch import PromptBatch, cache_of, memory_of
from model.layout import Chain, Plan, pieces, plan
from model.prefixes import Part, PrefixCache
from model.spelling import Spelled

if TYPE_CHECKING:
    from model.lm import LanguageModel

Parts = dict[Chain, Part]


def encoded(lm: "LanguageModel", spelled: Sequence[Spelled]) -> PromptBatch:
    """The prompts, padded on the right. Parts that were read before are taken from `lm.prefixes`, and new ones told to it."""
    found = [_found(lm.prefixes, each) for each in spelled]
    plans = [plan(each, of.__contains__) for each, of in zip(spelled, found, strict=True)]
    known = [[of[piece.chain] for piece in one.known] for one, of in zip(plans, found, strict=True)]
    read = _read_lean if lm.lean is not None else _read_padded
    states, memory = read(lm, plans, known)
    if lm.prefixes is not None:
        for one, of, own, kept in zip(plans, found, states, memory, strict=True):
            _tell(lm.prefixes, one, of, own, kept)
    lengths, depths = tuple(one.length for one in plans), tuple(one.depth for one in plans)
    return PromptBatch(memory, lengths, depths, _pooled(plans, known, states))


def read_whole(lm: "LanguageModel", spelled: Sequence[Spelled]) -> tuple[PromptBatch, Tensor, Tensor]:
    """The same in one pass, with its (B, L, D) states and (B, L) tokens, differentiable in the base: pretraining's way in."""
    plans = [plan(each) for each in spelled]
    states, memory, tokens = _padded_pass(lm, plans, [[] for _ in plans])
    lengths, depths = tuple(one.length for one in plans), tuple(one.depth for one in plans)
    own = [states[row, :length] for row, length in enumerate(lengths)]
    return PromptBatch(memory, lengths, depths, _pooled(plans, [[] for _ in plans], own)), states, tokens


def _found(cache: PrefixCache | None, spelled: Spelled) -> Parts:
    return cache.find([piece.chain for piece in pieces(spelled)[:-1]]) if cache is not None else {}


def _tell(cache: PrefixCache, one: Plan, found: Parts, states: Tensor, memory: Tensor) -> None:
    """A prompt's parts, the moment's excepted, which does not come again."""
    runs, begin = dict[Chain, tuple[int, int]](), 0
    for piece in one.fresh[:-1]:
        runs[piece.chain] = begin, begin + len(piece.tokens)
        begin += len(piece.tokens)
    before = one.length - len(one.tokens)

    def made(chain: Chain) -> Part:
        if chain in found:
            return found[chain]
        start, end = runs[chain]
        return Part(memory[..., before + start : before + end, :], states[start:end].sum(0))

    cache.keep([piece.chain for piece in (*one.known, *one.fresh[:-1])], made)


def _read_lean(
    lm: "LanguageModel", plans: Sequence[Plan], known: Sequence[Sequence[Part]]
) -> tuple[Sequence[Tensor], Tensor]:
    """End to end: per prompt the (tokens read, D) states of what was read, and the memory of all."""
    assert lm.lean is not None
    memory = lm.lean.memory(len(plans), max(one.length for one in plans))
    bounds = [(one.length - len(one.tokens), one.length) for one in plans]
    for row, (parts, (start, _)) in enumerate(zip(known, bounds, strict=True)):
        if parts:
            torch.cat([part.memory for part in parts], 3, out=memory[row, ..., :start, :])
    tokens, positions, *sees = (
        torch.from_numpy(each).to(lm.device)
        for each in (
            np.concatenate([one.tokens for one in plans]),
            np.concatenate([one.positions for one in plans]),
            *(one.sees for one in plans),
        )
    )
    states = lm.lean.read(lm.backbone.get_input_embeddings()(tokens), positions, memory, bounds, sees)
    return torch.split(states, [len(one.tokens) for one in plans]), memory


def _read_padded(
    lm: "LanguageModel", plans: Sequence[Plan], known: Sequence[Sequence[Part]]
) -> tuple[Sequence[Tensor], Tensor]:
    """The same by a backbone's own pass."""
    states, memory, _ = _padded_pass(lm, plans, known)
    return [states[row, : len(one.tokens)] for row, one in enumerate(plans)], memory


def _padded_pass(
    lm: "LanguageModel", plans: Sequence[Plan], known: Sequence[Sequence[Part]]
) -> tuple[Tensor, Tensor, Tensor]:
    """All prompts padded to one width of what is read and to another of what is known: (B, W, D) states, memory, (B, W) tokens."""
    width, before = max(len(one.tokens) for one in plans), max(one.length - len(one.tokens) for one in plans)
    tokens, positions = np.zeros((2, len(plans), width), dtype=np.int64)
    sees = np.zeros((len(plans), width, before + width), dtype=bool)
    sees[:, :, before:] = np.eye(width, dtype=bool)  # padding sees itself: nothing at all is no distribution
    for row, one in enumerate(plans):
        fresh, start = len(one.tokens), one.length - len(one.tokens)
        tokens[row, :fresh], positions[row, :fresh] = one.tokens, one.positions
        sees[row, :fresh, :start], sees[row, :fresh, before : before + fresh] = one.sees[:, :start], one.sees[:, start:]
    given, places, seen = (torch.from_numpy(each).to(lm.device) for each in (tokens, positions, sees))
    cache = cache_of(_side_by_side(known, before)) if before else DynamicCache()
    with lm.use_adapter(None):
        states = lm.forward(lm.backbone.get_input_embeddings()(given), places, seen, cache)
    return states, _closed_up(memory_of(cache), plans, before), given


def _side_by_side(known: Sequence[Sequence[Part]], width: int) -> Tensor:
    """What is known of each prompt as one memory, padded on the right."""
    like = next(parts[0].memory for parts in known if parts)
    rows = [torch.cat([part.memory for part in parts], 3) if parts else like[:, :, :, :0] for parts in known]
    return torch.stack([pad(row, (0, 0, 0, width - row.shape[3])) for row in rows])


def _closed_up(memory: Tensor, plans: Sequence[Plan], before: int) -> Tensor:
    """The memory without the gaps between what was known and what was read."""
    if not before:
        return memory
    rows, most = [], max(one.length for one in plans)
    for row, one in zip(memory, plans, strict=True):
        start, fresh = one.length - len(one.tokens), len(one.tokens)
        whole = torch.cat((row[..., :start, :], row[..., before : before + fresh, :]), 3)
        rows.append(pad(whole, (0, 0, 0, most - one.length)))
    return torch.stack(rows)


def _pooled(plans: Sequence[Plan], known: Sequence[Sequence[Part]], states: Sequence[Tensor]) -> Tensor:
    """(B, N, D) mean state over each candidate's tokens; zeros where there is none."""
    most = max(one.moment for one in plans) + 1  # heads and moments have a row each as well, and are cut off
    counts, into, into_known = np.ones((len(plans), most)), list[npt.NDArray[np.int64]](), list[int]()
    for row, one in enumerate(plans):
        owners = one.owners()
        counts[row] = np.maximum(np.bincount(owners, minlength=most), 1)
        into.append(row * most + owners[one.length - len(one.tokens) :])
        into_known += [row * most + piece.owner for piece in one.known]
    read = torch.cat(list(states))
    sums = read.new_zeros(len(plans) * most, read.shape[1])
    sums = sums.index_add(0, torch.from_numpy(np.concatenate(into)).to(read.device), read)
    if into_known:
        kept = torch.stack([part.summed for parts in known for part in parts])
        sums = sums.index_add(0, torch.tensor(into_known, device=read.device), kept)
    weights = torch.from_numpy(counts).to(read.device, read.dtype)
    means: Tensor = sums.view(len(plans), most, -1) / weights[..., None]
    return means[:, 1 : most - 1]
