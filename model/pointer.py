"""Candidates are pointed at, not named: P joins a slot's state with the mean state over a candidate's text.

Kept in a small file beside the base, so that any base of transformers can be given one by a short fine-tune.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

FILE = "pointer.safetensors"


class Pointer(nn.Module):
    """P (D, D): logit = h_slot · P · pooled. E (D, D): what the chosen candidate adds to its tag's embedding."""

    def __init__(self, width: int) -> None:
        """Zero matrices: every candidate alike until trained."""
        super().__init__()
        self.point = nn.Parameter(torch.zeros(width, width))
        self.echo = nn.Parameter(torch.zeros(width, width))

    def logits(self, states: Tensor, pooled: Tensor) -> Tensor:
        """(M, D) slot states and (M, N, D) pooled candidates → (M, N) logits."""
        return torch.einsum("md,mnd->mn", states @ self.point, pooled)

    def save(self, directory: Path) -> None:
        """Write both matrices to `directory`."""
        save_file({name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}, directory / FILE)

    @classmethod
    def load(cls, directory: Path | None, width: int) -> "Pointer":
        """The base's pointer; zeros when it has none. Raises `ValueError` when it is another base's."""
        pointer = cls(width)
        if directory is None or not (directory / FILE).exists():
            return pointer
        tensors = load_file(directory / FILE)
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != dict.fromkeys(
            ("point", "echo"), (width, width)
        ):
            raise ValueError(
                f"{directory / FILE}: shapes {[tuple(t.shape) for t in tensors.values()]}, ({width}, {width}) wanted"
            )
        pointer.load_state_dict(tensors)
        return pointer


def pool(states: Tensor, spans: Tensor) -> Tensor:
    """(B, L, D) states and (B, N, L) membership → (B, N, D) mean state per candidate; zeros where there is none."""
    weights = spans.to(states.dtype)
    return weights @ states / weights.sum(-1, keepdim=True).clamp_min(1.0)


def pool_runs(states: Tensor, spans: Sequence[Sequence[tuple[int, int]]], lengths: Sequence[int]) -> Tensor:
    """The same of prompts laid end to end: (sum of lengths, D) states and each prompt's spans → (B, N, D)."""
    most = max(len(of_prompt) for of_prompt in spans)
    places, into, counts, start = list[int](), list[int](), [1] * (most * len(spans)), 0
    for row, (of_prompt, length) in enumerate(zip(spans, lengths, strict=True)):
        for number, (begin, end) in enumerate(of_prompt, row * most):
            places += range(start + begin, start + end)
            into += [number] * (end - begin)
            counts[number] = max(end - begin, 1)
        start += length
    device = states.device
    sums = states.new_zeros(len(counts), states.shape[1])
    sums.index_add_(
        0,
        torch.tensor(into, device=device, dtype=torch.long),
        states[torch.tensor(places, device=device, dtype=torch.long)],
    )
    return (sums / states.new_tensor(counts)[:, None]).view(len(spans), most, states.shape[1])
