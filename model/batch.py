"""Encoded prompts: keys and values of the frozen base with the candidates' pooled states. Rows can be cut and joined."""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache


class PromptBatch(msgspec.Struct, frozen=True):
    """What serving and training keep of prompts; independent of every adapter, so it survives swaps.

    Args:
        memory: (B, layers, 2, kv heads, L, head width) keys and values, padded on the right.
        lengths: (B,) tokens per prompt.
        pooled: (B, N, D) mean final state over each candidate's text, zeros beyond a request's candidates.
    """

    memory: Tensor
    lengths: tuple[int, ...]
    pooled: Tensor

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.lengths)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return self.memory.nbytes + self.pooled.nbytes

    def rows(self, indices: Sequence[int]) -> "PromptBatch":
        """The prompts at `indices`, in that order, cut to the longest of them; copied, so that the rest can be freed."""
        chosen = torch.as_tensor(list(indices), device=self.memory.device)
        lengths = tuple(self.lengths[index] for index in indices)
        width = max(lengths, default=0)
        return PromptBatch(self.memory[:, :, :, :, :width][chosen], lengths, self.pooled[chosen])

    def compact(self) -> "PromptBatch":
        """Half the bytes (float16), for a replay buffer; log-probabilities move by about a thousandth."""
        return PromptBatch(self.memory.half(), self.lengths, self.pooled.half())

    def to(self, device: torch.device, dtype: torch.dtype) -> "PromptBatch":
        """The same prompts on another device or in another precision."""
        return PromptBatch(self.memory.to(device, dtype), self.lengths, self.pooled.to(device, dtype))

    def cache(self) -> DynamicCache:
        """A fresh cache that begins with the prompts."""
        return cache_of(self.memory)

    def room(self, columns: int) -> "Room":
        """A cache that begins with the prompts and has room for so many nodes more."""
        return Room(self.memory, columns)

    def visible(self) -> Tensor:
        """(B, L) bool: which positions hold a token."""
        lengths = torch.tensor(self.lengths, device=self.memory.device)
        return torch.arange(self.memory.shape[4], device=self.memory.device) < lengths[:, None]


class Room:
    """Keys and values with room for what follows, so that a decoding step copies nothing of what is there. Not for training."""

    def __init__(self, memory: Tensor, columns: int) -> None:
        """Begin with `memory` as `PromptBatch` has it."""
        self._used = memory.shape[4]
        layers_first = memory.permute(1, 2, 0, 3, 4, 5)
        self._kept = memory.new_empty(*layers_first.shape[:4], self._used + columns, memory.shape[5])
        self._kept[:, :, :, :, : self._used] = layers_first

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Add (B, kv heads, T, head width) of one layer, the layers in order; all that the layer holds then."""
        end = self._used + keys.shape[2]
        if end > self._kept.shape[4]:  # every layer has its turn at the same width, so this is the first one's
            self._kept = pad(self._kept, (0, 0, 0, end))
        kept = self._kept[layer]
        kept[0, :, :, self._used : end], kept[1, :, :, self._used : end] = keys, values
        if layer == len(self._kept) - 1:
            self._used = end
        return kept[0, :, :, :end], kept[1, :, :, :end]


def cache_of(memory: Tensor) -> DynamicCache:
    """A fresh cache that begins with keys and values as `PromptBatch` has them."""
    cache = DynamicCache()
    for layer in range(memory.shape[1]):
        cache.update(memory[:, layer, 0], memory[:, layer, 1], layer)
    return cache


def join(batches: Sequence[PromptBatch]) -> PromptBatch:
    """The prompts of several batches, in order, padded to the longest. Raises `ValueError` for none."""
    if not batches:
        raise ValueError("join: no batches, at least one wanted")
    width = max(batch.memory.shape[4] for batch in batches)
    candidates = max(batch.pooled.shape[1] for batch in batches)
    memory = [pad(batch.memory, (0, 0, 0, width - batch.memory.shape[4])) for batch in batches]
    pooled = [pad(batch.pooled, (0, 0, 0, candidates - batch.pooled.shape[1])) for batch in batches]
    return PromptBatch(torch.cat(memory), tuple(n for batch in batches for n in batch.lengths), torch.cat(pooled))
