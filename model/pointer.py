"""Candidates are pointed at, not named: P joins a slot's state with the mean state over a candidate's text.

Kept in a small file beside the base, so that any base of transformers can be given one by a short fine-tune.
"""

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
