"""Bottleneck adapters: two thin layers with a bend behind each block's feed-forward part (peft has none).

References:
    Houlsby et al. (2019), Parameter-efficient transfer learning for NLP, arXiv 1902.00751; one per block as in
    Pfeiffer et al. (2021), AdapterFusion, arXiv 2005.00247.
"""

import re
from typing import Any

from torch import Tensor, nn

from model.peft_methods.families import HEADS, family


class Bent(nn.Module):
    """A module with a bottleneck behind it. It begins as the module alone: `up` is 0."""

    def __init__(self, inner: nn.Module, hidden: int, width: int, dropout: float) -> None:
        """Put (hidden → width → hidden) behind the module."""
        super().__init__()
        self.inner = inner
        self.down, self.up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What the module answers, bent: the same shape."""
        states: Tensor = self.inner(*args, **kwargs)
        bent: Tensor = self.up(nn.functional.gelu(self.down(self.dropout(states))))
        return states + bent


def bend(model: Any, width: int, dropout: float) -> Any:
    """Freeze the model, put a bottleneck into each block, and return it; a classifier's head stays trainable."""
    ending = re.compile(family(model).bent)
    model.requires_grad_(requires_grad=False)
    for path in [path for path, _ in model.named_modules() if ending.search(path)]:
        parent, _, name = path.rpartition(".")
        inner = model.get_submodule(path)
        device = next(inner.parameters()).device
        setattr(model.get_submodule(parent), name, Bent(inner, model.config.hidden_size, width, dropout).to(device))
    for head in HEADS:
        if hasattr(model, head):
            getattr(model, head).requires_grad_(requires_grad=True)
    return model
