"""Prompts from tokens to what decoding needs of them, by the bare base; what was read before is not read again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache

from model.batch import PromptBatch, cache_of
from model.pointer import pool, pool_runs
from model.prefixes import BLOCK, Block
from model.trie import Path

if TYPE_CHECKING:
    from model.lm import LanguageModel

Spelled = tuple[Path, tuple[tuple[int, int], ...]]
"""A prompt's tokens, and the spans of its candidates among them."""


def encoded(lm: "LanguageModel", spelled: Sequence[Spelled]) -> PromptBatch:
    """The prompts, padded on the right. What they begin with is taken from `lm.prefixes`, and told to it."""
    if lm.lean is None and lm.prefixes is None:
        return read_whole(lm, spelled)[0]
    lengths = tuple(len(ids) for ids, _ in spelled)
    found = [lm.prefixes.find(ids) if lm.prefixes is not None else [] for ids, _ in spelled]
    starts = tuple(len(blocks) * BLOCK for blocks in found)
    fresh = [ids[start:] for (ids, _), start in zip(spelled, starts, strict=True)]
    read = _read_lean if lm.lean is not None else _read_padded
    own, memory = read(lm, fresh, found, lengths)
    states = [
        torch.cat([*(block.states for block in blocks), part]) if blocks else part
        for blocks, part in zip(found, own, strict=True)
    ]
    if lm.prefixes is not None:
        for row, (ids, _) in enumerate(spelled):
            lm.prefixes.keep(ids, memory[row], states[row])
    return PromptBatch(memory, lengths, pool_runs(torch.cat(states), [spans for _, spans in spelled], lengths))


def read_whole(lm: "LanguageModel", spelled: Sequence[Spelled]) -> tuple[PromptBatch, Tensor, Tensor]:
    """The same with its (B, L, D) states and (B, L) tokens, differentiable in the base: pretraining's way in."""
    lengths = tuple(len(ids) for ids, _ in spelled)
    spans = np.zeros((len(spelled), max(len(s) for _, s in spelled), max(lengths)), dtype=bool)
    for row, (_, candidates) in enumerate(spelled):
        for place, (begin, end) in enumerate(candidates):
            spans[row, place, begin:end] = True
    read = _padded([ids for ids, _ in spelled], lm.device)
    width = read.shape[1]
    sees = torch.ones(width, width, dtype=torch.bool, device=lm.device).tril().expand(len(lengths), -1, -1)
    positions = torch.arange(width, device=lm.device).expand(len(lengths), -1)
    cache = DynamicCache()
    with lm.use_adapter(None):
        states = lm.forward(lm.backbone.get_input_embeddings()(read), positions, sees, cache)
    return PromptBatch(_memory_of(cache), lengths, pool(states, torch.from_numpy(spans).to(lm.device))), states, read


def _read_lean(
    lm: "LanguageModel", fresh: Sequence[Path], found: Sequence[Sequence[Block]], lengths: Sequence[int]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """End to end: per prompt the (tokens read, D) states of what was read, and the memory of all."""
    assert lm.lean is not None
    memory = lm.lean.memory(len(lengths), max(lengths))
    for row, blocks in enumerate(found):
        _write(memory[row], blocks)
    tokens = torch.tensor([token for ids in fresh for token in ids], device=lm.device)
    starts = [len(blocks) * BLOCK for blocks in found]
    states = lm.lean.read(lm.backbone.get_input_embeddings()(tokens), lengths, memory, starts)
    return torch.split(states, [len(ids) for ids in fresh]), memory


def _read_padded(
    lm: "LanguageModel", fresh: Sequence[Path], found: Sequence[Sequence[Block]], lengths: Sequence[int]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The same by a backbone's own pass, all prompts padded to one width, what was read before to another."""
    starts = torch.tensor([len(blocks) * BLOCK for blocks in found], device=lm.device)
    read, before = _padded(fresh, lm.device), int(starts.max())
    rows, width = read.shape
    cache = DynamicCache()
    if before:
        block = next(blocks[0] for blocks in found if blocks).memory
        past = block.new_zeros(rows, *block.shape[:3], before, block.shape[4])
        for row, blocks in enumerate(found):
            _write(past[row], blocks)
        cache = cache_of(past)
    sees = torch.ones(width, width, dtype=torch.bool, device=lm.device).tril().expand(rows, -1, -1)
    known = (torch.arange(before, device=lm.device) < starts[:, None])[:, None].expand(-1, width, -1)
    positions = starts[:, None] + torch.arange(width, device=lm.device)
    positions = positions.clamp_max(max(lengths) - 1)  # padding beyond what the base has positions for
    with lm.use_adapter(None):
        states = lm.forward(lm.backbone.get_input_embeddings()(read), positions, torch.cat((known, sees), -1), cache)
    joined, kept = _memory_of(cache), [len(blocks) * BLOCK for blocks in found]
    whole = [
        torch.cat((joined[row, ..., :start, :], joined[row, ..., before : before + length - start, :]), -2)
        for row, (start, length) in enumerate(zip(kept, lengths, strict=True))
    ]
    memory = torch.stack([pad(part, (0, 0, 0, max(lengths) - part.shape[3])) for part in whole])
    return tuple(states[row, : len(ids)] for row, ids in enumerate(fresh)), memory


def _padded(prompts: Sequence[Path], device: torch.device) -> Tensor:
    """(B, longest) tokens, zeros on the right."""
    tokens = np.zeros((len(prompts), max(map(len, prompts))), dtype=np.int64)
    for row, ids in enumerate(prompts):
        tokens[row, : len(ids)] = ids
    return torch.from_numpy(tokens).to(device)


def _memory_of(cache: DynamicCache) -> Tensor:
    layers: list[Any] = list(cache.layers)
    return torch.stack([torch.stack((layer.keys, layer.values), 1) for layer in layers], 1)


def _write(memory: Tensor, blocks: Sequence[Block]) -> None:
    """Blocks into the beginning of one prompt's memory."""
    for place, block in enumerate(blocks):
        memory[:, :, :, place * BLOCK : (place + 1) * BLOCK] = block.memory
