"""The encoder: a bag of hashed features, one hidden layer, two directions. Untrained it is what its features begin with. Pure.

`own` is what a product is, `beside` what is bought beside it: a product need not go with itself. Both have length 1.

References:
    Grbovic et al. (2015), E-commerce in your inbox: product recommendations at scale, KDD (products as words of a basket).
    McAuley, Pandey, Leskovec (2015), Inferring networks of substitutable and complementary products, KDD (two directions).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from model.representation.words import Bags

FIRST_SHARPNESS = 10.0
"""1 / temperature that training begins with."""
MOST_SHARPNESS = 100.0
"""As CLIP bounds it (Radford et al. 2021)."""


class Directions(NamedTuple):
    """(N, width) each, rows of length 1; a text without features has zeros."""

    own: Tensor
    beside: Tensor


class Encoder(nn.Module):
    """Texts to vectors."""

    rarity: Tensor

    def __init__(self, rarity: npt.NDArray[np.float32], first: npt.NDArray[np.float32], seed: int) -> None:
        """The other weights from `seed` alone; torch's global generator is left as it was.

        Args:
            rarity: (buckets,) how much a feature counts.
            first: (buckets, width) what the features begin with.
        """
        super().__init__()
        buckets, width = first.shape
        self.register_buffer("rarity", torch.from_numpy(rarity.copy()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.bag = nn.EmbeddingBag(buckets, width, mode="sum")
            self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
            self.own, self.beside = (nn.Linear(width, width, bias=False) for _ in range(2))
        with torch.no_grad():
            self.bag.weight.copy_(torch.from_numpy(first))
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        for head in (self.own, self.beside):
            nn.init.eye_(head.weight)
        self.log_sharpness = nn.Parameter(torch.tensor(FIRST_SHARPNESS).log())

    def forward(self, found: Bags) -> Directions:
        """Vectors of bags."""
        device = self.rarity.device
        index = torch.from_numpy(found.features).to(device)
        starts = torch.from_numpy(found.starts[:-1]).to(device)
        if not len(index):
            nothing = torch.zeros(len(starts), self.own.weight.shape[0], device=device)
            return Directions(nothing, nothing)
        whole = nn.functional.normalize(self.bag(index, starts, per_sample_weights=self.rarity[index]), dim=-1)
        told = (whole.square().sum(-1, keepdim=True) > 0).float()
        whole = whole + self.outer(nn.functional.gelu(self.inner(whole * self.inner.in_features**0.5)))
        own, beside = (nn.functional.normalize(head(whole), dim=-1) * told for head in (self.own, self.beside))
        return Directions(own, beside)

    @property
    def sharpness(self) -> Tensor:
        """1 / temperature."""
        return self.log_sharpness.exp().clamp(max=MOST_SHARPNESS)
